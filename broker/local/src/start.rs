//! Puts one shard together, in dependency order, and takes it apart in the opposite one.

mod hosted;
mod parts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_apply::record::{ClusterInit, Gateway, GatewayEvent, SUPPORTED_LEVEL};
use causeway_apply::{Apply, Durable, Outcome, Record, read};
use causeway_model::{Clock, HashKey, Incarnation, Lineage, Position, ShardId};
use causeway_replication::{Committer, Priority, Progress, Single};
use causeway_storage::io::Fs;
use causeway_storage::{Group, Mark, Opened};
use parking_lot::Mutex;

use self::parts::Parts;
pub use self::parts::Stopper;
use crate::Error;
use crate::broker::{Local, cluster};
use crate::command::Rules;
use crate::duty::{Duties, Progressed, group};
use crate::settings::Settings;

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
pub fn start<T: Durable>(options: LocalOptions<T>, progress: &mut dyn FnMut(Progress)) -> Result<Started<T>, Error> {
    let problems = options.settings.problems();
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    let LocalOptions { fs, dir, tables, clock, settings, incarnation, birth } = options;
    let log_dir = dir.join("log");
    let apply = Apply::open(&*tables)?;
    let opened = open_log(&fs, &log_dir, &apply, &settings, birth.lineage)?;
    let reader = opened.reader.clone();
    let first = first_record(opened.lineage, birth.key, &settings);

    let mut parts = Parts::new(&settings);
    parts.dirty.opened(apply.applied().position);
    parts.start_flusher(Arc::clone(&tables), &settings)?;
    let machine = parts.machine(apply, Arc::clone(&tables));
    let (committer, stopper) =
        Single::start(opened, machine, Some(first), Arc::clone(&clock), settings.commit, progress)?;
    let committer: Arc<dyn Committer<Outcome>> = committer;
    parts.committing(&committer, stopper);
    parts.replayed(read::first(&*tables)?, reader.first());
    let (cluster, shard) = cluster(&*tables)?.ok_or_else(|| Error::NoCluster { dir: log_dir.clone() })?;
    if let Some(incarnation) = incarnation {
        announce(&*committer, &*fs, &dir, incarnation)?;
    }
    let duties = Arc::new(Mutex::new(Duties {
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
        progress: Progressed::default(),
    }));
    let pool = parts.start_pool(&settings)?;
    if let (Some(_), Some(interval)) = (incarnation, settings.duty.interval) {
        parts.start_duties(Arc::clone(&duties), interval)?;
    }
    let rules = Rules { message_bytes: settings.message_bytes, session_expiry: settings.retention.min_age };
    let Parts { view, subscribers, dirty, failed, stopper, .. } = parts;
    let (reads, notify) = (settings.reads, (settings.notify_frames, settings.notify_bytes));
    let local = Local {
        cluster,
        shard,
        committer,
        tables,
        reader,
        pool,
        view,
        subscribers,
        dirty,
        rules,
        reads,
        notify,
        duties,
        failed,
    };
    Ok(Started { local: Arc::new(local), stopper })
}

/// What an empty log begins with.
fn first_record(lineage: Lineage, key: HashKey, settings: &Settings) -> Group {
    let (level, shard, limits) = (SUPPORTED_LEVEL, ShardId(0), settings.limits);
    group(&[Record::ClusterInit(ClusterInit { lineage, key, level, shard, shards: 1, limits })])
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
