//! Opens a data directory: its lock, its tables, its log, and the replay that makes the two agree.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use causeway_index::{Db, Progress as Rebuilding};
use causeway_local::{Birth, LocalOptions, Started};
use causeway_model::{HashKey, Incarnation, Lineage, Position, SystemClock};
use causeway_storage::io::{Fs, Guard, Lock};
use causeway_storage::{Disk, inspect};

use crate::settings::Settings;

/// An open data directory.
pub(crate) struct Opened {
    /// The shard.
    pub(crate) started: Started<Db>,
    /// Keeps other processes out; last, so that it goes last.
    pub(crate) lock: Box<dyn Guard>,
}

/// Opens, and on first use creates, what is in `settings.data`. With an incarnation, the gateway of this process is
/// announced in the log; without one, this is a tool that looks. Blocks on the disk.
pub(crate) fn open(settings: &Settings, incarnation: Option<Incarnation>) -> Result<Opened> {
    let data = &settings.data;
    let fs: Arc<dyn Fs> = Arc::new(Disk);
    fs.create_dir(data).with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let lock = lock(&*fs, data)?;
    let tables = Arc::new(tables(&fs, settings)?);
    let options = LocalOptions {
        fs,
        dir: data.clone(),
        tables,
        clock: Arc::new(SystemClock),
        settings: settings.local(),
        incarnation,
        birth: Birth { lineage: Lineage(rand::random()), key: HashKey(rand::random()) },
    };
    let mut shown = Shown::default();
    let started = causeway_local::start(options, &mut |progress| {
        shown.step(progress.from, progress.at, progress.to);
    })?;
    Ok(Opened { started, lock })
}

/// Takes the directory's lock, or says who has it.
pub(crate) fn lock(fs: &dyn Fs, data: &Path) -> Result<Box<dyn Guard>> {
    let path = data.join("lock");
    match fs.lock(&path).with_context(|| format!("cannot lock {}", path.display()))? {
        Lock::Ours(guard) => Ok(guard),
        Lock::Held(Some(pid)) => {
            bail!("{} is in use by process {pid}: stop it, or give this one another --data", data.display())
        }
        Lock::Held(None) => bail!("{} is in use by another process", data.display()),
    }
}

fn tables(fs: &Arc<dyn Fs>, settings: &Settings) -> Result<Db> {
    let log = settings.data.join("log");
    // A new directory has no log to ask; then the tables are new too. Any other failure must not look like that: where
    // the log begins decides whether tables may start empty.
    let first = if log.try_exists().with_context(|| format!("cannot look for {}", log.display()))? {
        inspect(Arc::clone(fs), &log)?.segments().next().unwrap_or_default()
    } else {
        Position::default()
    };
    let directory = settings.data.join("index");
    let (db, rebuilt) = Db::open_or_rebuild(&directory, &settings.index(), first, &mut |progress| report(&progress))?;
    if let Some(rebuilt) = rebuilt {
        tracing::warn!(reason = rebuilt.reason, from = ?rebuilt.from, "the index was replaced; the log after it is applied now");
    }
    Ok(db)
}

/// Says what a rebuild does.
pub(crate) fn report(progress: &Rebuilding<'_>) {
    match progress {
        Rebuilding::Begun { reason } => tracing::warn!(reason, "rebuilding the index"),
        Rebuilding::Checking { checkpoint, rows } => tracing::info!(%checkpoint, rows, "checking a checkpoint"),
        Rebuilding::Rejected { checkpoint, reason } => tracing::warn!(%checkpoint, reason, "a checkpoint is no good"),
        Rebuilding::Restored { from: Some(from) } => tracing::info!(%from, "restored a checkpoint"),
        Rebuilding::Restored { from: None } => tracing::info!("no checkpoint: starting from empty tables"),
    }
}

/// Replay progress: a line a tenth, and none for a short replay.
#[derive(Default)]
struct Shown {
    tenths: u64,
}

/// A replay shorter than this is over before anybody could read about it.
const SHORT_BYTES: u64 = 64 << 20;

impl Shown {
    fn step(&mut self, from: Position, at: Position, to: Position) {
        let all = to.0.saturating_sub(from.0);
        if all < SHORT_BYTES {
            return;
        }
        let tenths = at.0.saturating_sub(from.0).saturating_mul(10) / all;
        if tenths > self.tenths {
            self.tenths = tenths;
            tracing::info!(%at, %to, "replaying the log: {}0 %", tenths);
        }
    }
}
