//! The brokers' ports as services.

use std::sync::Arc;

use causeway_compute::port::{Broker, Overview};
use causeway_model::ShardId;
use tonic::{Request, Response, Status, Streaming};

use super::ask::Asking;
use super::links::{Connection, Purpose};
use super::notify::{Events, Following};
use super::propose::Proposing;
use crate::ServerMetrics;
use crate::proto as pb;
use crate::proto::brokers_server::Brokers;

/// See the module.
pub(crate) struct Ports {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) overview: Arc<dyn Overview>,
    pub(crate) metrics: ServerMetrics,
}

#[tonic::async_trait]
impl Brokers for Ports {
    type ProposeStream = Proposing;
    type AskStream = Asking;
    type NotifyStream = Events;

    async fn propose(&self, request: Request<Streaming<pb::Groups>>) -> Result<Response<Proposing>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        Ok(Response::new(Proposing::new(link, Arc::clone(&self.broker), request.into_inner())))
    }

    async fn ask(&self, request: Request<Streaming<pb::Queries>>) -> Result<Response<Asking>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        let (broker, overview) = (Arc::clone(&self.broker), Arc::clone(&self.overview));
        Ok(Response::new(Asking::new(link, broker, overview, request.into_inner())))
    }

    async fn notify(&self, request: Request<Streaming<pb::NotifyRequest>>) -> Result<Response<Events>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        let following = Following::start(link, Arc::clone(&self.broker), &self.metrics, request.into_inner()).await?;
        Ok(Response::new(following.events()))
    }
}

/// Where shards stand now.
pub(crate) fn standings<'a>(
    broker: &'a dyn Broker,
    shards: impl Iterator<Item = ShardId> + 'a,
) -> impl Iterator<Item = pb::Standing> + 'a {
    shards.map(|shard| pb::Standing { shard: shard.0, applied: broker.applied(shard).0, first: broker.first(shard).0 })
}

/// What the peer is told when its stream cannot be read. It must not send the same again.
pub(crate) fn unreadable(name: &str, status: &Status) -> Status {
    tracing::warn!(gateway = name, cause = status.message(), "a stream of a link cannot be read");
    Status::invalid_argument(format!("unreadable: {}", status.message()))
}

/// What a stream ends with when its link has ended.
pub(crate) fn superseded() -> Status {
    Status::aborted("the link has ended: a newer one of this gateway took its place, or the broker is shutting down")
}
