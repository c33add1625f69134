//! What a shard's threads share, the threads themselves, and the order in which they end.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use causeway_apply::{Apply, Durable, Effects, Outcome};
use causeway_model::{Position, ShardId};
use causeway_replication::Committer;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::Error;
use crate::duty::Duties;
use crate::flush::{Dirty, Flusher};
use crate::machine::{Machine, View};
use crate::notify::Subscribers;
use crate::read::pool::Pool;
use crate::settings::Settings;

/// What the threads share, and the threads that run so far.
pub(crate) struct Parts {
    pub(crate) view: Arc<View>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) dirty: Arc<Dirty>,
    /// Set once there is a committer to release the log to.
    committer: Arc<OnceLock<Arc<dyn Committer<Outcome>>>>,
    fail: watch::Sender<Option<Arc<Error>>>,
    pub(crate) failed: watch::Receiver<Option<Arc<Error>>>,
    pub(crate) stopper: Stopper,
}

impl Parts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (fail, failed) = watch::channel(None);
        let subscribers = Arc::new(Subscribers::default());
        let stopper =
            Stopper { duties: None, commit: None, flusher: None, pool: None, subscribers: Arc::clone(&subscribers) };
        Self {
            view: Arc::default(),
            subscribers,
            dirty: Arc::new(Dirty::new(settings.flush.bytes)),
            committer: Arc::default(),
            fail,
            failed,
            stopper,
        }
    }

    /// The state machine that fills the tables.
    pub(crate) fn machine<T>(&self, apply: Apply, tables: Arc<T>) -> Machine<T> {
        Machine {
            shard: apply.cluster().map_or(ShardId(0), |cluster| cluster.shard),
            apply,
            tables,
            effects: Effects::new(),
            positions: Vec::new(),
            view: Arc::clone(&self.view),
            subscribers: Arc::clone(&self.subscribers),
            dirty: Arc::clone(&self.dirty),
        }
    }

    /// Before the replay: a long one must not pile up in memory.
    pub(crate) fn start_flusher<T: Durable>(&mut self, tables: Arc<T>, settings: &Settings) -> Result<(), Error> {
        let committer = Arc::clone(&self.committer);
        let release = move |below| {
            if let Some(committer) = committer.get() {
                committer.release(below);
            }
        };
        let flusher = Flusher {
            tables,
            dirty: Arc::clone(&self.dirty),
            settings: settings.flush,
            step_bytes: settings.log.segment_bytes,
            cut: Position(0),
            release: Box::new(release),
        };
        let fail = self.fail.clone();
        let thread = spawn("flush", move || {
            if let Err(error) = flusher.run() {
                tracing::error!(%error, "tables cannot be flushed");
                fail.send_replace(Some(Arc::new(Error::Flush(error))));
            }
        })?;
        self.stopper.flusher = Some((Arc::clone(&self.dirty), thread));
        Ok(())
    }

    /// Starts the threads that read tables and files.
    pub(crate) fn start_pool(&mut self, settings: &Settings) -> Result<Arc<Pool>, Error> {
        let pool = Pool::start(settings.reads.threads, settings.reads.waiting)
            .map_err(|source| Error::Thread { name: "read", source })?;
        let pool = Arc::new(pool);
        self.stopper.pool = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// There is a committer: the log can be released, and stopping must stop it.
    pub(crate) fn committing(
        &mut self,
        committer: &Arc<dyn Committer<Outcome>>,
        stopper: causeway_replication::Stopper,
    ) {
        // Set here and nowhere else.
        let _ = self.committer.set(Arc::clone(committer));
        self.stopper.commit = Some(stopper);
    }

    /// Replay has no events: what it brought about is read once.
    pub(crate) fn replayed(&self, first: Position, first_of_files: Position) {
        self.view.set_first(first);
        if first_of_files < first {
            // Trimmed before the last stop, and still there.
            self.dirty.hurry();
        }
    }

    /// Starts the clockwork of the leader's duties.
    pub(crate) fn start_duties<T: Durable>(
        &mut self,
        duties: Arc<Mutex<Duties<T>>>,
        interval: Duration,
    ) -> Result<(), Error> {
        let bell = Arc::new(Bell::default());
        let heard = Arc::clone(&bell);
        let thread = spawn("duty", move || {
            while !heard.wait(interval) {
                if let Err(why) = duties.lock().tick() {
                    tracing::warn!(%why, "a duty was put off");
                }
            }
        })?;
        self.stopper.duties = Some((bell, thread));
        Ok(())
    }
}

/// Rings once: time to stop.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.ring.notify_all();
    }

    /// Waits at most so long; true once it has rung.
    fn wait(&self, at_most: Duration) -> bool {
        let mut rung = self.rung.lock();
        self.ring.wait_while_for(&mut rung, |rung| !*rung, at_most);
        *rung
    }
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Error> {
    thread::Builder::new().name(name.into()).spawn(body).map_err(|source| Error::Thread { name, source })
}

/// Stops a shard: duties first, then proposals, what was taken goes through, tables are flushed, readers see the end.
/// Dropping it does the same.
pub struct Stopper {
    duties: Option<(Arc<Bell>, thread::JoinHandle<()>)>,
    commit: Option<causeway_replication::Stopper>,
    flusher: Option<(Arc<Dirty>, thread::JoinHandle<()>)>,
    pool: Option<Arc<Pool>>,
    subscribers: Arc<Subscribers>,
}

impl Stopper {
    /// Returns once everything is written and no thread is left. Blocks.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        if let Some((bell, thread)) = self.duties.take() {
            bell.ring();
            join(thread);
        }
        drop(self.commit.take());
        if let Some((dirty, thread)) = self.flusher.take() {
            dirty.stop();
            join(thread);
        }
        self.subscribers.close();
        if let Some(pool) = self.pool.take() {
            pool.close();
        }
    }
}

fn join(thread: thread::JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the shard had panicked");
    }
}
