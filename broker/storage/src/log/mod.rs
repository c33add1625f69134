//! The log as its one writer and its many readers share it, and what only the writer does.

pub(crate) mod poison;
pub(crate) mod reclaim;
pub(crate) mod ring;
pub(crate) mod segment;
pub(crate) mod spare;
pub(crate) mod truncate;
pub(crate) mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_model::{Lineage, Position};

use self::poison::Poison;
use self::ring::Ring;
use self::segment::Segments;
use crate::io::Fs;

/// What writer and readers share. The writer alone changes it; each part has its own lock, held for a look-up only.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) lineage: Lineage,
    pub(crate) segments: Segments,
    pub(crate) ring: Ring,
    pub(crate) poison: Poison,
    /// Below it nothing can be read. It rises before a segment's file goes.
    pub(crate) floor: Watermark,
    /// Below it everything is durable.
    pub(crate) durable: Watermark,
    /// Below it everything is written.
    pub(crate) end: Watermark,
}

/// A position that one thread moves and many read.
#[derive(Debug)]
pub(crate) struct Watermark(AtomicU64);

impl Watermark {
    pub(crate) fn new(at: Position) -> Self {
        Self(AtomicU64::new(at.0))
    }

    pub(crate) fn get(&self) -> Position {
        Position(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn set(&self, at: Position) {
        self.0.store(at.0, Ordering::Release);
    }
}
