//! What makes tables survive a crash: the waited flush of all families at once.
//!
//! RocksDB flushes by itself whenever memtables are full, also atomically, so replay after a crash is bounded without
//! anybody calling this. It is called where something is about to depend on it: before log segments go, before a
//! checkpoint, at shutdown.

use std::sync::atomic::Ordering;

use causeway_apply::{Family, Tables, TablesError, key, row};
use causeway_model::Position;
use rocksdb::FlushOptions;

use crate::Db;

impl Db {
    /// The end of the last batch that was applied, from the row that every batch writes; zero in an empty database.
    pub fn applied(&self) -> Result<Position, TablesError> {
        let mark = self.get(Family::Meta, &key::APPLIED)?;
        Ok(row::applied_position(mark.as_ref()))
    }

    /// An applied position that a waited flush, a checkpoint or the open has covered. RocksDB's own flushes may have
    /// gone further.
    pub fn flushed(&self) -> Position {
        Position(self.flushed.load(Ordering::Acquire))
    }

    pub(crate) fn covered(&self, upto: Position) {
        self.flushed.fetch_max(upto.0, Ordering::AcqRel);
    }

    pub(crate) fn flush_all(&self) -> Result<(), TablesError> {
        // Read before: what is written while the flush runs may or may not be in it.
        let covered = self.applied()?;
        let families = self.families("flush")?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let flushed = self.with_space("flush", || self.rocks.flush_cfs_opt(&families, &options));
        flushed.map_err(|source| self.failed("flush", Family::Meta, source))?;
        self.covered(covered);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use causeway_apply::Durable;

    use super::*;
    use crate::testing::{kill, tiny, trace, traced};

    #[test]
    fn a_kill_at_any_moment_leaves_all_families_at_one_mark() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &tiny()).unwrap();
        let mut left = BTreeSet::new();
        for batch in 1..=3000 {
            trace(&db, batch);
            if batch == 1500 {
                db.flush().unwrap();
            }
            // Memtables of a few hundred rows: RocksDB flushes and compacts beside this all the time.
            if batch % 97 == 0 {
                let copy = tempfile::tempdir().unwrap();
                kill(&db, copy.path());
                let last = traced(&Db::open(copy.path(), &tiny()).unwrap());
                assert!(last <= batch && (batch < 1500 || last >= 1500), "{last} of {batch}");
                left.insert(last);
            }
        }
        assert!(left.len() > 5, "the kills met only these states: {left:?}");
    }

    #[test]
    fn a_waited_flush_is_what_a_kill_keeps_and_what_is_said_to_be_flushed() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &crate::Settings::default()).unwrap();
        (1..=10).for_each(|batch| trace(&db, batch));
        assert_eq!((db.applied().unwrap(), db.flushed()), (Position(10), Position(0)));
        db.flush().unwrap();
        assert_eq!(db.flushed(), Position(10));
        (11..=20).for_each(|batch| trace(&db, batch));
        assert_eq!((db.applied().unwrap(), db.flushed()), (Position(20), Position(10)));
        let copy = tempfile::tempdir().unwrap();
        kill(&db, copy.path());
        let killed = Db::open(copy.path(), &tiny()).unwrap();
        assert_eq!((traced(&killed), killed.flushed()), (10, Position(10)));
        drop(db);
        assert_eq!(traced(&Db::open(home.path(), &tiny()).unwrap()), 20, "an orderly close flushes");
    }
}
