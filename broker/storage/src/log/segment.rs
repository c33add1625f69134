//! The segments of a log, in order, and a bounded set of open files to read them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_model::Position;
use parking_lot::{Mutex, RwLock};

use crate::error::{During, Operation, Result};
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use crate::io::{File, Fs, Mode};

/// How many segments' files are kept open for reading. An old log has thousands, a process a limit on open files.
const OPEN_FILES: usize = 64;
/// The sparse map of a segment has an entry every so many bytes: a look-up by index walks at most this far.
const SPARSE_BYTES: u64 = 256 << 10;

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    /// Index and position of a batch every [`SPARSE_BYTES`], as far as this process has written or verified it.
    sparse: Mutex<Vec<(u64, Position)>>,
}

impl Segment {
    pub(crate) fn new(dir: &Path, header: SegmentHeader) -> Self {
        Self { path: dir.join(segment_name(header.first)), header, sparse: Mutex::default() }
    }

    pub(crate) fn first(&self) -> Position {
        self.header.first
    }

    /// Where a position of this segment is in its file.
    pub(crate) fn offset(&self, at: Position) -> u64 {
        at.0.saturating_sub(self.header.first.0).saturating_add(SEGMENT_HEADER_BYTES)
    }

    /// Notes where a batch is. Called in the order of the log.
    pub(crate) fn note(&self, index: u64, at: Position) {
        let mut sparse = self.sparse.lock();
        let from = sparse.last().map_or(self.header.first, |&(_, last)| last);
        if at.0.saturating_sub(from.0) >= SPARSE_BYTES {
            sparse.push((index, at));
        }
    }

    /// Forgets the batches from `end` on.
    pub(crate) fn forget(&self, end: Position) {
        let mut sparse = self.sparse.lock();
        let kept = sparse.partition_point(|&(_, at)| at < end);
        sparse.truncate(kept);
    }

    /// The start of a batch at or before this position, near it.
    pub(crate) fn near(&self, at: Position) -> Position {
        let sparse = self.sparse.lock();
        let after = sparse.partition_point(|&(_, start)| start <= at);
        after.checked_sub(1).and_then(|i| sparse.get(i)).map_or(self.header.first, |&(_, start)| start)
    }

    /// The start of a batch at or before this index, near it.
    pub(crate) fn near_index(&self, index: u64) -> Position {
        let sparse = self.sparse.lock();
        let after = sparse.partition_point(|&(start, _)| start <= index);
        after.checked_sub(1).and_then(|i| sparse.get(i)).map_or(self.header.first, |&(_, start)| start)
    }
}

/// The log's segments, oldest first; there is always one. Each ends where the next one starts.
#[derive(Debug)]
pub(crate) struct Segments {
    list: RwLock<VecDeque<Arc<Segment>>>,
    open: Mutex<VecDeque<(Position, Arc<dyn File>)>>,
}

/// A segment, and where the next one starts; `None` for the last.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) segment: Arc<Segment>,
    pub(crate) next: Option<Position>,
}

impl Segments {
    pub(crate) fn new(list: Vec<Arc<Segment>>) -> Self {
        Self { list: RwLock::new(list.into()), open: Mutex::default() }
    }

    /// The segment with this position (or the last one, for a position beyond it).
    pub(crate) fn at(&self, position: Position) -> Option<Place> {
        self.find(|segment| segment.header.first <= position)
    }

    /// The segment with the batch of this index (or the last one, for an index beyond it).
    pub(crate) fn at_index(&self, index: u64) -> Option<Place> {
        self.find(|segment| segment.header.first_index <= index)
    }

    fn find(&self, is_before: impl FnMut(&Arc<Segment>) -> bool) -> Option<Place> {
        let mut is_before = is_before;
        let list = self.list.read();
        let after = list.partition_point(&mut is_before);
        let segment = list.get(after.checked_sub(1)?)?.clone();
        Some(Place { segment, next: list.get(after).map(|next| next.first()) })
    }

    pub(crate) fn oldest(&self) -> Option<Place> {
        let list = self.list.read();
        Some(Place { segment: list.front()?.clone(), next: list.get(1).map(|next| next.first()) })
    }

    pub(crate) fn newest(&self) -> Option<Arc<Segment>> {
        self.list.read().back().cloned()
    }

    pub(crate) fn push(&self, segment: Arc<Segment>) {
        self.list.write().push_back(segment);
    }

    pub(crate) fn pop_oldest(&self) {
        let gone = self.list.write().pop_front();
        self.close(gone.as_deref());
    }

    pub(crate) fn pop_newest(&self) {
        let gone = self.list.write().pop_back();
        self.close(gone.as_deref());
    }

    fn close(&self, gone: Option<&Segment>) {
        if let Some(gone) = gone {
            self.open.lock().retain(|(first, _)| *first != gone.first());
        }
    }

    /// The segment's file, to read: open already, or opened now, in place of the one that was not used for longest.
    pub(crate) fn file(&self, fs: &dyn Fs, segment: &Segment) -> Result<Arc<dyn File>> {
        let mut open = self.open.lock();
        if let Some(i) = open.iter().position(|(first, _)| *first == segment.first())
            && let Some(found) = open.remove(i)
        {
            let file = found.1.clone();
            open.push_back(found);
            return Ok(file);
        }
        let file = fs.open(&segment.path, Mode::Read).during(Operation::Open, &segment.path)?;
        if open.len() >= OPEN_FILES {
            open.pop_front();
        }
        open.push_back((segment.first(), file.clone()));
        Ok(file)
    }
}
