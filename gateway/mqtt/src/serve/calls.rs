//! The calls of one session that are under way. Few at a time, so all are asked on each wake.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_compute::port::{Broker, Command, Error, Page, Reply, Session as Rows};
use causeway_compute::registry::Presence;
use causeway_model::{Message, Position, ShardId};
use futures_util::future::BoxFuture;

use crate::session::{Answer, Ticket};

/// How long the end of a connection waits for the session's last words to be logged (design §5.5).
const HOLD: Duration = Duration::from_millis(200);
/// Pauses between attempts to log them meanwhile.
const SHORT_PAUSE: Duration = Duration::from_millis(20);
const SHORT_ATTEMPTS: usize = 9;
/// Pauses between attempts after that.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts. After them the session stays open in the log until its client returns or this gateway is lost.
const ATTEMPTS: usize = 50;

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
        let last = |ticket: &Ticket| matches!(ticket, Ticket::Close(_) | Ticket::Forgotten);
        self.0.retain(|(ticket, _)| last(ticket));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Logs a session's last words, again and again while the broker refuses them: without them the session's expiry does
/// not begin. The first attempt is ordered before this returns. Whoever takes the session over waits for `presence` to
/// go, for a short while: his `SessionOpen` would fence words that are still to be tried again.
pub(super) fn last_words(
    broker: Arc<dyn Broker>,
    shard: ShardId,
    commands: Vec<Command>,
    presence: Option<Arc<Presence>>,
) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
    let first = broker.propose(shard, commands.clone());
    Box::pin(async move {
        let mut words = std::pin::pin!(until_logged(broker, shard, commands, first));
        if let Ok(done) = tokio::time::timeout(HOLD, words.as_mut()).await {
            return done;
        }
        drop(presence);
        words.await
    })
}

async fn until_logged(
    broker: Arc<dyn Broker>,
    shard: ShardId,
    commands: Vec<Command>,
    mut reply: BoxFuture<'static, Result<Vec<Reply>, Error>>,
) -> Result<Vec<Reply>, Error> {
    let pauses = std::iter::repeat_n(SHORT_PAUSE, SHORT_ATTEMPTS).chain(std::iter::repeat_n(PAUSE, ATTEMPTS));
    for pause in pauses {
        match reply.await {
            // Unknown too: of an older epoch they are ignored, and twice they are what they are once.
            Err(error) if error.kind.retryable() || error.kind == causeway_model::Kind::Unknown => {
                tokio::time::sleep(pause).await;
                reply = broker.propose(shard, commands.clone());
            }
            done => return done,
        }
    }
    reply.await
}
