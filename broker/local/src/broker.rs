//! The port, over one shard's committer, tables and log.

use std::sync::Arc;

use causeway_apply::{Durable, Outcome, read};
use causeway_compute::port::{Broker, Cluster, Command, Error, Frames, Page, Read, Reply, Session, frames};
use causeway_model::{Kind, Message, Position, ShardId, Sid};
use causeway_replication::{Committer, Priority};
use causeway_storage::Reader;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::command::Rules;
use crate::duty::{Duties, PutOff};
use crate::flush::Dirty;
use crate::machine::View;
use crate::notify::Subscribers;
use crate::outcome::{failure, refusal, reply};
use crate::read::pool::{NotTaken, Pool};
use crate::read::{Source, fetch};
use crate::settings::Reads;

/// One shard, as protocols see it. See the crate for how it is put together.
pub struct Local<T> {
    pub(crate) cluster: Cluster,
    pub(crate) shard: ShardId,
    pub(crate) committer: Arc<dyn Committer<Outcome>>,
    pub(crate) tables: Arc<T>,
    pub(crate) reader: Reader,
    pub(crate) pool: Arc<Pool>,
    pub(crate) view: Arc<View>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) dirty: Arc<Dirty>,
    pub(crate) rules: Rules,
    pub(crate) reads: Reads,
    /// How many frames, and how many bytes of them, a reader of notify may lag behind.
    pub(crate) notify: (usize, usize),
    pub(crate) duties: Arc<Mutex<Duties<T>>>,
    pub(crate) failed: watch::Receiver<Option<Arc<crate::Error>>>,
}

impl<T: Durable> Local<T> {
    /// Resolves when the shard stopped by itself: a failed disk, a record that this build cannot apply, tables that
    /// cannot be flushed. The process should exit; a restart finds out what is there. Never resolves otherwise.
    pub async fn failed(&self) -> Arc<crate::Error> {
        let (mut commit, mut rest) = (self.committer.failed(), self.failed.clone());
        tokio::select! {
            Ok(error) = commit.wait_for(Option::is_some) => {
                // The branch matches a set error only.
                if let Some(error) = error.clone() { return Arc::new(crate::Error::Stopped(error)); }
            }
            Ok(error) = rest.wait_for(Option::is_some) => {
                if let Some(error) = error.clone() { return error; }
            }
            else => {}
        }
        std::future::pending().await
    }

    /// Runs the leader's duties once, as the clock has it now. Blocks: not on an async worker.
    pub fn tick(&self) -> Result<(), PutOff> {
        self.duties.lock().tick()
    }

    /// Makes all tables durable as they are now and releases what of the log that lets go. Blocks: not on an async
    /// worker.
    ///
    /// # Errors
    /// `Unavailable` when the shard has stopped.
    pub fn flush(&self) -> Result<(), Error> {
        if self.dirty.flush() { Ok(()) } else { Err(self.error("flush", Kind::Unavailable)) }
    }

    /// Gives up the log below a position, as an operator may ask. Returns once that is applied; the files go later.
    pub async fn trim(&self, below: Position) -> Result<Reply, Error> {
        let record = causeway_apply::Record::Trim(causeway_apply::record::Trim { first: below });
        let group = crate::duty::group(std::slice::from_ref(&record));
        let pending = self.committer.propose(group, None, Priority::MakesRoom);
        let outcome = match pending {
            Ok(pending) => pending.await.map_err(failure),
            Err(refused) => Err(refusal(refused)),
        };
        let outcomes = outcome.map_err(|kind| self.error("trim", kind))?;
        outcomes.into_iter().next().map(reply).ok_or_else(|| self.error("trim", Kind::Unknown))
    }

    /// The tables: for tools that look at rows.
    pub fn tables(&self) -> &Arc<T> {
        &self.tables
    }

