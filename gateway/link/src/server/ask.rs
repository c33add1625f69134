//! Queries of one link: asked at once, answered as they are ready, large answers in parts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use causeway_compute::port::{Broker, Error, Overview};
use causeway_model::{ClientId, Kind, Position, ShardId};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use prost::Message as _;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::links::Link;
use super::parts::Parts;
use super::service::{standings, superseded, unreadable};
use crate::convert::{self, Malformed};
use crate::proto as pb;
use crate::proto::answer::Kind as Answered;
use crate::proto::query::Kind as Query;

/// Queries of one link that may be under way.
const QUERIES: usize = 256;

/// About so much is in one message.
const BATCH_BYTES: usize = 512 << 10;

type Answering = BoxFuture<'static, (u64, Option<ShardId>, Parts)>;

/// The stream of answers; polling it takes queries.
pub(crate) struct Asking {
    link: Arc<Link>,
    ports: (Arc<dyn Broker>, Arc<dyn Overview>),
    inbound: Option<Streaming<pb::Queries>>,
    batch: std::iter::Zip<std::vec::IntoIter<u64>, std::vec::IntoIter<Bytes>>,
    asked: FuturesUnordered<Answering>,
    /// Answers that are being sent. What is asked next waits until they are.
    ready: VecDeque<(u64, Parts)>,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Asking {
    pub(crate) fn new(
        link: Arc<Link>,
        broker: Arc<dyn Broker>,
        overview: Arc<dyn Overview>,
        inbound: Streaming<pb::Queries>,
    ) -> Self {
        let ended = Some(Box::pin(link.ended.clone().cancelled_owned()));
        let batch = Vec::new().into_iter().zip(Vec::new());
        let (asked, ready) = (FuturesUnordered::new(), VecDeque::new());
        Self { link, ports: (broker, overview), inbound: Some(inbound), batch, asked, ready, ended }
    }

    fn take(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while self.asked.len() + self.ready.len() < QUERIES {
            if let Some((id, query)) = self.batch.next() {
                let (broker, overview) = &self.ports;
                match ask(&**broker, &**overview, id, query) {
                    Ok(asked) => self.asked.push(asked),
                    Err(malformed) => {
                        tracing::warn!(gateway = %self.link.name, %malformed, "a query makes no sense");
                        self.ready.push_back((id, Parts::failure(Kind::Invalid)));
                    }
                }
                continue;
            }
            let Some(inbound) = &mut self.inbound else { break };
            match inbound.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => return Err(unreadable(&self.link.name, &status)),
                Poll::Ready(Some(Ok(queries))) if queries.ids.len() == queries.queries.len() => {
                    self.batch = queries.ids.into_iter().zip(queries.queries);
                }
                Poll::Ready(Some(Ok(_))) => {
                    let columns = Malformed::Columns("message of queries").to_string();
                    return Err(unreadable(&self.link.name, &Status::invalid_argument(columns)));
                }
            }
        }
        Ok(())
    }

    fn answers(&mut self, shards: &mut Vec<ShardId>, cx: &mut Context<'_>) -> Vec<pb::Answer> {
        while let Poll::Ready(Some((id, shard, parts))) = self.asked.poll_next_unpin(cx) {
            shards.extend(shard.filter(|shard| !shards.contains(shard)));
            self.ready.push_back((id, parts));
        }
        let (mut answers, mut room) = (Vec::new(), BATCH_BYTES);
        while room > 0 {
            let Some((id, mut parts)) = self.ready.pop_front() else { break };
            let (kind, more) = parts.next(&mut room);
            answers.push(pb::Answer { id, more, kind });
            if more {
                self.ready.push_front((id, parts));
                break;
            }
        }
        answers
    }
}

impl Stream for Asking {
    type Item = Result<pb::Answers, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(ended) = &mut this.ended else { return Poll::Ready(None) };
        if ended.as_mut().poll(cx).is_ready() {
            this.ended = None;
            return Poll::Ready(Some(Err(superseded())));
        }
        if let Err(status) = this.take(cx) {
            this.ended = None;
            return Poll::Ready(Some(Err(status)));
        }
        let mut shards = Vec::new();
        let answers = this.answers(&mut shards, cx);
        if !answers.is_empty() {
            let standings = standings(&*this.ports.0, shards.into_iter()).collect();
            return Poll::Ready(Some(Ok(pb::Answers { answers, standings })));
        }
        if this.inbound.is_none() && this.asked.is_empty() && this.batch.len() == 0 {
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

fn ask(broker: &dyn Broker, overview: &dyn Overview, id: u64, query: Bytes) -> Result<Answering, Malformed> {
    let query = pb::Query::decode(query)?.kind.ok_or(Malformed::Missing("query"))?;
    Ok(match query {
        Query::Read(read) => {
            let shard = ShardId(read.shard);
            let reads = read.reads.into_iter().map(convert::read_from).collect::<Result<_, _>>()?;
            answer(id, Some(shard), broker.read(shard, reads), |pages| Parts::Pages(pages.into_iter()))
        }
        Query::Fetch(fetch) => {
            let shard = ShardId(fetch.shard);
            let positions = fetch.positions.into_iter().map(Position).collect();
            let fetched = broker.fetch(shard, positions);
            answer(id, Some(shard), fetched, |messages| Parts::Messages(messages.into_iter()))
        }
        Query::Session(session) => {
            let shard = ShardId(session.shard);
            let rows = broker.session(shard, convert::sid_from(session.sid)?);
            answer(id, Some(shard), rows, |rows| whole(Answered::Session(convert::session_to(&rows))))
        }
        Query::Client(client) => {
            let client_id = ClientId(convert::text("client", client.client)?);
            let session = overview.client(convert::namespace(client.namespace)?, client_id);
            answer(id, None, session, |session| {
                let session = session.as_ref().map(convert::client_session_to);
                whole(Answered::Client(pb::ClientAnswer { session }))
            })
        }
        Query::Gateways(_) => {
            answer(id, None, overview.gateways(), |rows| whole(Answered::Gateways(convert::gateways_to(&rows))))
        }
        Query::Status(status) => {
            let shard = ShardId(status.shard);
            answer(id, Some(shard), overview.status(shard), |status| {
                whole(Answered::Status(convert::status_to(&status)))
            })
        }
    })
}

fn whole(answer: Answered) -> Parts {
    Parts::Whole(Some(answer))
}

fn answer<T: Send + 'static>(
    id: u64,
    shard: Option<ShardId>,
    asked: BoxFuture<'static, Result<T, Error>>,
    parts: fn(T) -> Parts,
) -> Answering {
    asked.map(move |answer| (id, shard, answer.map_or_else(|error| Parts::failure(error.kind), parts))).boxed()
}
