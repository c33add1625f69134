//! Tables that lose power with the disk: from then on nothing is flushed.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use causeway_apply::{Durable, Family, Mutations, Tables, TablesError, Twin, Visit};
use causeway_model::Position;
use parking_lot::RwLock;

#[derive(Default)]
pub(crate) struct Fragile {
    pub(crate) twin: Twin,
    pub(crate) dead: AtomicBool,
    /// Scans wait while a test holds it.
    pub(crate) scans: RwLock<()>,
}

impl Fragile {
    /// What is left after the power was gone.
    pub(crate) fn crash(&self) {
        self.twin.crash();
        self.dead.store(false, Ordering::SeqCst);
    }
}

impl Tables for Fragile {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.twin.get(family, key)
    }

    fn scan(&self, family: Family, from: &[u8], upto: &[u8], visit: Visit<'_>) -> Result<(), TablesError> {
        let _held = self.scans.read();
        self.twin.scan(family, from, upto, visit)
    }

    fn write(&self, mutations: &Mutations) -> Result<(), TablesError> {
        self.twin.write(mutations)
    }
}

impl Durable for Fragile {
    fn flush(&self) -> Result<(), TablesError> {
        if self.dead.load(Ordering::SeqCst) {
            let source = "the power is gone".into();
            return Err(TablesError { operation: "flush", family: Family::Meta, source });
        }
        self.twin.flush()
    }

    fn set_floor(&self, flushed_first: Position) {
        self.twin.set_floor(flushed_first);
    }

    fn checkpoint(&self) -> Result<Position, TablesError> {
        self.twin.checkpoint()
    }
}
