//! Records of what is wanted: `Interest`, `Subscribe`, `Unsubscribe`.

use bytes::{BufMut, BytesMut};
use causeway_model::{
    Epoch, Filter, Incarnation, Namespace, Position, Qos, RetainHandling, ShardId, Sid, SubscribeOptions,
};

use super::DecodeError;
use super::wire::{Reader, put_bytes, put_sid, put_starts, put_varint};

/// Starts or ends the indexing of a wildcard for an owner.
///
/// A session names its epoch, so that an old owner's late record neither adds nor ends what is the new one's. Apply can
/// tell on the session's home shard only: its head is there. Elsewhere the record is taken at its word, and an old
/// owner can at worst leave a row that the session's next removal or its end clears, or end one early.
///
/// ```text
/// add u8 ‖ owner ‖ namespace ‖ filter          owner = 1 ‖ sid 12 B ‖ epoch u64 | 2 ‖ incarnation u128
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Add, or remove.
    pub add: bool,
    /// Tenant.
    pub namespace: Namespace,
    /// A filter with `+` or `#`, but not `#` alone, whose queue is the log.
    pub filter: Filter,
    /// On whose behalf.
    pub owner: Owner,
}

/// Who keeps a wildcard's queue alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A persistent session.
    Session {
        /// The session.
        sid: Sid,
        /// The caller's epoch.
        epoch: Epoch,
    },
    /// All volatile sessions of one gateway.
    Gateway(Incarnation),
}

pub(crate) const OWNER_SESSION: u8 = 1;
pub(crate) const OWNER_GATEWAY: u8 = 2;

impl Owner {
    fn put(&self, buf: &mut impl BufMut) {
        match self {
            Self::Session { sid, epoch } => {
                buf.put_u8(OWNER_SESSION);
                put_sid(buf, *sid);
                buf.put_u64(epoch.0.0);
            }
            Self::Gateway(incarnation) => {
                buf.put_u8(OWNER_GATEWAY);
                buf.put_u128(incarnation.0);
            }
        }
    }
}

impl Interest {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u8(u8::from(self.add));
        self.owner.put(buf);
        put_bytes(buf, self.namespace.as_str().as_bytes());
        put_bytes(buf, self.filter.as_str().as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let add = r.flag("add")?;
        let owner = match r.u8("owner")? {
            OWNER_SESSION => Owner::Session { sid: r.sid()?, epoch: r.epoch()? },
            OWNER_GATEWAY => Owner::Gateway(r.incarnation()?),
            _ => return Err(r.malformed("owner")),
        };
        Ok(Self { add, owner, namespace: r.namespace()?, filter: r.filter()? })
    }
}

/// Adds or replaces a subscription of a persistent session, on its home shard.
///
/// ```text
/// sid 12 B ‖ epoch u64 ‖ options ‖ from ‖ filter
/// options = qos (0-1) | no local (2) | retain as published (3) | retain handling (4-5) | has id (6) ‖ [id varint]
/// from    = count ‖ (shard varint ‖ position varint)…
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The session.
    pub sid: Sid,
    /// The caller's epoch.
    pub epoch: Epoch,
    /// The filter.
    pub filter: Filter,
    /// What was granted.
    pub options: SubscribeOptions,
    /// Where the subscription starts on each shard: entries above it are its. Kept when the filter was subscribed.
    pub from: Vec<(ShardId, Position)>,
}

const NO_LOCAL: u8 = 1 << 2;
const AS_PUBLISHED: u8 = 1 << 3;
const HANDLING: u8 = 4;
const HAS_ID: u8 = 1 << 6;
const OPTION_RESERVED: u8 = 1 << 7;
/// The largest subscription identifier (MQTT 5.0 §3.8.2.1.2).
const MAX_ID: u64 = 268_435_455;

/// Appends subscribe options; the session row has the same form.
pub(crate) fn put_options(buf: &mut impl BufMut, options: &SubscribeOptions) {
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::Skip => 2,
    };
    let bit = |present: bool, bit: u8| if present { bit } else { 0 };
    buf.put_u8(
        options.qos.number()
            | bit(options.no_local, NO_LOCAL)
            | bit(options.retain_as_published, AS_PUBLISHED)
            | handling << HANDLING
            | bit(options.id.is_some(), HAS_ID),
    );
    if let Some(id) = options.id {
        put_varint(buf, u64::from(id));
    }
}

/// Reads subscribe options.
pub(crate) fn read_options(r: &mut Reader<'_>) -> Result<SubscribeOptions, DecodeError> {
    let bits = r.u8("options")?;
    let qos = Qos::from_number(bits & 3).filter(|_| bits & OPTION_RESERVED == 0);
    let retain_handling = match bits >> HANDLING & 3 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::Skip,
        _ => return Err(r.malformed("options")),
    };
    let id = match bits & HAS_ID {
        0 => None,
        _ => match r.varint("subscription id")? {
            id @ 1..=MAX_ID => u32::try_from(id).ok(),
            _ => return Err(r.malformed("subscription id")),
        },
    };
    Ok(SubscribeOptions {
        qos: qos.ok_or_else(|| r.malformed("options"))?,
        no_local: bits & NO_LOCAL != 0,
        retain_as_published: bits & AS_PUBLISHED != 0,
        retain_handling,
        id,
    })
}

impl Subscribe {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_sid(buf, self.sid);
        buf.put_u64(self.epoch.0.0);
        put_options(buf, &self.options);
        put_starts(buf, &self.from);
        put_bytes(buf, self.filter.as_str().as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { sid: r.sid()?, epoch: r.epoch()?, options: read_options(r)?, from: r.starts()?, filter: r.filter()? })
    }
}

/// Removes a subscription, on the session's home shard.
///
/// ```text
/// sid 12 B ‖ epoch u64 ‖ filter
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The session.
    pub sid: Sid,
    /// The caller's epoch.
    pub epoch: Epoch,
    /// The filter as it was subscribed.
    pub filter: Filter,
}

impl Unsubscribe {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_sid(buf, self.sid);
        buf.put_u64(self.epoch.0.0);
        put_bytes(buf, self.filter.as_str().as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { sid: r.sid()?, epoch: r.epoch()?, filter: r.filter()? })
    }
}
