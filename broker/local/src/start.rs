//! Puts one shard together, in dependency order, and takes it apart in the opposite one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use causeway_apply::record::{ClusterInit, Gateway, GatewayEvent, SUPPORTED_LEVEL};
use causeway_apply::{Apply, Durable, Effects, Outcome, Record};
use causeway_model::{Clock, HashKey, Incarnation, Lineage, Position, ShardId};
use causeway_replication::{Committer, Priority, Progress, Single};
use causeway_storage::io::Fs;
use causeway_storage::{Mark, Opened};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::broker::{Local, cluster};
use crate::command::Rules;
use crate::duty::{Duties, group};
use crate::flush::{Dirty, Flusher};
use crate::machine::{Machine, View};
use crate::notify::Subscribers;
use crate::pool::Pool;
use crate::settings::Settings;
use crate::{Error, hosted};

/// What a shard is made of.
pub struct LocalOptions<T> {
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The shard's directory: the log is in `log` below it.
    pub dir: PathBuf,
    /// The tables, opened by the caller.
    pub tables: Arc<T>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// What an operator may set.
    pub settings: Settings,
    /// The gateway hosted in this process, which is announced in the log; none for a tool that only looks.
    pub incarnation: Option<Incarnation>,
    /// What a new log is named, should the directory be empty.
    pub birth: Birth,
}

/// What a new cluster is named: both drawn at random by the caller, and used only if there is no log yet.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The log's identity.
    pub lineage: Lineage,
    /// The key of queue ids: nobody who knows it can be kept from making names whose queues collide.
    pub key: HashKey,
}

/// A shard that runs.
pub struct Started<T> {
    /// The port.
    pub local: Arc<Local<T>>,
    /// Stops it.
    pub stopper: Stopper,
}

