//! What people want to know of the brokers: clients, gateways and shards, as tables and logs have them.

use std::time::Duration;

use causeway_model::{ClientId, Epoch, Incarnation, Millis, Namespace, Position, ShardId, Sid};
use futures_util::future::BoxFuture;

use super::{CloseReason, Error};

/// A client's session as its home shard has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSession {
    /// The session.
    pub sid: Sid,
    /// Its latest opening.
    pub epoch: Epoch,
    /// The gateway that holds, or held last, the connection.
    pub owner: Incarnation,
    /// A connection holds it, as far as the log knows.
    pub connected: bool,
    /// It has subscriptions and progress that outlive a connection.
    pub persistent: bool,
    /// How long it outlives its connection.
    pub expiry: Duration,
    /// When its last connection ended; `None` while connected.
    pub disconnected: Option<Millis>,
    /// Why it ended; `None` while connected.
    pub closed: Option<CloseReason>,
    /// How many subscriptions are stored.
    pub subscriptions: u32,
}

/// What the log says of a gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// It may own sessions and interest.
    Joined,
    /// It may not; what it owned is being closed.
    Lost,
}

/// Where a shard's log and tables stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// The first position that the log still holds.
    pub first: Position,
    /// Everything below is on disk.
    pub durable: Position,
    /// Everything below is applied; the distance to `durable` is the lag of apply.
    pub applied: Position,
    /// The term of the log's writer.
    pub term: u64,
    /// Whether the broker that answers leads the shard.
    pub leader: bool,
}

/// The brokers, as people see them: what protocols do not ask.
pub trait Overview: Send + Sync + 'static {
    /// The session that a client has now, as its home shard's tables have it; `None`: it has none.
    fn client(
        &self,
        namespace: Namespace,
        client: ClientId,
    ) -> BoxFuture<'static, Result<Option<ClientSession>, Error>>;

    /// Gateways that joined and whose traces are not swept yet, as shard 0's tables have them, by incarnation.
    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, Error>>;

    /// Where a shard's log and tables stand now.
    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, Error>>;
}
