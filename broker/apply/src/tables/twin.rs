//! Tables in memory: the same contract as RocksDB's, for tests and for the in-memory broker.
//!
//! It knows what a crash would leave: the rows as they were at the last flush. It keeps checkpoints too, so that a
//! test can lose the tables and rebuild them from one.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use causeway_model::Position;

use crate::{Durable, Family, Mutations, Tables, TablesError, Visit, row};

type Rows = BTreeMap<(Family, Bytes), Bytes>;

/// Rows in a `BTreeMap`; see the module.
#[derive(Debug, Default)]
pub struct Twin(RwLock<State>);

#[derive(Clone, Debug, Default)]
struct State {
    rows: Rows,
    flushed: Rows,
    checkpoints: Vec<Rows>,
    floor: Position,
}

impl Twin {
    /// Empty tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a crash leaves: back to the last flush.
    pub fn crash(&self) {
        self.change(|state| state.rows = state.flushed.clone());
    }

    /// Loses everything but the newest checkpoint, as a rebuild does. Empty where none was taken.
    pub fn restore(&self) {
        self.change(|state| {
            state.rows = state.checkpoints.last().cloned().unwrap_or_default();
            state.flushed = state.rows.clone();
        });
    }

    /// All rows of all families, for comparisons.
    pub fn dump(&self) -> Vec<(Family, Bytes, Bytes)> {
        self.look(|state| state.rows.iter().map(|((f, k), v)| (*f, k.clone(), v.clone())).collect())
    }

    /// The last floor that was set.
    pub fn floor(&self) -> Position {
        self.look(|state| state.floor)
    }

    fn look<R>(&self, with: impl FnOnce(&State) -> R) -> R {
        with(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<R>(&self, with: impl FnOnce(&mut State) -> R) -> R {
        with(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tables for Twin {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        let key = (family, Bytes::copy_from_slice(key));
        Ok(self.look(|state| state.rows.get(&key).cloned()))
    }

    fn scan(&self, family: Family, from: &[u8], upto: &[u8], visit: Visit<'_>) -> Result<(), TablesError> {
        if from >= upto {
            return Ok(());
        }
        let range = (
            Bound::Included((family, Bytes::copy_from_slice(from))),
            Bound::Excluded((family, Bytes::copy_from_slice(upto))),
        );
        self.look(|state| {
            for ((_, key), value) in state.rows.range(range) {
                if visit(key, value).is_break() {
                    break;
                }
            }
        });
        Ok(())
    }

    fn write(&self, mutations: &Mutations) -> Result<(), TablesError> {
        self.change(|state| {
            for mutation in mutations {
                let key = (mutation.family, Bytes::copy_from_slice(mutation.key));
                match mutation.value {
                    Some(value) => state.rows.insert(key, Bytes::copy_from_slice(value)),
                    None => state.rows.remove(&key),
                };
            }
        });
        Ok(())
    }
}

impl Durable for Twin {
    fn flush(&self) -> Result<(), TablesError> {
        self.change(|state| state.flushed = state.rows.clone());
        Ok(())
    }

    fn set_floor(&self, flushed_first: Position) {
        // Drops at once what a compaction filter drops some day: whoever reads such rows finds out in tests.
        self.change(|state| {
            state.floor = state.floor.max(flushed_first);
            let floor = state.floor;
            let keep = |(family, key): &(Family, Bytes), value: &Bytes| match row::body_position(*family, key, value) {
                Some(position) => position >= floor,
                None => true,
            };
            state.rows.retain(|key, value| keep(key, value));
            state.flushed.retain(|key, value| keep(key, value));
        });
    }

    fn checkpoint(&self) -> Result<Position, TablesError> {
        self.change(|state| {
            state.checkpoints.push(state.flushed.clone());
            if state.checkpoints.len() > 2 {
                state.checkpoints.remove(0);
            }
            let [older, _] = state.checkpoints.as_slice() else { return Ok(Position(0)) };
            Ok(row::applied_position(older.get(&(Family::Meta, Bytes::from_static(&crate::key::APPLIED)))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(twin: &Twin, key: &[u8], value: Option<&[u8]>) {
        let mut mutations = Mutations::new();
        match value {
            Some(value) => mutations.put(Family::Session, key, value),
            None => mutations.delete(Family::Session, key),
        }
        twin.write(&mutations).unwrap();
    }

    fn keys(twin: &Twin, from: &[u8], upto: &[u8]) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        twin.scan(Family::Session, from, upto, &mut |key, _| {
            keys.push(key.to_vec());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        keys
    }

    #[test]
    fn a_crash_takes_back_what_no_flush_covered() {
        let twin = Twin::new();
        write(&twin, b"a", Some(b"1"));
        twin.flush().unwrap();
        write(&twin, b"a", None);
        write(&twin, b"b", Some(b"2"));
        twin.crash();
        assert_eq!(twin.get(Family::Session, b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(twin.get(Family::Session, b"b").unwrap(), None);
    }

    #[test]
    fn a_scan_has_its_lower_bound_and_not_its_upper_one() {
        let twin = Twin::new();
        for key in [b"a", b"b", b"c"] {
            write(&twin, key, Some(b""));
        }
        assert_eq!(keys(&twin, b"a", b"c"), [b"a", b"b"]);
        assert!(keys(&twin, b"c", b"a").is_empty() && keys(&twin, b"b", b"b").is_empty());
    }

    #[test]
    fn the_log_may_go_below_the_older_of_two_checkpoints() {
        let mut shard = crate::sample::Shard::new();
        let mut ends = Vec::new();
        for _ in 0..3 {
            shard.publish("t");
            shard.tables.flush().unwrap();
            ends.push(shard.apply.applied().position);
        }
        // All three states are flushed one after another; a checkpoint is of the latest.
        assert_eq!(shard.tables.checkpoint().unwrap(), Position(0), "one is not enough");
        shard.publish("t");
        shard.tables.flush().unwrap();
        assert_eq!(shard.tables.checkpoint().unwrap(), ends[2]);
        shard.publish("t");
        shard.tables.restore();
        shard.reopen();
        assert!(shard.apply.applied().position > ends[2], "back to the newest checkpoint");
    }
}
