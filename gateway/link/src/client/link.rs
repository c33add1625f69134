//! The task that keeps the link: makes it, reads its streams, and makes it anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::Reply;
use causeway_model::Kind;
use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::dial::{Dialer, Dialled, chain};
use super::shared::{Asker, Proposer, Shared, answer};
use crate::client::outstanding::Call;
use crate::proto as pb;
use crate::proto::answer::Kind as Answered;
use crate::proto::brokers_client::BrokersClient;
use crate::{Error, MAX_DECODED, convert};

/// A link that lasted less is not made anew at once: whatever ended it may end the next.
const SHORT: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dialer: Dialer,
}

/// The streams of one link; the first that fails ends it.
type Streams<'a> = FuturesUnordered<BoxFuture<'a, Result<(), Status>>>;

impl Link {
    /// Serves link after link.
    ///
    /// # Errors
    /// When a broker refuses for good.
    pub(crate) async fn keep(mut self, first: Dialled) -> Result<(), Error> {
        let mut dialled = first;
        loop {
            let began = Instant::now();
            let (broker, link) = (dialled.address.clone(), format!("{:032x}", dialled.link));
            tracing::info!(broker, link, "link up");
            let status = self.serve(dialled).await;
            self.shared.lost();
            tracing::warn!(broker, link, cause = chain(&status), "link lost");
            if began.elapsed() < SHORT {
                tokio::time::sleep(self.dialer.pause()).await;
            }
            dialled = self.dialer.dial_until_reached().await?;
            let (was, is) = (self.shared.cluster, dialled.cluster);
            if (was.key, was.shards) != (is.key, is.shards) {
                let cause = format!("{} shards or their key are not those of before ({})", is.shards, was.shards);
                return Err(Error::Protocol { address: dialled.address, cause });
            }
        }
    }

    /// Until the link is lost; why it was.
    async fn serve(&self, dialled: Dialled) -> Status {
        self.shared.standings.advance(&dialled.standings);
        self.shared.set_message_bytes(dialled.message_bytes);
        let client = BrokersClient::new(dialled.channel.clone()).max_decoding_message_size(MAX_DECODED);
        let (readers, mut seen) = self.shared.readers.since(0);
        // First: whoever reads frames hears of what is proposed on this link, and need not find a gap.
        let begun = readers.into_iter().map(|reader| self.begin(reader, client.clone()));
        let begun = match try_join_all(begun).await {
            Ok(begun) => begun,
            Err(status) => return status,
        };
        let mut streams: Streams<'_> = FuturesUnordered::new();
        streams.extend(begun.into_iter().flatten().map(|(reader, events)| self.read(reader, events).boxed()));
        streams.push(self.propose(client.clone()).boxed());
        streams.push(self.ask(client.clone()).boxed());
        self.shared.made(dialled.channel);
        loop {
            tokio::select! {
                () = self.shared.readers.added() => seen = self.follow_since(seen, &client, &mut streams),
                ended = streams.next() => match ended {
                    Some(Ok(())) => {}
                    Some(Err(status)) => return status,
                    None => return Status::unavailable("no stream is left"),
                },
            }
        }
    }

    fn follow_since<'a>(&'a self, number: u64, client: &BrokersClient<Channel>, streams: &mut Streams<'a>) -> u64 {
        let (readers, next) = self.shared.readers.since(number);
        for reader in readers {
            streams.push(self.follow(reader, client.clone()).boxed());
        }
        next
    }

    async fn propose(&self, mut client: BrokersClient<Channel>) -> Result<(), Status> {
        let groups = self.shared.proposals.sending(Proposer::is_closed, |ids, groups| pb::Groups { ids, groups });
        let outcome = async {
            let mut outcomes = client.propose(groups).await?.into_inner();
            while let Some(outcomes) = outcomes.message().await? {
                self.settle(outcomes);
            }
            Err(Status::unavailable("the broker ended the stream of proposals"))
        };
        let outcome = outcome.await;
        if outcome.as_ref().is_err_and(is_poison) {
            self.shared.proposals.give_up_sent().into_iter().for_each(|call| answer(call, Kind::Unknown));
        }
        outcome
    }

    fn settle(&self, outcomes: pb::Outcomes) {
        // First: what is acknowledged is visible to whoever asks now.
        self.shared.standings.advance(&outcomes.standings);
        let calls = self.shared.proposals.answer(outcomes.outcomes.iter().map(|outcome| outcome.id));
        for (call, outcome) in calls.into_iter().zip(outcomes.outcomes) {
            if let Some(call) = call {
                let result = replies(&call, outcome);
                // The caller may have gone.
                let _ = call.waiter.send(result);
            }
        }
    }

    async fn ask(&self, mut client: BrokersClient<Channel>) -> Result<(), Status> {
        let queries =
            self.shared.queries.sending(|asker| asker.0.is_closed(), |ids, queries| pb::Queries { ids, queries });
        // Of answers that come in parts. They go with the link: a query that is asked again is answered from the start.
        let mut parts: HashMap<u64, Vec<Answered>> = HashMap::new();
        let outcome = async {
            let mut answers = client.ask(queries).await?.into_inner();
            while let Some(answers) = answers.message().await? {
                self.shared.standings.advance(&answers.standings);
                for answer in answers.answers {
                    self.answer(answer, &mut parts);
                }
            }
            Err(Status::unavailable("the broker ended the stream of queries"))
        };
        let outcome = outcome.await;
        if outcome.as_ref().is_err_and(is_poison) {
            for Call { waiter: Asker(waiter), .. } in self.shared.queries.give_up_sent() {
                let _ = waiter.send(Err(Kind::Invalid));
            }
        }
        outcome
    }

    fn answer(&self, answer: pb::Answer, parts: &mut HashMap<u64, Vec<Answered>>) {
        let id = answer.id;
        let (more, kind) = (answer.more, answer.kind);
        if more {
            parts.entry(id).or_default().extend(kind);
            return;
        }
        let mut whole = parts.remove(&id).unwrap_or_default();
        let result = match kind {
            Some(Answered::Failure(failure)) => Err(convert::failure_from(failure)),
            kind => {
                whole.extend(kind);
                Ok(whole)
            }
        };
        if let Some(Some(call)) = self.shared.queries.answer(std::iter::once(id)).pop() {
            let _ = call.waiter.0.send(result);
        }
    }
}

/// Sending the same again would end the next link as well: the broker says that it cannot read what came.
fn is_poison(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

/// What a proposer gets: one reply a command, `Done` for those that were not sent again.
fn replies(call: &Call<Proposer>, outcome: pb::Outcome) -> Result<Vec<Reply>, Kind> {
    if let Some(failure) = outcome.failure {
        return Err(convert::failure_from(failure));
    }
    let nonsense = |cause: String| {
        tracing::error!(cause, "a broker's outcome makes no sense");
        Kind::Unknown
    };
    let replies = convert::replies_from(&outcome.published, outcome.replies);
    let replies = replies.map_err(|malformed| nonsense(malformed.to_string()))?;
    if replies.len() + call.cut.len() != call.commands {
        return Err(nonsense(format!("{} replies to {} commands", replies.len(), call.commands - call.cut.len())));
    }
    if call.cut.is_empty() {
        return Ok(replies);
    }
    let (mut cut, mut replies) = (call.cut.iter().peekable(), replies.into_iter());
    let reply = |index| if cut.next_if_eq(&&index).is_some() { Some(Reply::Done) } else { replies.next() };
    Ok((0..call.commands).filter_map(reply).collect())
}
