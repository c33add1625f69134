//! Checkpoints: whole databases made of hard links, which a rebuild starts from.
//!
//! **The log is cut only below the older of the two newest checkpoints**, so the newer one may turn out bad and the
//! older one still has all of the log that it needs. They share files with the database and with each other: they are
//! the answer to a database that was lost or torn, not to a disk that changes what was written; a replica is.

use std::sync::PoisonError;

use causeway_apply::{Family, TablesError};
use causeway_model::Position;
use rocksdb::checkpoint::Checkpoint;

use crate::directory::Name;
use crate::{Db, Error};

/// How many are kept.
const KEPT: usize = 2;

impl Db {
    /// See `Durable::checkpoint`.
    pub(crate) fn take_checkpoint(&self) -> Result<Position, TablesError> {
        let _alone = self.checkpointing.lock().unwrap_or_else(PoisonError::into_inner);
        // Named by a mark read before: RocksDB flushes as it makes one, so it holds at least this.
        let at = self.applied()?;
        let directory = &self.directory;
        let mut kept = directory.checkpoints().map_err(table_error)?;
        // Those of one mark hold the same rows: two of them are as good as any two, and a third adds nothing.
        let same = kept.iter().filter(|name| name.at == at).count();
        if same < KEPT {
            // What a failed attempt left is cleared by the next one.
            let attempt = || Checkpoint::new(&self.rocks).and_then(|new| new.create_checkpoint(directory.making()));
            let made = self.with_space("checkpoint", attempt);
            made.map_err(|source| self.failed("checkpoint", Family::Meta, source))?;
            let copy = kept.last().filter(|newest| newest.at == at).map_or(0, |newest| newest.copy.saturating_add(1));
            let name = Name { at, copy };
            directory.publish(name).map_err(table_error)?;
            self.covered(at);
            kept.push(name);
        }
        let surplus = kept.len().saturating_sub(KEPT);
        for old in kept.drain(..surplus) {
            directory.discard(old).map_err(table_error)?;
        }
        Ok(match kept.as_slice() {
            [older, _] => older.at,
            _ => Position(0),
        })
    }
}

fn table_error(source: Error) -> TablesError {
    TablesError { operation: "checkpoint", family: Family::Meta, source: source.into() }
}

#[cfg(test)]
mod tests {
    use causeway_apply::Durable;

    use super::*;
    use crate::Settings;
    use crate::testing::{files, kill, tiny, trace, traced};

    #[test]
    fn the_newest_two_are_kept_and_the_log_may_go_up_to_the_older() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &Settings::default()).unwrap();
        let kept = || db.directory.checkpoints().unwrap();
        for (batch, allowed) in [(10, 0), (20, 10), (30, 20), (40, 30)] {
            (batch - 9..=batch).for_each(|batch| trace(&db, batch));
            assert_eq!(db.checkpoint().unwrap(), Position(allowed));
            assert_eq!(db.flushed(), Position(batch));
            assert_eq!(kept().last(), Some(&Name { at: Position(batch), copy: 0 }));
        }
        assert_eq!(kept().iter().map(|name| name.at.0).collect::<Vec<_>>(), [30, 40]);
        for name in kept() {
            // A checkpoint is a database: opened in a place of its own it has the rows of its mark.
            let copy = tempfile::tempdir().unwrap();
            let place = crate::directory::Directory::open(copy.path()).unwrap();
            kill(&db, copy.path());
            place.restore(Some(name)).unwrap();
            assert_eq!(traced(&Db::open(copy.path(), &tiny()).unwrap()), name.at.0);
        }
    }

    #[test]
    fn a_pair_of_one_mark_lets_the_log_go_too_and_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &tiny()).unwrap();
        (1..=10).for_each(|batch| trace(&db, batch));
        let kept = || db.directory.checkpoints().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(db.checkpoint().unwrap(), Position(0));
        assert_eq!(db.checkpoint().unwrap(), Position(10));
        let pair = ["00000000000000000010-0", "00000000000000000010-1"];
        assert_eq!(kept(), pair);
        assert_eq!(db.checkpoint().unwrap(), Position(10));
        assert_eq!(kept(), pair);
        trace(&db, 11);
        assert_eq!(db.checkpoint().unwrap(), Position(10));
        assert_eq!(kept(), [pair[1], "00000000000000000011-0"]);
    }

    #[test]
    fn one_taken_while_others_write_is_one_state_at_or_after_its_name() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &tiny()).unwrap();
        trace(&db, 1);
        std::thread::scope(|threads| {
            let writer = threads.spawn(|| (2..=2000).for_each(|batch| trace(&db, batch)));
            while !writer.is_finished() {
                db.checkpoint().unwrap();
            }
        });
        for name in db.directory.checkpoints().unwrap() {
            let copy = tempfile::tempdir().unwrap();
            kill(&db, copy.path());
            let place = crate::directory::Directory::open(copy.path()).unwrap();
            place.restore(Some(name)).unwrap();
            assert!(traced(&Db::open(copy.path(), &tiny()).unwrap()) >= name.at.0);
        }
    }

    #[test]
    fn one_that_was_cut_off_is_cleared_away() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &tiny()).unwrap();
        (1..=10).for_each(|batch| trace(&db, batch));
        for name in ["making", "making.tmp"] {
            std::fs::create_dir_all(home.path().join("checkpoints").join(name)).unwrap();
        }
        drop(db);
        let db = Db::open(home.path(), &tiny()).unwrap();
        assert!(files(&home.path().join("checkpoints"), "").is_empty());
        assert_eq!(db.checkpoint().unwrap(), Position(0));
        assert_eq!(db.directory.checkpoints().unwrap(), [Name { at: Position(10), copy: 0 }]);
    }
}
