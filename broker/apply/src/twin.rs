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