/// Opens or creates the shard, replays what the tables have not seen, and starts its threads. Blocks on the disk.
///
/// # Errors
/// See [`Error`]; nothing is left running then.
pub fn start<T: Durable>(
    options: LocalOptions<T>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Started<T>, Error> {
    let problems = options.settings.problems();
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    let LocalOptions { fs, dir, tables, clock, settings, incarnation, birth } = options;
    let log_dir = dir.join("log");
    let apply = Apply::open(&*tables)?;
    let opened = open_log(&fs, &log_dir, &apply, &settings, birth.lineage)?;
    let first = ClusterInit {
        lineage: opened.lineage,
        key: birth.key,
        level: SUPPORTED_LEVEL,
        shard: ShardId(0),
        shards: 1,
        limits: settings.limits,
    };
    let mut parts = Parts::new(&settings);
    parts.dirty.opened(apply.applied().position);
    parts.start_flusher(Arc::clone(&tables), &settings)?;

    let machine = parts.machine(apply, Arc::clone(&tables));
    let reader = opened.reader.clone();
    let first = group(&[Record::ClusterInit(first)]);
    let (committer, stopper) =
        Single::start(opened, machine, Some(first), Arc::clone(&clock), settings.commit, progress)?;
    let committer: Arc<dyn Committer<Outcome>> = committer;
    parts.committing(&committer, stopper);
    // Replay has no events: what it brought about is read once.
    parts.view.set_first(causeway_apply::read::first(&*tables)?);
    let (cluster, shard) = cluster(&*tables)?.ok_or_else(|| Error::NoCluster { dir: log_dir.clone() })?;
    if let Some(incarnation) = incarnation {
        announce(&*committer, &*fs, &dir, incarnation)?;
    }

    let duties = Duties {
        committer: Arc::clone(&committer),
        tables: Arc::clone(&tables),
        reader: reader.clone(),
        view: Arc::clone(&parts.view),
        clock,
        fs,
        dir: log_dir,
        retention: settings.retention,
        disk: settings.disk,
        settings: settings.duty,
        trim: Default::default(),
        sweep: Default::default(),
        check: Default::default(),
    };
    let duties = Arc::new(Mutex::new(duties));
    let pool = Pool::start(settings.reads.threads, settings.reads.waiting)
        .map_err(|source| Error::Thread { name: "read", source })?;
    let pool = Arc::new(pool);
    parts.stopper.pool = Some(Arc::clone(&pool));
    if incarnation.is_some()
        && let Some(interval) = settings.duty.interval
    {
        parts.start_duties(Arc::clone(&duties), interval)?;
    }
    let rules =
        Rules { message_bytes: settings.message_bytes, session_expiry: settings.retention.min_age };
    let Parts { view, subscribers, failed, stopper, .. } = parts;
    let local = Local {
        cluster,
        shard,
        committer,
        tables,
        reader,
        pool,
        view,
        subscribers,
        rules,
        reads: settings.reads,
        notify_frames: settings.notify_frames,
        duties,
        failed,
    };
    Ok(Started { local: Arc::new(local), stopper })
}

fn open_log(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    apply: &Apply,
    settings: &Settings,
    lineage: Lineage,
) -> Result<Opened, Error> {
    fs.create_dir(dir).map_err(|source| Error::Directory { dir: dir.to_owned(), source })?;
    let applied = apply.applied();
    let mark = Mark { index: applied.index, term: applied.term, position: applied.position };
    let opened = match causeway_storage::open(Arc::clone(fs), dir, settings.log.clone(), mark) {
        Err(causeway_storage::Error::Missing { .. }) if mark.position == Position(0) => {
            causeway_storage::create(Arc::clone(fs), dir, settings.log.clone(), lineage)
        }
        Err(causeway_storage::Error::Missing { .. }) => {
            return Err(Error::LogMissing { dir: dir.to_owned(), applied: mark.position });
        }
        opened => opened,
    };
    let opened = opened.map_err(|source| Error::Log { dir: dir.to_owned(), source })?;
    if let Some(cut) = &opened.recovered.cut {
        tracing::warn!(
            file = %cut.file.display(), position = %cut.position, bytes = cut.bytes, index = cut.index, fault = %cut.fault,
            "cut the log's torn tail; none of it had been acknowledged"
        );
    }
    Ok(opened)
}

/// Declares the gateway lost that was hosted here before, and announces the one that is now. In this order, with the
/// name written down in between: whenever the power goes, the next start knows whom to declare lost.
fn announce(
    committer: &dyn Committer<Outcome>,
    fs: &dyn Fs,
    dir: &Path,
    incarnation: Incarnation,
) -> Result<(), Error> {
    let term = committer.role().borrow().term;
    let log = |incarnation, event| {
        let record = Record::Gateway(Gateway { incarnation, event });
        let failed = |reason: String| Error::Announce { incarnation, reason };
        let pending = committer
            .propose(group(&[record]), Some(term), Priority::MakesRoom)
            .map_err(|refused| failed(refused.to_string()))?;
        let outcomes = pending.wait().map_err(|failure| failed(failure.to_string()))?;
        match outcomes.first().map(|applied| &applied.outcome) {
            Some(Outcome::Done) => Ok(()),
            other => Err(failed(format!("{other:?}"))),
        }
    };
    let previous = hosted::read(fs, dir)?.filter(|previous| *previous != incarnation);
    if let Some(previous) = previous {
        log(previous, GatewayEvent::Lost)?;
    }
    hosted::write(fs, dir, incarnation)?;
    log(incarnation, GatewayEvent::Joined)
}

/// What the threads share, and the threads that run so far.
struct Parts {
    view: Arc<View>,
    subscribers: Arc<Subscribers>,
    dirty: Arc<Dirty>,
    /// Set once there is a committer to release the log to.
    committer: Arc<OnceLock<Arc<dyn Committer<Outcome>>>>,
    fail: watch::Sender<Option<Arc<Error>>>,
    failed: watch::Receiver<Option<Arc<Error>>>,
    stopper: Stopper,
}

impl Parts {
    fn new(settings: &Settings) -> Self {
        let (fail, failed) = watch::channel(None);
        let subscribers = Arc::new(Subscribers::default());
        let stopper = Stopper {
            duties: None,
            commit: None,
            flusher: None,
            pool: None,
            subscribers: Arc::clone(&subscribers),
        };
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

    fn machine<T>(&self, apply: Apply, tables: Arc<T>) -> Machine<T> {
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
    fn start_flusher<T: Durable>(&mut self, tables: Arc<T>, settings: &Settings) -> Result<(), Error> {
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

    fn committing(&mut self, committer: &Arc<dyn Committer<Outcome>>, stopper: causeway_replication::Stopper) {
        // Set here and nowhere else.
        let _ = self.committer.set(Arc::clone(committer));
        self.stopper.commit = Some(stopper);
    }

    fn start_duties<T: Durable>(&mut self, duties: Arc<Mutex<Duties<T>>>, interval: Duration) -> Result<(), Error> {
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
