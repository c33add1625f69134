//! Leases: asked apart from the streams, and not queued, since a renewal that is late is worth nothing.

use std::sync::Arc;

use causeway_compute::port::{Error, Lease, Member, Members};
use causeway_model::{Incarnation, Kind, ShardId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::Client;
use super::shared::Shared;
use crate::convert;
use crate::proto as pb;
use crate::proto::lease_answer::Kind as Answered;
use crate::proto::membership_client::MembershipClient;

impl Members for Client {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, Error>> {
        let request = convert::member_to(&member);
        call(&self.shared, "join", async move |mut client| client.join(request).await, lease)
    }

    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, Error>> {
        let request = pb::MemberId { incarnation: convert::incarnation_to(incarnation) };
        call(&self.shared, "beat", async move |mut client| client.beat(request).await, lease)
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), Error>> {
        let request = pb::MemberId { incarnation: convert::incarnation_to(incarnation) };
        let left =
            |answer: pb::LeaveAnswer| answer.failure.map_or(Ok(()), |failure| Err(convert::failure_from(failure)));
        call(&self.shared, "leave", async move |mut client| client.leave(request).await, left)
    }
}

fn lease(answer: pb::LeaseAnswer) -> Result<Lease, Kind> {
    match answer.kind {
        Some(Answered::Lease(lease)) => convert::lease_from(lease).map_err(|malformed| {
            tracing::error!(%malformed, "a broker's lease makes no sense");
            Kind::Invalid
        }),
        Some(Answered::Failure(failure)) => Err(convert::failure_from(failure)),
        None => Err(Kind::Invalid),
    }
}

fn call<A, T, F>(
    shared: &Arc<Shared>,
    operation: &'static str,
    ask: impl FnOnce(MembershipClient<Channel>) -> F + Send + 'static,
    answer: impl FnOnce(A) -> Result<T, Kind> + Send + 'static,
) -> BoxFuture<'static, Result<T, Error>>
where
    F: Future<Output = Result<Response<A>, Status>> + Send + 'static,
{
    let (mut channel, patience) = (shared.channel.subscribe(), shared.patience);
    let asked = async move {
        let channel = channel.wait_for(Option::is_some).await.map_err(|_| Kind::Unavailable)?.clone();
        let client = MembershipClient::new(channel.ok_or(Kind::Unavailable)?);
        match ask(client).await {
            Ok(response) => answer(response.into_inner()),
            // Whatever it was, asking again is harmless: leases are renewed or taken anew.
            Err(status) => {
                tracing::debug!(operation, %status, "a lease was not answered");
                Err(Kind::Unavailable)
            }
        }
    };
    async move {
        let answered = tokio::time::timeout(patience, asked).await.unwrap_or(Err(Kind::Unavailable));
        answered.map_err(|kind| Error { operation, shard: ShardId(0), kind })
    }
    .boxed()
}
