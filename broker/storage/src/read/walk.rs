//! Walks the batches of one segment in order and verifies each: its header, its place, its chain, its body.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use causeway_model::{Lineage, Position};

use crate::batch::Batch;
use crate::error::{During, Fault, Operation, Result};
use crate::format::{HEADER_BYTES, Header, Link};
use crate::io::File;
use crate::log::segment::Segment;

/// Small batches are read many at a time.
const READ_AHEAD: u64 = 256 << 10;

/// A walk over a segment.
#[derive(Debug)]
pub(crate) struct Walk {
    file: Arc<dyn File>,
    segment: Arc<Segment>,
    lineage: Lineage,
    at: Position,
    upto: Position,
    /// What the batch at `at` must chain to; not known when the walk starts in the middle of a segment.
    prev: Prev,
    chunk: Bytes,
    chunk_at: Position,
}

#[derive(Clone, Copy, Debug)]
enum Prev {
    Unknown,
    Known(Option<Link>),
}

/// What is at a place.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole batch that belongs there; the walk is now at its end.
    Batch(Batch),
    /// The place where the walk was to end.
    End,
    /// No batch that belongs there; the walk stays.
    Bad(Fault),
}

impl Walk {
    /// A walk from `at`, the start of a batch, to `upto`.
    pub(crate) fn new(file: Arc<dyn File>, segment: &Arc<Segment>, at: Position, upto: Position) -> Self {
        let prev = if at == segment.first() { Prev::Known(segment.header.prev) } else { Prev::Unknown };
        let (segment, lineage) = (segment.clone(), segment.header.lineage);
        Self { file, segment, lineage, at, upto, prev, chunk: Bytes::new(), chunk_at: at }
    }

    /// Where the walk is.
    pub(crate) fn at(&self) -> Position {
        self.at
    }

    /// The file it walks over.
    pub(crate) fn path(&self) -> &Path {
        &self.segment.path
    }

    /// The next batch.
    ///
    /// # Errors
    /// Only what the file system says; damage is a [`Step`].
    pub(crate) fn step(&mut self) -> Result<Step> {
        if self.at >= self.upto {
            return Ok(Step::End);
        }
        match self.look()? {
            Ok(batch) => {
                self.at = batch.end();
                self.prev = Prev::Known(Some(batch.link()));
                Ok(Step::Batch(batch))
            }
            Err(fault) => Ok(Step::Bad(fault)),
        }
    }

    fn look(&mut self) -> Result<Result<Batch, Fault>> {
        let header = match self.read(HEADER_BYTES as u64)?.first_chunk().map(Header::decode) {
            Some(Ok(header)) => header,
            Some(Err(fault)) => return Ok(Err(fault)),
            None => return Ok(Err(Fault::Short)),
        };
        if let Err(fault) = self.belongs(&header) {
            return Ok(Err(fault));
        }
        let bytes = header.end().0.saturating_sub(self.at.0);
        let body = self.read(bytes)?;
        if body.len() as u64 != bytes {
            return Ok(Err(Fault::Length(header.length)));
        }
        Ok(Batch::verify(header, body.slice(HEADER_BYTES..)))
    }

    /// Whether the header is the one that comes next.
    fn belongs(&self, header: &Header) -> Result<(), Fault> {
        if header.lineage != self.lineage {
            return Err(Fault::Lineage(header.lineage));
        }
        if header.position != self.at {
            return Err(Fault::Position(header.position));
        }
        let Prev::Known(prev) = self.prev else { return Ok(()) };
        let expected = prev.map_or(0, |prev| prev.index.saturating_add(1));
        if header.index != expected {
            return Err(Fault::Index { expected, found: header.index });
        }
        let term = prev.map_or(0, |prev| prev.term);
        if header.term < term {
            return Err(Fault::Term { expected: term, found: header.term });
        }
        if header.prev_header_crc != prev.map_or(0, |prev| prev.header_crc) {
            return Err(Fault::Chain);
        }
        Ok(())
    }

    /// The next `bytes`, or fewer where the walk's end or the file's comes first.
    fn read(&mut self, bytes: u64) -> Result<Bytes> {
        let left = self.upto.0.saturating_sub(self.at.0);
        let bytes = bytes.min(left);
        let have = |walk: &Self| {
            let skip = usize::try_from(walk.at.0.checked_sub(walk.chunk_at.0)?).ok()?;
            let end = skip.checked_add(usize::try_from(bytes).ok()?)?;
            (end <= walk.chunk.len()).then(|| walk.chunk.slice(skip..end))
        };
        if let Some(found) = have(self) {
            return Ok(found);
        }
        let wanted = bytes.max(READ_AHEAD).min(left);
        let mut chunk = vec![0; usize::try_from(wanted).unwrap_or(0)];
        let read = self.file.read_at(&mut chunk, self.segment.offset(self.at));
        let read = read.during(Operation::Read, &self.segment.path)?;
        chunk.truncate(read);
        self.chunk = chunk.into();
        self.chunk_at = self.at;
        let end = usize::try_from(bytes).unwrap_or(0).min(read);
        Ok(self.chunk.slice(..end))
    }
}
