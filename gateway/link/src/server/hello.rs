//! The handshake: who may have a link, and what it must know before it asks anything.

use std::sync::Arc;

use causeway_compute::port::{Broker, Cluster};
use subtle::ConstantTimeEq;
use tonic::{Request, Response, Status};

use super::links::{Connection, Link, Links, Purpose};
use super::service::standings;
use crate::convert::{self, Malformed};
use crate::proto as pb;
use crate::proto::handshake_server::Handshake;
use crate::{LEVEL, MESSAGE_BYTES, VERSION};

/// See the module.
pub(crate) struct Hello {
    pub(crate) cluster: Cluster,
    pub(crate) token: Option<String>,
    pub(crate) broker: Option<Arc<dyn Broker>>,
    pub(crate) peer: bool,
    pub(crate) links: Arc<Links>,
}

#[tonic::async_trait]
impl Handshake for Hello {
    async fn hello(&self, request: Request<pb::HelloRequest>) -> Result<Response<pb::HelloReply>, Status> {
        let connection = Connection::of(&request)?;
        let greeted = self.greet(request.into_inner(), &connection);
        if let Err(status) = &greeted {
            tracing::warn!(peer = %connection.peer, cause = status.message(), "link refused");
        }
        greeted.map(Response::new)
    }
}

impl Hello {
    fn greet(&self, hello: pb::HelloRequest, connection: &Connection) -> Result<pb::HelloReply, Status> {
        // The token first: whoever lacks it learns nothing else.
        if self.token.as_ref().is_some_and(|token| !bool::from(token.as_bytes().ct_eq(&hello.token))) {
            return Err(Status::unauthenticated("wrong token"));
        }
        self.check(&hello)?;
        let malformed = |malformed: Malformed| Status::invalid_argument(malformed.to_string());
        let purpose = self.purpose(hello.purpose())?;
        let incarnation = convert::incarnation_from(&hello.incarnation).map_err(malformed)?;
        let name = convert::text("name", hello.name).map_err(malformed)?;
        let link = Arc::new(Link::new(rand::random(), name, incarnation, purpose));
        self.links.enter(&link, connection)?;
        let number = format!("{:032x}", link.number);
        tracing::info!(gateway = %link.name, %incarnation, link = number, peer = %connection.peer, "link up");
        let standings = self.broker.iter().flat_map(|broker| standings(&**broker, self.cluster.shards()));
        Ok(pb::HelloReply {
            version: VERSION,
            lineage: self.cluster.lineage.0.to_be_bytes().to_vec().into(),
            key: self.cluster.key.0.to_vec().into(),
            level: self.cluster.level,
            shards: self.cluster.shards,
            link: link.number.to_be_bytes().to_vec().into(),
            standings: standings.collect(),
            message_bytes: MESSAGE_BYTES as u64,
        })
    }

    fn check(&self, hello: &pb::HelloRequest) -> Result<(), Status> {
        if hello.version != VERSION {
            let theirs = hello.version;
            return Err(Status::failed_precondition(format!(
                "this side speaks version {VERSION} of the link, the client {theirs}"
            )));
        }
        if hello.level < self.cluster.level.min(LEVEL) {
            let (ours, theirs) = (self.cluster.level, hello.level);
            return Err(Status::failed_precondition(format!(
                "the cluster is at feature level {ours}, the client knows up to {theirs}"
            )));
        }
        if let Some(expected) = &hello.lineage {
            let expected = convert::sixteen("lineage", expected);
            let expected = expected.map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
            if u128::from_be_bytes(expected) != self.cluster.lineage.0 {
                return Err(Status::failed_precondition(format!(
                    "this is lineage {}, the client expects {:032x}",
                    self.cluster.lineage,
                    u128::from_be_bytes(expected)
                )));
            }
        }
        Ok(())
    }

    fn purpose(&self, purpose: pb::Purpose) -> Result<Purpose, Status> {
        match purpose {
            pb::Purpose::Broker if self.broker.is_some() => Ok(Purpose::Broker),
            pb::Purpose::Broker => Err(Status::failed_precondition("a gateway is here, no broker")),
            pb::Purpose::Peer if self.peer => Ok(Purpose::Peer),
            pb::Purpose::Peer => Err(Status::failed_precondition("no gateway is here")),
            pb::Purpose::Unspecified => Err(Status::invalid_argument("no purpose")),
        }
    }
}
