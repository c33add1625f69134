//! A broker before another one: it refuses a proposal or keeps an answer back, as a test wants it.

use std::sync::Arc;

use causeway_compute::port::{Broker, Cluster, Command, Error, Frames, Page, Read, Reply, Session};
use causeway_model::{Kind, Message, Position, ShardId, Sid};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What becomes of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// Not done, try again.
    Busy,
    /// Done, but the answer never comes.
    Mute,
    /// Done, but the answer comes only once the gate is released.
    Late,
}

type Judge = Box<dyn FnMut(&[Command]) -> Verdict + Send>;

pub(crate) struct Gate {
    inner: Arc<dyn Broker>,
    judge: Mutex<Judge>,
    released: CancellationToken,
}

impl Gate {
    pub(crate) fn new(inner: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self { inner, judge: Mutex::new(Box::new(|_| Verdict::Pass)), released: CancellationToken::new() })
    }

    /// From now on `judge` decides.
    pub(crate) fn judge(&self, judge: impl FnMut(&[Command]) -> Verdict + Send + 'static) {
        *self.judge.lock() = Box::new(judge);
    }

    /// Late answers come.
    pub(crate) fn release(&self) {
        self.released.cancel();
    }
}

impl Broker for Gate {
    fn cluster(&self) -> Cluster {
        self.inner.cluster()
    }

    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        let mut judge = self.judge.lock();
        match judge(&commands) {
            Verdict::Pass => self.inner.propose(shard, commands),
            Verdict::Busy => {
                let kind = Kind::Busy { retry_after: std::time::Duration::from_millis(1) };
                Box::pin(std::future::ready(Err(Error { operation: "propose", shard, kind })))
            }
            Verdict::Late => {
                let (answer, released) = (self.inner.propose(shard, commands), self.released.clone());
                Box::pin(async move {
                    released.cancelled().await;
                    answer.await
                })
            }
            Verdict::Mute => {
                let answer = self.inner.propose(shard, commands);
                Box::pin(async move {
                    let _ = answer.await;
                    std::future::pending().await
                })
            }
        }
    }

    fn read(&self, shard: ShardId, reads: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        self.inner.read(shard, reads)
    }

    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        self.inner.fetch(shard, positions)
    }

    fn session(&self, shard: ShardId, sid: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        self.inner.session(shard, sid)
    }

    fn notify(&self, shard: ShardId) -> Frames {
        self.inner.notify(shard)
    }

    fn applied(&self, shard: ShardId) -> Position {
        self.inner.applied(shard)
    }

    fn first(&self, shard: ShardId) -> Position {
        self.inner.first(shard)
    }
}
