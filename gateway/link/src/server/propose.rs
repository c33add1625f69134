//! Proposals of one link: taken in order, answered as they are ready, many a message.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_compute::port::{Broker, Error, Reply};
use causeway_model::{Kind, ShardId};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::links::Link;
use super::service::{standings, superseded, unreadable};
use crate::convert::{self, Malformed};
use crate::proto as pb;

/// Groups of one link that may wait for their outcome.
const GROUPS: usize = 16_384;

/// Bytes of them. The broker holds its own encoding besides.
const BYTES: usize = 64 << 20;

/// Outcomes in one message.
const BATCH: usize = 4096;

/// One group that the broker has.
struct Taken {
    id: u64,
    shard: ShardId,
    bytes: usize,
    outcome: BoxFuture<'static, Result<Vec<Reply>, Error>>,
}

/// What came of it.
struct Settled {
    id: u64,
    shard: ShardId,
    bytes: usize,
    outcome: Result<Vec<Reply>, Kind>,
}

impl Future for Taken {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        let (id, shard, bytes) = (self.id, self.shard, self.bytes);
        self.outcome.as_mut().poll(cx).map(|outcome| Settled {
            id,
            shard,
            bytes,
            outcome: outcome.map_err(|error| error.kind),
        })
    }
}

/// The stream of answers; polling it takes proposals.
pub(crate) struct Proposing {
    link: Arc<Link>,
    broker: Arc<dyn Broker>,
    inbound: Option<Streaming<pb::Groups>>,
    /// Of the message last received, what was not taken yet.
    batch: std::iter::Zip<std::vec::IntoIter<u64>, std::vec::IntoIter<Bytes>>,
    waiting: FuturesUnordered<Taken>,
    bytes: usize,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Proposing {
    pub(crate) fn new(link: Arc<Link>, broker: Arc<dyn Broker>, inbound: Streaming<pb::Groups>) -> Self {
        let ended = Some(Box::pin(link.ended.clone().cancelled_owned()));
        let batch = Vec::new().into_iter().zip(Vec::new());
        Self { link, broker, inbound: Some(inbound), batch, waiting: FuturesUnordered::new(), bytes: 0, ended }
    }

    /// Takes groups while there is room; malformed ones are answered at once.
    fn take(&mut self, cx: &mut Context<'_>, refused: &mut Vec<pb::Outcome>) -> Result<(), Status> {
        while self.waiting.len() < GROUPS && self.bytes < BYTES && refused.len() < BATCH {
            if let Some((id, group)) = self.batch.next() {
                if let Err(malformed) = self.propose(id, group)? {
                    tracing::warn!(gateway = %self.link.name, %malformed, "a proposal makes no sense");
                    let failure = Some(convert::failure_to(Kind::Invalid));
                    refused.push(pb::Outcome { id, failure, ..pb::Outcome::default() });
                }
                continue;
            }
            let Some(inbound) = &mut self.inbound else { break };
            match inbound.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => return Err(unreadable(&self.link.name, &status)),
                Poll::Ready(Some(Ok(groups))) if groups.ids.len() == groups.groups.len() => {
                    self.batch = groups.ids.into_iter().zip(groups.groups);
                }
                Poll::Ready(Some(Ok(_))) => {
                    let columns = Malformed::Columns("message of groups").to_string();
                    return Err(unreadable(&self.link.name, &Status::invalid_argument(columns)));
                }
            }
        }
        Ok(())
    }

    fn propose(&mut self, id: u64, group: Bytes) -> Result<Result<(), Malformed>, Status> {
        let bytes = group.len();
        let (shard, commands) = match decode(group) {
            Ok(group) => group,
            Err(malformed) => return Ok(Err(malformed)),
        };
        // No group of an older link comes after one of a newer.
        let outcome = self.link.act(|| self.broker.propose(shard, commands)).ok_or_else(superseded)?;
        self.bytes += bytes;
        self.waiting.push(Taken { id, shard, bytes, outcome });
        Ok(Ok(()))
    }

    fn settle(&mut self, cx: &mut Context<'_>, outcomes: &mut Vec<pb::Outcome>, shards: &mut Vec<ShardId>) {
        while outcomes.len() < BATCH {
            let Poll::Ready(Some(settled)) = self.waiting.poll_next_unpin(cx) else { break };
            self.bytes -= settled.bytes;
            if !shards.contains(&settled.shard) {
                shards.push(settled.shard);
            }
            let mut outcome = pb::Outcome { id: settled.id, ..pb::Outcome::default() };
            match settled.outcome {
                Ok(replies) => (outcome.published, outcome.replies) = convert::replies_to(&replies),
                Err(kind) => outcome.failure = Some(convert::failure_to(kind)),
            }
            outcomes.push(outcome);
        }
    }
}

fn decode(group: Bytes) -> Result<(ShardId, Vec<causeway_compute::port::Command>), Malformed> {
    let group = pb::Group::decode(group)?;
    let commands = group.commands.into_iter().map(convert::command_from).collect::<Result<_, _>>()?;
    Ok((ShardId(group.shard), commands))
}

impl Stream for Proposing {
    type Item = Result<pb::Outcomes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(ended) = &mut this.ended else { return Poll::Ready(None) };
        if ended.as_mut().poll(cx).is_ready() {
            this.ended = None;
            return Poll::Ready(Some(Err(superseded())));
        }
        let (mut outcomes, mut shards) = (Vec::new(), Vec::new());
        if let Err(status) = this.take(cx, &mut outcomes) {
            this.ended = None;
            return Poll::Ready(Some(Err(status)));
        }
        this.settle(cx, &mut outcomes, &mut shards);
        if !outcomes.is_empty() {
            // Read after the outcomes: what is acknowledged is below what is said to be applied.
            let standings = standings(&*this.broker, shards.into_iter()).collect();
            return Poll::Ready(Some(Ok(pb::Outcomes { outcomes, standings })));
        }
        if this.inbound.is_none() && this.waiting.is_empty() && this.batch.len() == 0 {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}
