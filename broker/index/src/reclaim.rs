//! Dropping rows whose body is gone: a compaction filter over `entry` and `key`.
//!
//! **It drops a row if and only if the row's body lies below the floor, and the floor is a first position that a
//! waited flush has covered.** A crash goes back to that flush at most, so nothing that can come back needs the row.
//! Compactions run when they like and differ between replicas, which is why apply never reads these two families.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_apply::{Family, row};
use causeway_model::Position;
use rocksdb::CompactionDecision as Decision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

/// The flushed first position of the log; only rises. Zero until it is first set, and nothing lies below zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Floor(Arc<AtomicU64>);

impl Floor {
    pub(crate) fn raise(&self, to: Position) {
        self.0.fetch_max(to.0, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Position {
        Position(self.0.load(Ordering::Acquire))
    }
}

/// Makes the filter of each compaction.
pub(crate) struct Reclaim {
    family: Family,
    floor: Floor,
}

impl Reclaim {
    pub(crate) fn new(family: Family, floor: &Floor) -> Self {
        Self { family, floor: floor.clone() }
    }
}

impl CompactionFilterFactory for Reclaim {
    type Filter = Below;

    fn create(&mut self, _context: CompactionFilterContext) -> Below {
        Below { family: self.family, floor: self.floor.get() }
    }

    fn name(&self) -> &CStr {
        c"causeway.reclaim"
    }
}

/// The filter of one compaction.
pub(crate) struct Below {
    family: Family,
    floor: Position,
}

impl CompactionFilter for Below {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> Decision {
        match row::body_position(self.family, key, value) {
            Some(body) if body < self.floor => Decision::Remove,
            // What cannot be read is kept: whoever scans it reports it.
            _ => Decision::Keep,
        }
    }

    fn name(&self) -> &CStr {
        c"causeway.reclaim"
    }
}

#[cfg(test)]
mod tests {
    use causeway_apply::{Durable, FAMILIES, Mutations, Tables};

    use super::*;
    use crate::testing::{Row, entry_value, put_mark, rows};
    use crate::{Db, Settings};

    /// In every family: a row whose key ends in each position, one that refers to half of it, and some that are no
    /// rows of that family.
    fn fill(db: &Db, upto: u64) {
        for position in (1..=upto).step_by(10) {
            let mut mutations = Mutations::new();
            for family in FAMILIES {
                let key = |queue: u8| [&[queue; 16][..], &position.to_be_bytes()].concat();
                mutations.put(family, &key(1), &entry_value(None));
                mutations.put(family, &key(2), &entry_value(Some(position / 2)));
                mutations.put(family, b"odd", b"");
            }
            put_mark(&mut mutations, position);
            db.write(&mutations).unwrap();
        }
    }

    /// What may go when the log begins at `floor`, said once more in other words.
    fn is_dead((family, key, value): &Row, floor: u64) -> bool {
        let Some((_, position)) = key.split_last_chunk::<8>().filter(|(queue, _)| queue.len() == 16) else {
            return false;
        };
        let position = u64::from_be_bytes(*position);
        let body = if *family == Family::Entry && value.len() > 9 { position / 2 } else { position };
        [Family::Entry, Family::Key].contains(family) && body < floor
    }

    #[test]
    fn only_entries_and_keys_below_the_flushed_floor_go_and_not_before_it_is_set() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &Settings::default()).unwrap();
        fill(&db, 1000);
        let all = rows(&db).unwrap();
        db.flush().unwrap();
        db.compact().unwrap();
        assert_eq!(rows(&db).unwrap(), all, "no floor, nothing goes");
        let mut kept = all;
        for floor in [1, 11, 500, 511, 200, 900] {
            db.set_floor(Position(floor));
            assert_eq!(rows(&db).unwrap(), kept, "a floor alone hides nothing");
            db.compact().unwrap();
            let before = kept.len();
            kept.retain(|row| !is_dead(row, floor));
            assert_eq!(rows(&db).unwrap(), kept, "floor {floor}");
            // A floor does not sink: 200 comes after 511.
            assert_eq!(kept.len() < before, floor != 200, "floor {floor}");
        }
    }

    #[test]
    fn a_reopened_database_drops_nothing_until_it_is_told_the_floor_again() {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &Settings::default()).unwrap();
        fill(&db, 100);
        db.set_floor(Position(1000));
        let all = rows(&db).unwrap();
        drop(db);
        let db = Db::open(home.path(), &Settings::default()).unwrap();
        db.compact().unwrap();
        assert_eq!(rows(&db).unwrap(), all);
    }
}