    /// The log: for tools that look at batches.
    pub fn log(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn error(&self, operation: &'static str, kind: Kind) -> Error {
        Error { operation, shard: self.shard, kind }
    }

    fn source(&self) -> Source<T> {
        Source {
            tables: Arc::clone(&self.tables),
            reader: self.reader.clone(),
            view: Arc::clone(&self.view),
            budget: self.reads,
            end: self.view.applied(),
        }
    }

    /// Runs a blocking read on the pool.
    pub(crate) fn blocking<R: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce() -> Result<R, Kind> + Send + 'static,
    ) -> BoxFuture<'static, Result<R, Error>> {
        let shard = self.shard;
        match self.pool.run(job) {
            Ok(answer) => async move {
                let result = answer.await.unwrap_or(Err(Kind::Unavailable));
                result.map_err(|kind| Error { operation, shard, kind })
            }
            .boxed(),
            Err(NotTaken::Full) => refuse(operation, shard, Kind::Busy { retry_after: self.reads.retry_after }),
            Err(NotTaken::Closed) => refuse(operation, shard, Kind::Unavailable),
        }
    }
}

impl<T: Durable> Broker for Local<T> {
    fn cluster(&self) -> Cluster {
        self.cluster
    }

    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        const OPERATION: &str = "propose";
        if shard != self.shard {
            return refuse(OPERATION, shard, Kind::NotFound);
        }
        if commands.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        // What lets clients come, read and go stays possible on a full disk: it is small, and reading is what is left.
        if self.view.is_full() && commands.iter().any(stores) {
            return refuse(OPERATION, shard, Kind::DiskFull);
        }
        let group = match self.rules.encode(commands) {
            Ok(group) => group,
            Err(kind) => return refuse(OPERATION, shard, kind),
        };
        match self.committer.propose(group, None, Priority::Ordinary) {
            Ok(pending) => async move {
                let outcomes =
                    pending.await.map_err(|why| Error { operation: OPERATION, shard, kind: failure(why) })?;
                Ok(outcomes.into_iter().map(reply).collect())
            }
            .boxed(),
            Err(refused) => refuse(OPERATION, shard, refusal(refused)),
        }
    }

    fn read(&self, shard: ShardId, reads: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        if shard != self.shard {
            return refuse("read", shard, Kind::NotFound);
        }
        if reads.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        let source = self.source();
        self.blocking("read", move || source.pages(&reads))
    }

    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        const OPERATION: &str = "fetch";
        if shard != self.shard {
            return refuse(OPERATION, shard, Kind::NotFound);
        }
        let applied = self.view.applied();
        if positions.iter().any(|at| *at >= applied) {
            return refuse(OPERATION, shard, Kind::Invalid);
        }
        let fetched = match fetch::cached(&self.reader, self.view.first(), &positions) {
            Ok(fetched) => fetched,
            Err(kind) => return refuse(OPERATION, shard, kind),
        };
        match fetched.complete() {
            Ok(messages) => ready(Ok(messages)).boxed(),
            Err(fetched) => {
                let reader = self.reader.clone();
                self.blocking(OPERATION, move || fetched.read(&reader))
            }
        }
    }

    fn session(&self, shard: ShardId, sid: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        if shard != self.shard {
            return refuse("session", shard, Kind::NotFound);
        }
        let source = self.source();
        self.blocking("session", move || source.session(sid))
    }

    fn notify(&self, shard: ShardId) -> Frames {
        if shard == self.shard {
            let (count, bytes) = self.notify;
            self.subscribers.subscribe(count, bytes)
        } else {
            // Closed at once: nothing will ever come from a shard that is not here.
            frames(1, 0).1
        }
    }

    fn applied(&self, shard: ShardId) -> Position {
        if shard == self.shard { self.view.applied() } else { Position(0) }
    }

    fn first(&self, shard: ShardId) -> Position {
        if shard == self.shard { self.view.first() } else { Position(0) }
    }
}

/// Whether a command keeps something that an operator would call data.
fn stores(command: &Command) -> bool {
    matches!(command, Command::Publish(_) | Command::TopicPut { .. })
}

pub(crate) fn refuse<R: Send + 'static>(
    operation: &'static str,
    shard: ShardId,
    kind: Kind,
) -> BoxFuture<'static, Result<R, Error>> {
    ready(Err(Error { operation, shard, kind })).boxed()
}

/// The constants of a cluster, as its log has them.
pub(crate) fn cluster<T: Durable>(tables: &T) -> Result<Option<(Cluster, ShardId)>, causeway_apply::ApplyError> {
    let level = read::level(tables)?;
    let init = read::cluster(tables)?;
    Ok(init.map(|init| {
        let cluster = Cluster { lineage: init.lineage, key: init.key, level: u32::from(level), shards: init.shards };
        (cluster, init.shard)
    }))
}
