//! Replacing a database that is damaged, lost or too old.
//!
//! ```text
//! newest checkpoint ─ every block read and verified ─ good ──► linked into the database's place ──► replay after its mark
//!        └ bad: the one before ─ … ─ none: empty tables, if the log has everything
//! ```
//!
//! Nothing is deleted before something good was found to put in its place.

use std::path::Path;

use causeway_apply::{FAMILIES, Family, key, row};
use causeway_model::Position;
use rocksdb::{DB, IteratorMode, ReadOptions};

use crate::directory::Directory;
use crate::options::{self, Memory};
use crate::reclaim::Floor;
use crate::{Error, Settings};

/// Rows between two reports.
const REPORT_ROWS: u64 = 200_000;
const READAHEAD_BYTES: usize = 2 << 20;

/// What a rebuild is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It begins, and why.
    Begun {
        /// What is wrong with the database.
        reason: &'a str,
    },
    /// Rows of a checkpoint were read and verified.
    Checking {
        /// Which one, by its applied position.
        checkpoint: Position,
        /// How many so far.
        rows: u64,
    },
    /// A checkpoint is no good.
    Rejected {
        /// Which one.
        checkpoint: Position,
        /// Why.
        reason: &'a str,
    },
    /// The database's place is taken by this checkpoint, or by empty tables. What follows is the caller's replay.
    Restored {
        /// The checkpoint.
        from: Option<Position>,
    },
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Why it was needed.
    pub reason: String,
    /// The checkpoint that is now the database; none: it is empty.
    pub from: Option<Position>,
    /// Checkpoints that were found bad, and are gone.
    pub rejected: Vec<Position>,
}

/// Puts the newest good checkpoint in the database's place, or empty tables if there is none and the log begins at
/// zero. The database must not be open. The caller opens it and replays the log after its mark.
///
/// `log_first` is the first position that the log still has; zero where that is not known, which never refuses.
///
/// # Errors
/// [`Error::Unrecoverable`] where nothing reaches up to `log_first`; nothing was changed then.
pub fn rebuild(
    directory: &Path,
    settings: &Settings,
    log_first: Position,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Rebuilt, Error> {
    replace(directory, settings, log_first, "asked for".into(), progress)
}

pub(crate) fn replace(
    directory: &Path,
    settings: &Settings,
    log_first: Position,
    reason: String,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Rebuilt, Error> {
    progress(Progress::Begun { reason: &reason });
    let directory = Directory::open(directory)?;
    let mut rejected = Vec::new();
    let mut from = None;
    for name in directory.checkpoints()?.into_iter().rev().filter(|name| name.at >= log_first) {
        match check(&directory.checkpoint(name), name.at, settings, progress) {
            Ok(()) => {
                from = Some(name);
                break;
            }
            Err(reason) => {
                progress(Progress::Rejected { checkpoint: name.at, reason: &reason });
                rejected.push(name);
            }
        }
    }
    if from.is_none() && log_first > Position(0) {
        return Err(Error::Unrecoverable { path: directory.root().to_owned(), reason, log_first });
    }
    for name in &rejected {
        directory.discard(*name)?;
    }
    directory.restore(from)?;
    let from = from.map(|name| name.at);
    progress(Progress::Restored { from });
    Ok(Rebuilt { reason, from, rejected: rejected.iter().map(|name| name.at).collect() })
}

/// Reads every row of every family, so that every block's checksum is verified.
fn check(path: &Path, at: Position, settings: &Settings, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), String> {
    let memory = Memory::new(&Settings { memory_bytes: 0, ..settings.clone() });
    let database = options::database(settings, &memory, false);
    let families = options::families(settings, &memory, &Floor::default());
    let rocks =
        DB::open_cf_descriptors_read_only(&database, path, families, false).map_err(rocksdb::Error::into_string)?;
    let mut rows = 0;
    progress(Progress::Checking { checkpoint: at, rows });
    for family in FAMILIES {
        let handle = rocks.cf_handle(family.name()).ok_or_else(|| format!("it has no family {family}"))?;
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        options.set_readahead_size(READAHEAD_BYTES);
        for row in rocks.iterator_cf_opt(handle, options, IteratorMode::Start) {
            row.map_err(|e| format!("{family}: {e}"))?;
            rows += 1;
            if rows % REPORT_ROWS == 0 {
                progress(Progress::Checking { checkpoint: at, rows });
            }
        }
    }
    progress(Progress::Checking { checkpoint: at, rows });
    let meta = rocks.cf_handle(Family::Meta.name()).ok_or("it has no family meta")?;
    let mark = rocks.get_cf(meta, key::APPLIED).map_err(rocksdb::Error::into_string)?;
    let applied = row::applied_position(mark.map(Into::into).as_ref());
    if applied < at {
        return Err(format!("its mark is {applied}, below its name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
