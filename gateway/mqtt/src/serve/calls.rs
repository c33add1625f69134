//! The calls of one session that are under way. Few at a time, so all are asked on each wake.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_compute::port::{Broker, Command, Error, Page, Reply, Session as Rows};
use causeway_model::{Message, Position, ShardId};
use futures_util::future::BoxFuture;

use crate::session::{Answer, Ticket};

/// Pauses between attempts to log a session's last words.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts. After them the session stays open in the log until its client returns or this gateway is lost.
const ATTEMPTS: u32 = 50;

/// A call whose answer has not come. One variant a shape of answer, so that the port's own boxes are not boxed again.
pub(super) enum Pending {
    Replies(BoxFuture<'static, Result<Vec<Reply>, Error>>),
    Pages(BoxFuture<'static, Result<Vec<Page>, Error>>),
    Messages(BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>>),
    Rows(BoxFuture<'static, Result<Rows, Error>>, Position),
    Other(BoxFuture<'static, Answer>),
}

impl Pending {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Self::Replies(future) => future.as_mut().poll(context).map(Answer::Replies),
            Self::Pages(future) => future.as_mut().poll(context).map(Answer::Pages),
            Self::Messages(future) => future.as_mut().poll(context).map(Answer::Messages),
            Self::Rows(future, first) => future.as_mut().poll(context).map(|rows| Answer::Rows(rows, *first)),
            Self::Other(future) => future.as_mut().poll(context),
        }
    }
}

/// The calls that are under way, oldest first.
#[derive(Default)]
pub(super) struct Calls(Vec<(Ticket, Pending)>);

impl Calls {
    pub(super) fn start(&mut self, ticket: Ticket, call: Pending) {
        self.0.push((ticket, call));
    }

    /// The first answer that is there.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(Ticket, Answer)> {
        for at in 0..self.0.len() {
            let Some((ticket, call)) = self.0.get_mut(at) else { break };
            if let Poll::Ready(answer) = call.poll(context) {
                let ticket = *ticket;
                self.0.remove(at);
                if self.0.is_empty() {
                    // An idle client keeps no room for calls.
                    self.0 = Vec::new();
                }
                return Poll::Ready((ticket, answer));
            }
        }
        Poll::Pending
    }

    /// Drops what is of no use to a session that has ended.
    pub(super) fn keep_last(&mut self) {
        let last = |ticket: &Ticket| matches!(ticket, Ticket::Open | Ticket::Close(_) | Ticket::Forgotten);
        self.0.retain(|(ticket, _)| last(ticket));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a session may still be opened by one of them.
    pub(super) fn is_opening(&self) -> bool {
        self.0.iter().any(|(ticket, _)| *ticket == Ticket::Open)
    }
}

/// Logs a session's last words, again and again while the broker refuses them: without them the session's expiry does
/// not begin. The first attempt is ordered before this returns.
pub(super) fn last_words(
    broker: Arc<dyn Broker>,
    shard: ShardId,
    commands: Vec<Command>,
) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
    let mut reply = broker.propose(shard, commands.clone());
    Box::pin(async move {
        for _ in 1..ATTEMPTS {
            match reply.await {
                // Unknown too: of an older epoch they are ignored, and twice they are what they are once.
                Err(error) if error.kind.retryable() || error.kind == causeway_model::Kind::Unknown => {
                    tokio::time::sleep(PAUSE).await;
                    reply = broker.propose(shard, commands.clone());
                }
                done => return done,
            }
        }
        reply.await
    })
}
