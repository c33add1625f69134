//! What a protocol asks to be logged.

use std::time::Duration;

use causeway_model::{
    ClientId, Epoch, Filter, Incarnation, Message, Namespace, Position, ShardId, Sid, SubscribeOptions, Text,
};

use super::InFlight;

/// One change of durable state.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Stores a message. Replies `Published`, or `Duplicate` for a QoS 2 packet id that is still held.
    Publish(Message),
    /// Starts or ends the indexing of a wildcard for an owner. Replies `Interest`; idempotent. What a session's old
    /// epoch asks for is rejected as `Fenced` on its home shard; another shard does not know the session and takes it at
    /// its word.
    Interest(Interest),
    /// Opens a client's session, resumes it or takes it over. Replies `Opened`.
    SessionOpen(SessionOpen),
    /// Ends a connection; the session lives on for `expiry`. Replies `Done`.
    SessionClose {
        /// The session.
        sid: Sid,
        /// The closing owner's epoch.
        epoch: Epoch,
        /// Why it ended.
        reason: CloseReason,
        /// A new session expiry, where DISCONNECT gave one.
        expiry: Option<Duration>,
    },
    /// Closes what an opening led to whose connection has gone, or that was not answered: nothing, if it was not made or
    /// is not the client's latest. Replies `Done`.
    SessionAbandon {
        /// Tenant.
        namespace: Namespace,
        /// The client's name.
        client: ClientId,
        /// The gateway that had the connection.
        owner: Incarnation,
        /// As in [`SessionOpen::attempt`].
        attempt: u64,
    },
    /// Adds or replaces a subscription of a persistent session, on its home shard. Replies `Subscribed`.
    Subscribe(Subscribe),
    /// Removes a subscription, on the home shard. Replies `Unsubscribed`.
    Unsubscribe {
        /// The session.
        sid: Sid,
        /// The caller's epoch.
        epoch: Epoch,
        /// The filter as it was subscribed.
        filter: Filter,
    },
    /// Progress of persistent sessions' lanes on this shard. Replies `Done`; lanes of an older epoch are skipped.
    Progress(Vec<LaneProgress>),
    /// A gateway process came or is gone. Replies `Done`.
    Gateway {
        /// Which run of which gateway.
        incarnation: Incarnation,
        /// What happened.
        event: GatewayEvent,
    },
    /// Creates or changes a server topic. Replies `Done`.
    TopicPut {
        /// Tenant.
        namespace: Namespace,
        /// First-level name.
        name: Text,
        /// Number of queues, at least 1.
        queues: u16,
    },
    /// Drops a server topic and its queues. Replies `Done`.
    TopicDrop {
        /// Tenant.
        namespace: Namespace,
        /// First-level name.
        name: Text,
    },
}

/// See [`Command::Interest`].
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

/// See [`Command::SessionOpen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpen {
    /// Tenant.
    pub namespace: Namespace,
    /// The client's name.
    pub client: ClientId,
    /// Forget what was before.
    pub clean_start: bool,
    /// How long the session outlives its connection: zero makes it volatile.
    pub expiry: Duration,
    /// The gateway that holds the connection.
    pub owner: Incarnation,
    /// Which of the owner's openings this is: [`Command::SessionAbandon`] names it.
    pub attempt: u64,
    /// The will, published when the connection ends other than by a plain DISCONNECT.
    pub will: Option<Will>,
}

/// A will message as CONNECT carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Everything but body position and time; `body` is the payload.
    pub message: Box<Message>,
    /// How long after the end of the connection it is published.
    pub delay: Duration,
}

/// See [`Command::Subscribe`].
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

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// DISCONNECT without will.
    Orderly,
    /// DISCONNECT that asks for the will.
    OrderlyWithWill,
    /// The network went away or the keep-alive passed.
    ConnectionLost,
    /// The server ended it: drain, kick, protocol error.
    Server,
    /// Its gateway is gone.
    GatewayLost,
}

/// How far one session has come on one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneProgress {
    /// The session.
    pub sid: Sid,
    /// The caller's epoch.
    pub epoch: Epoch,
    /// Everything at or below is finished. Never moves back.
    pub cursor: Option<Position>,
    /// Deliveries above the cursor whose state changed: sent with a packet id, received (QoS 2), or finished.
    pub flights: Vec<InFlight>,
}

/// What happened to a gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// It started and may own sessions and interest.
    Joined,
    /// It is gone: its sessions are closed and its interest is removed, page by page.
    Lost,
}
