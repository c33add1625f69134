//! The handshake: who may have a link, and what it must know before it asks anything.

use std::sync::Arc;

use causeway_compute::port::{Broker, Cluster};
use subtle::ConstantTimeEq;
use tonic::{Request, Response, Status};

use super::links::{Connection, Link, Links, Purpose};
use super::service::standings;
use crate::convert::{self, Malformed};
use crate::metrics::Refusal;
use crate::proto as pb;
use crate::proto::handshake_server::Handshake;
use crate::{LEVEL, MESSAGE_BYTES, VERSION};

/// Readers of frames that a link may have, each shard: a gateway needs one, and one more while it leaves the other.
const READERS: usize = 4;

/// See the module.
pub(crate) struct Hello {
    pub(crate) cluster: Cluster,
    pub(crate) token: Option<String>,
    pub(crate) broker: Option<Arc<dyn Broker>>,
    pub(crate) peer: bool,
    pub(crate) links: Arc<Links>,
}

/// A handshake that was not accepted.
struct Refused {
    why: Refusal,
    status: Status,
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { why: Refusal::Other, status }
    }
}

#[tonic::async_trait]
impl Handshake for Hello {
    async fn hello(&self, request: Request<pb::HelloRequest>) -> Result<Response<pb::HelloReply>, Status> {
        let connection = Connection::of(&request)?;
        let greeted = self.greet(request.into_inner(), &connection);
        greeted.map(Response::new).map_err(|refused| {
            let Refused { why, status } = refused;
            self.links.metrics.refused(why);
            connection.refuse();
            if let Some(left_out) = self.links.refused.admit() {
                tracing::warn!(peer = %connection.peer, cause = status.message(), left_out, "link refused");
            }
            status
        })
    }
}

impl Hello {
    fn greet(&self, hello: pb::HelloRequest, connection: &Connection) -> Result<pb::HelloReply, Refused> {
        // The token first: whoever lacks it learns nothing else.
        if self.token.as_ref().is_some_and(|token| !bool::from(token.as_bytes().ct_eq(&hello.token))) {
            return Err(Refused { why: Refusal::Token, status: Status::unauthenticated("wrong token") });
        }
        self.check(&hello)?;
        let malformed = |malformed: Malformed| Status::invalid_argument(malformed.to_string());
        let purpose = self.purpose(hello.purpose())?;
        let incarnation = convert::incarnation_from(&hello.incarnation).map_err(malformed)?;
        let name = convert::text("name", hello.name).map_err(malformed)?;
        let readers = READERS * usize::try_from(self.cluster.shards).unwrap_or(1);
        let link = Arc::new(Link::new(rand::random(), name, incarnation, purpose, readers));
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

    fn check(&self, hello: &pb::HelloRequest) -> Result<(), Refused> {
        let refuse = |why, cause| Err(Refused { why, status: Status::failed_precondition(cause) });
        if hello.version != VERSION {
            let theirs = hello.version;
            let cause = format!("this side speaks version {VERSION} of the link, the client {theirs}");
            return refuse(Refusal::Version, cause);
        }
        if hello.level < self.cluster.level.min(LEVEL) {
            let (ours, theirs) = (self.cluster.level, hello.level);
            let cause = format!("the cluster is at feature level {ours}, the client knows up to {theirs}");
            return refuse(Refusal::Level, cause);
        }
        if let Some(expected) = &hello.lineage {
            let expected = convert::sixteen("lineage", expected);
            let expected = expected.map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
            let expected = u128::from_be_bytes(expected);
            if expected != self.cluster.lineage.0 {
                let cause = format!("this is lineage {}, the client expects {expected:032x}", self.cluster.lineage);
                return refuse(Refusal::Lineage, cause);
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
