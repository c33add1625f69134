//! The port that protocols call: everything a protocol may ask of the brokers, on one screen.
//!
//! Typed commands go in and typed replies come out, batch by batch. No record, key layout or table crosses it, and no
//! callback: the same trait is served in one process and over a network. Its behaviour is defined by `suite`, which
//! every implementation runs.
//!
//! Guarantees, each tested by the suite:
//! - `propose` is ordered: two calls for one shard by one caller take effect in call order, each call's commands
//!   contiguous and in order. The order is fixed when `propose` returns, before its future is polled.
//! - A reply means durable and applied, so whatever was acknowledged is visible to every later read.
//! - An error other than [`Kind::Unknown`] means that nothing was done.
//! - Frames are hints: gaps are seen by comparing `from` with the previous `to`; reading from a position is the truth.

use std::sync::Arc;

use causeway_model::{HashKey, Kind, Lineage, Message, Namespace, Position, QueueId, ShardId, Sid};
use futures_util::future::BoxFuture;

mod command;
mod frame;
mod lookup;
mod member;
mod overview;
mod page;
mod peer;
mod reply;
mod wants;

pub use command::{CloseReason, Command, GatewayEvent, Interest, LaneProgress, Owner, SessionOpen, Subscribe, Will};
pub use frame::{Frame, FrameSender, Frames, Notice, Offered, frames};
pub use lookup::{Lookup, SLOTS, Slot, SlotSet, Whereabout};
pub use member::{Lease, Map, MapEpoch, Member, Members};
pub use overview::{ClientSession, GatewayState, Overview, ShardStatus};
pub use page::{Entry, EntryFlags, Page, QueueRef, Read};
pub use peer::{Answer, Ask, Kicked, NoPeers, Peer, PeerError, Peers};
pub use reply::{FlightState, InFlight, Lane, Opened, Rejected, Reply, Session, Subscription};
pub use wants::{CHANGE, Change, Wants};

/// Why a call failed: what was tried, and the kind that decides what the protocol says and whether to try again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} on shard {shard}: {kind}")]
pub struct Error {
    /// The operation, as a verb.
    pub operation: &'static str,
    /// The shard it was for.
    pub shard: ShardId,
    /// What went wrong.
    pub kind: Kind,
}

/// What a gateway must know of the cluster before it can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The log's identity; another lineage is another cluster.
    pub lineage: Lineage,
    /// The key of queue ids.
    pub key: HashKey,
    /// Records above this feature level are not proposed.
    pub level: u32,
    /// Number of shards, at least 1; shard ids are 0 to `shards` - 1.
    pub shards: u32,
}

impl Cluster {
    /// The home shard of a client's session.
    pub fn home(&self, namespace: &Namespace, client: &str) -> ShardId {
        self.slot(self.key.queue(causeway_model::QueueKind::Client, namespace, client))
    }

    /// The shard that publishers of a topic write to; for one that is addressed to a client, the client's home.
    pub fn shard_of(&self, namespace: &Namespace, topic: &str) -> ShardId {
        self.slot(self.key.topic_queue(namespace, topic))
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards).map(ShardId)
    }

    fn slot(&self, id: QueueId) -> ShardId {
        let [.., a, b, c, d] = id.0;
        ShardId(u32::from_be_bytes([a, b, c, d]) % self.shards.max(1))
    }
}

/// The brokers, as protocols see them.
pub trait Broker: Send + Sync + 'static {
    /// The cluster's constants.
    fn cluster(&self) -> Cluster;

    /// Logs commands as one contiguous group and resolves when they are durable and applied: one reply a command. A call
    /// whose future is dropped takes effect all the same, but for messages and openings of sessions that wait for a
    /// broker that is out of reach.
    ///
    /// # Errors
    /// `Busy`, `DiskFull`, `NotLeader`, `TooLarge`, `Unavailable`: nothing was done. `Unknown`: it may have been.
    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>>;

    /// Reads index entries: one page a read, in order of the reads.
    fn read(&self, shard: ShardId, reads: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>>;

    /// Reads messages by body position, in order of the positions; `None` where the log was trimmed past it. Near
    /// the tail the future is ready at once.
    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>>;

    /// The rows of a session: its subscriptions (on its home shard) and its lane on `shard`.
    fn session(&self, shard: ShardId, sid: Sid) -> BoxFuture<'static, Result<Session, Error>>;

    /// Frames of everything applied from now on, one a batch. The first frame's `from` is where they begin. A reader
    /// that falls behind finds a gap, never a frame out of order.
    fn notify(&self, shard: ShardId) -> Frames;

    /// The same for a reader that says which queues it wants to hear of. Frames name these at least, above the position
    /// at which each was registered, and stay contiguous; whether they leave others out is the broker's choice, and
    /// in one process it gains nothing.
    fn notify_of(&self, shard: ShardId, wants: &Arc<Wants>) -> Frames {
        wants.everything();
        self.notify(shard)
    }

    /// Everything up to here is applied and readable.
    fn applied(&self, shard: ShardId) -> Position;

    /// The first position that the log still holds.
    fn first(&self, shard: ShardId) -> Position;
}
