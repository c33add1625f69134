//! The asking side.

use std::sync::Arc;

use causeway_compute::port::{
    Broker, ClientSession, Cluster, Command, Error as PortError, Frames, GatewayState, Lease, Member, Members,
    Overview, Page, Read, Reply, Session, ShardStatus, frames,
};
use causeway_compute::task::Tasks;
use causeway_model::{ClientId, Incarnation, Kind, Message, Namespace, Position, ShardId, Sid, Text};
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use crate::{ClientSettings, Error};

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What people call it.
    pub name: Text,
    /// This run of it. A new link of an incarnation ends its older one.
    pub incarnation: Incarnation,
}

/// The ports, far away.
pub struct Client {
    cluster: Cluster,
    connected: watch::Sender<bool>,
}

/// Connects: returns after the first handshake. While brokers cannot be reached it goes on trying and says so in the
/// log.
///
/// # Errors
/// What trying again would not mend: a broker that refuses the token, another cluster or version, a certificate.
pub async fn connect(settings: ClientSettings, identity: Identity, tasks: &Tasks) -> Result<Arc<Client>, Error> {
    let _ = (settings, identity, tasks);
    Err(Error::Draining)
}

impl Client {
    /// Whether the link is up.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }
}

fn refuse<T: Send + 'static>(operation: &'static str, shard: ShardId) -> BoxFuture<'static, Result<T, PortError>> {
    Box::pin(ready(Err(PortError { operation, shard, kind: Kind::Unavailable })))
}

impl Broker for Client {
    fn cluster(&self) -> Cluster {
        self.cluster
    }
    fn propose(&self, shard: ShardId, _: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, PortError>> {
        refuse("propose", shard)
    }
    fn read(&self, shard: ShardId, _: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, PortError>> {
        refuse("read", shard)
    }
    fn fetch(
        &self,
        shard: ShardId,
        _: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, PortError>> {
        refuse("fetch", shard)
    }
    fn session(&self, shard: ShardId, _: Sid) -> BoxFuture<'static, Result<Session, PortError>> {
        refuse("session", shard)
    }
    fn notify(&self, _: ShardId) -> Frames {
        frames(1, 0).1
    }
    fn applied(&self, _: ShardId) -> Position {
        Position(0)
    }
    fn first(&self, _: ShardId) -> Position {
        Position(0)
    }
}

impl Overview for Client {
    fn client(&self, _: Namespace, _: ClientId) -> BoxFuture<'static, Result<Option<ClientSession>, PortError>> {
        refuse("client", ShardId(0))
    }
    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, PortError>> {
        refuse("gateways", ShardId(0))
    }
    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, PortError>> {
        refuse("status", shard)
    }
}

impl Members for Client {
    fn join(&self, _: Member) -> BoxFuture<'static, Result<Lease, PortError>> {
        refuse("join", ShardId(0))
    }
    fn beat(&self, _: Incarnation) -> BoxFuture<'static, Result<Lease, PortError>> {
        refuse("beat", ShardId(0))
    }
    fn leave(&self, _: Incarnation) -> BoxFuture<'static, Result<(), PortError>> {
        refuse("leave", ShardId(0))
    }
}
