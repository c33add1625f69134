//! Records of the cluster and of the log itself: `ClusterInit`, `Gateway`, `FeatureLevel`, `Trim`, `Check`.

use bytes::{BufMut, BytesMut};
use causeway_model::{HashKey, Incarnation, Lineage, Position, ShardId};

use super::DecodeError;
use super::wire::Reader;

/// Names the log and gives its constants; the first record of every log and nowhere else.
///
/// ```text
/// lineage u128 ‖ key 16 B ‖ level u8 ‖ shard u32 ‖ shards u32 ‖ limits 3 × u32
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterInit {
    /// The log's identity.
    pub lineage: Lineage,
    /// The key of queue ids.
    pub key: HashKey,
    /// The feature level to start with.
    pub level: u8,
    /// This log's shard.
    pub shard: ShardId,
    /// Number of shards in the cluster.
    pub shards: u32,
    /// What every replica must cut off at the same point.
    pub limits: Limits,
}

/// Limits that decide outcomes: apply has no configuration, so they are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions of one session.
    pub session_filters: u32,
    /// Distinct wildcard filters with an owner, over all namespaces.
    pub active_filters: u32,
    /// Wildcard filters that one message may match; over it, it enters the overflow queue instead.
    pub matches: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { session_filters: 10_000, active_filters: 1_000_000, matches: 128 }
    }
}

impl ClusterInit {
    pub(crate) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u128(self.lineage.0);
        buf.put_slice(&self.key.0);
        buf.put_u8(self.level);
        buf.put_u32(self.shard.0);
        buf.put_u32(self.shards);
        buf.put_u32(self.limits.session_filters);
        buf.put_u32(self.limits.active_filters);
        buf.put_u32(self.limits.matches);
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            lineage: Lineage(r.u128("lineage")?),
            key: HashKey(r.array("key")?),
            level: r.u8("level")?,
            shard: ShardId(r.u32("shard")?),
            shards: r.u32("shards")?,
            limits: Limits {
                session_filters: r.u32("limits")?,
                active_filters: r.u32("limits")?,
                matches: r.u32("limits")?,
            },
        })
    }
}

/// A gateway process came or is gone.
///
/// ```text
/// incarnation u128 ‖ event u8
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Which run of which gateway.
    pub incarnation: Incarnation,
    /// What happened.
    pub event: GatewayEvent,
}

/// What happened to a gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// It started and may own sessions and interest.
    Joined = 1,
    /// It is gone and owns nothing new from here on. Its sessions and interest are closed page by page.
    Lost = 2,
    /// Nothing of it is left. It stays fenced: it may live on somewhere and not know that it was given up.
    Swept = 3,
    /// It was swept so long ago that it does not live on anywhere: its name may be forgotten. Nothing for one that was
    /// not swept.
    Forgotten = 4,
}

impl Gateway {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u128(self.incarnation.0);
        buf.put_u8(self.event as u8);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let incarnation = r.incarnation()?;
        let event = match r.u8("event")? {
            1 => GatewayEvent::Joined,
            2 => GatewayEvent::Lost,
            3 => GatewayEvent::Swept,
            4 => GatewayEvent::Forgotten,
            _ => return Err(r.malformed("event")),
        };
        Ok(Self { incarnation, event })
    }
}

/// Allows records of a higher level from here on. The level is in the record's header: a build that lacks it stops
/// here. The body is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureLevel {
    /// The new level.
    pub level: u8,
}

/// Gives up the log below a position.
///
/// ```text
/// first u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The first position that is still needed.
    pub first: Position,
}

impl Trim {
    pub(super) fn encode(self, buf: &mut BytesMut) {
        buf.put_u64(self.first.0);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { first: r.position("first")? })
    }
}

/// What the leader's digest was: a replica whose digest differs halts.
///
/// ```text
/// position u64 ‖ digest u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The end of the batch after which the digest was taken.
    pub position: Position,
    /// The digest there.
    pub digest: u64,
}

impl Check {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u64(self.position.0);
        buf.put_u64(self.digest);
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { position: r.position("position")?, digest: r.u64("digest")? })
    }
}
