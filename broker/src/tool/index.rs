//! `index rebuild`: the newest good checkpoint, and the log after it.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use causeway_compute::port::Broker;
use causeway_model::{Position, ShardId};
use causeway_storage::{Disk, Found, Inspection, inspect};

use crate::open;
use crate::settings::Settings;

/// Replaces the tables of a stopped broker and brings them up to the log's end.
pub(crate) fn rebuild(settings: &Settings, out: &mut dyn Write) -> Result<()> {
    let log = settings.data.join("log");
    let log = inspect(Arc::new(Disk), &log).with_context(|| format!("no log in {}", log.display()))?;
    let first = log.segments().next().context("the log has no segment: nothing to rebuild from")?;
    {
        // Under the lock, so that what was checked is what is replayed.
        let _lock = open::lock(&Disk, &settings.data)?;
        check(&log)?;
        let directory = settings.data.join("index");
        let rebuilt =
            causeway_index::rebuild(&directory, &settings.index(), first, &mut |progress| open::report(&progress))?;
        match rebuilt.from {
            Some(from) => writeln!(out, "restored the checkpoint at {from}; applying the log after it")?,
            None => writeln!(out, "no checkpoint: applying the whole log from {first}")?,
        }
    }
    let open::Opened { started, lock: _lock } = open::open(settings, None)?;
    let applied = started.local.applied(ShardId(0));
    started.stopper.stop();
    writeln!(out, "done: the tables hold everything up to {applied}")?;
    Ok(())
}

/// Whether every batch that a replay may need can be read: asked before the tables that there are give way. The last
/// segment is left to recovery, which every open runs, and which cuts a torn end or refuses.
fn check(log: &Inspection) -> Result<()> {
    let firsts: Vec<Position> = log.segments().collect();
    for (segment, next) in firsts.iter().zip(firsts.iter().skip(1)) {
        for found in log.batches(*segment)? {
            let (at, what) = match found? {
                Found::Batch(_) => continue,
                Found::End(at) if at == *next => continue,
                Found::End(at) => (at, "batches are missing".to_owned()),
                Found::Damage(at, fault) => (at, fault.to_string()),
            };
            bail!("the log is damaged at {at} in the segment from {segment}: {what}; nothing was changed");
        }
    }
    Ok(())
}
