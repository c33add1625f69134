//! Records of a session's life: `SessionOpen`, `SessionClose`, `SessionAbandon`, `SessionExpire`.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{ClientId, Epoch, Filter, Incarnation, Namespace, Sid, Stamp};

use super::DecodeError;
use super::wire::{Reader, put_bytes, put_duration, put_sid, put_varint};

/// Opens a client's session, resumes it or takes it over.
///
/// ```text
/// clean u8 ‖ expiry ms varint ‖ owner u128 ‖ attempt varint ‖ namespace ‖ client ‖ has will u8
///          ‖ [delay ms varint ‖ message]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpen {
    /// Tenant.
    pub namespace: Namespace,
    /// The client's name.
    pub client: ClientId,
    /// Forget what was before.
    pub clean_start: bool,
    /// How long the session outlives its connection; zero makes a new session volatile. This is what is granted:
    /// whoever proposes the record caps what was asked for, since apply has no configuration.
    pub expiry: Duration,
    /// The gateway that holds the connection.
    pub owner: Incarnation,
    /// Which of the owner's openings this is, so that it can be abandoned by whoever was not told what came of it.
    pub attempt: u64,
    /// The will. Stored with the session; nothing publishes it yet.
    pub will: Option<Will>,
}

/// A will as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// How long after the end of the connection it is published.
    pub delay: Duration,
    /// The message, encoded as a `Message` record.
    pub message: Bytes,
}

impl Will {
    /// Encodes a will.
    pub fn new(message: &causeway_model::Message, delay: Duration) -> Self {
        let mut buf = BytesMut::new();
        super::encode_message(message, None, &mut buf);
        Self { delay, message: buf.freeze() }
    }

    pub(crate) fn put(&self, buf: &mut impl BufMut) {
        put_duration(buf, self.delay);
        put_bytes(buf, &self.message);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { delay: r.duration("will")?, message: r.bytes("will")? })
    }
}

impl SessionOpen {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u8(u8::from(self.clean_start));
        put_duration(buf, self.expiry);
        buf.put_u128(self.owner.0);
        put_varint(buf, self.attempt);
        put_bytes(buf, self.namespace.as_str().as_bytes());
        put_bytes(buf, self.client.0.as_bytes());
        buf.put_u8(u8::from(self.will.is_some()));
        if let Some(will) = &self.will {
            will.put(buf);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            clean_start: r.flag("clean start")?,
            expiry: r.duration("expiry")?,
            owner: r.incarnation()?,
            attempt: r.varint("attempt")?,
            namespace: r.namespace()?,
            client: r.client()?,
            will: r.optional("will", Will::read)?,
        })
    }
}

/// Ends a connection; a persistent session lives on for its expiry.
///
/// ```text
/// sid 12 B ‖ epoch u64 ‖ reason u8 ‖ has expiry u8 ‖ [expiry ms varint]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionClose {
    /// The session.
    pub sid: Sid,
    /// The closing owner's epoch.
    pub epoch: Epoch,
    /// Why it ended.
    pub reason: CloseReason,
    /// A new session expiry, where DISCONNECT gave one: what is granted, as in [`SessionOpen::expiry`].
    pub expiry: Option<Duration>,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// DISCONNECT without will.
    Orderly = 1,
    /// DISCONNECT that asks for the will.
    OrderlyWithWill = 2,
    /// The network went away or the keep-alive passed.
    ConnectionLost = 3,
    /// The server ended it: drain, kick, protocol error.
    Server = 4,
    /// Its gateway is gone.
    GatewayLost = 5,
}

impl CloseReason {
    /// By the number that it has on disk.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Orderly,
            2 => Self::OrderlyWithWill,
            3 => Self::ConnectionLost,
            4 => Self::Server,
            5 => Self::GatewayLost,
            _ => return None,
        })
    }
}

impl SessionClose {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_sid(buf, self.sid);
        buf.put_u64(self.epoch.0.0);
        buf.put_u8(self.reason as u8);
        buf.put_u8(u8::from(self.expiry.is_some()));
        if let Some(expiry) = self.expiry {
            put_duration(buf, expiry);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (sid, epoch) = (r.sid()?, r.epoch()?);
        let reason = CloseReason::from_number(r.u8("reason")?).ok_or_else(|| r.malformed("reason"))?;
        Ok(Self { sid, epoch, reason, expiry: r.optional("expiry", |r| r.duration("expiry"))? })
    }
}

/// Closes the session that an opening led to, if that is still the client's latest: its connection has gone, and nobody
/// was told its epoch. Logged after the opening, or instead of it.
///
/// ```text
/// owner u128 ‖ attempt varint ‖ namespace ‖ client
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAbandon {
    /// Tenant.
    pub namespace: Namespace,
    /// The client's name.
    pub client: ClientId,
    /// The gateway that had the connection.
    pub owner: Incarnation,
    /// As in [`SessionOpen::attempt`].
    pub attempt: u64,
}

impl SessionAbandon {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u128(self.owner.0);
        put_varint(buf, self.attempt);
        put_bytes(buf, self.namespace.as_str().as_bytes());
        put_bytes(buf, self.client.0.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (owner, attempt) = (r.incarnation()?, r.varint("attempt")?);
        Ok(Self { owner, attempt, namespace: r.namespace()?, client: r.client()? })
    }
}

/// Deletes rows of a session whose time is over, at most [`SessionExpire::MAX_ROWS`] a record. The proposer read the
/// rows and names them; apply sweeps nothing. The first one fences the session's lane, so that the rows cannot grow
/// any more; the proposer says `last` only for rows it read after that.
///
/// ```text
/// sid 12 B ‖ epoch u64 ‖ last u8 ‖ count ‖ filter… ‖ count ‖ (parked u8 ‖ stamp u64)…
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionExpire {
    /// The session.
    pub sid: Sid,
    /// Its epoch when the rows were read.
    pub epoch: Epoch,
    /// Subscriptions to delete, with the session's interest in them on this shard.
    pub filters: Vec<Filter>,
    /// In-flight rows to delete: whether parked, and the stamp.
    pub flights: Vec<(bool, Stamp)>,
    /// Nothing is left after this: head, client, lane and timer go too.
    pub last: bool,
}

impl SessionExpire {
    /// The most rows that one record may name.
    pub const MAX_ROWS: usize = 256;

    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_sid(buf, self.sid);
        buf.put_u64(self.epoch.0.0);
        buf.put_u8(u8::from(self.last));
        put_varint(buf, self.filters.len() as u64);
        for filter in &self.filters {
            put_bytes(buf, filter.as_str().as_bytes());
        }
        put_varint(buf, self.flights.len() as u64);
        for (parked, stamp) in &self.flights {
            buf.put_u8(u8::from(*parked));
            buf.put_u64(stamp.0);
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (sid, epoch, last) = (r.sid()?, r.epoch()?, r.flag("last")?);
        let filters = (0..r.count(2, "filters")?).map(|_| r.filter()).collect::<Result<Vec<_>, _>>()?;
        let flights = (0..r.count(9, "flights")?)
            .map(|_| Ok((r.flag("flights")?, Stamp(r.u64("flights")?))))
            .collect::<Result<Vec<_>, _>>()?;
        if filters.len() + flights.len() > Self::MAX_ROWS {
            return Err(r.malformed("rows"));
        }
        Ok(Self { sid, epoch, filters, flights, last })
    }
}
