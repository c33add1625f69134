//! Leases.

use std::sync::Arc;

use causeway_compute::port::{Error, Lease, Members};
use causeway_model::Incarnation;
use tonic::{Request, Response, Status};

use super::links::{Connection, Link, Purpose};
use crate::convert::{self, Malformed};
use crate::proto as pb;
use crate::proto::lease_answer::Kind as Answered;
use crate::proto::membership_server::Membership;

/// The port as a service.
pub(crate) struct Leases(pub(crate) Arc<dyn Members>);

#[tonic::async_trait]
impl Membership for Leases {
    async fn join(&self, request: Request<pb::Member>) -> Result<Response<pb::LeaseAnswer>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        let member = convert::member_from(request.into_inner()).map_err(invalid)?;
        of_itself(&link, member.incarnation)?;
        Ok(lease(self.0.join(member).await))
    }

    async fn beat(&self, request: Request<pb::MemberId>) -> Result<Response<pb::LeaseAnswer>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        let incarnation = convert::incarnation_from(&request.into_inner().incarnation).map_err(invalid)?;
        of_itself(&link, incarnation)?;
        Ok(lease(self.0.beat(incarnation).await))
    }

    async fn leave(&self, request: Request<pb::MemberId>) -> Result<Response<pb::LeaveAnswer>, Status> {
        let link = Connection::link_of(&request, Purpose::Broker)?;
        let incarnation = convert::incarnation_from(&request.into_inner().incarnation).map_err(invalid)?;
        of_itself(&link, incarnation)?;
        let failure = self.0.leave(incarnation).await.err().map(|error| convert::failure_to(error.kind));
        Ok(Response::new(pb::LeaveAnswer { failure }))
    }
}

/// A gateway speaks for itself alone.
fn of_itself(link: &Link, incarnation: Incarnation) -> Result<(), Status> {
    if link.incarnation == incarnation {
        return Ok(());
    }
    Err(Status::permission_denied(format!("{} may not speak for {incarnation}", link.incarnation)))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn invalid(malformed: Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

fn lease(outcome: Result<Lease, Error>) -> Response<pb::LeaseAnswer> {
    let kind = match outcome {
        Ok(lease) => Answered::Lease(convert::lease_to(&lease)),
        Err(error) => Answered::Failure(convert::failure_to(error.kind)),
    };
    Response::new(pb::LeaseAnswer { kind: Some(kind) })
}
