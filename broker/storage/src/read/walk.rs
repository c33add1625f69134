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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Draft;
    use crate::format::{BatchKind, SegmentHeader};
    use crate::io::{Fs, Mode, Sim};
    use causeway_model::Millis;
    use std::io::IoSlice;

    const LINEAGE: Lineage = Lineage(9);
    const PREV: Link = Link { term: 4, index: 6, header_crc: 77 };

    /// What a walk sees at the start of a segment after `PREV` that has this batch there.
    fn step(term: u64, index: u64, lineage: Lineage, position: u64, prev: Link) -> Step {
        let header =
            SegmentHeader { lineage: LINEAGE, first: Position(1000), first_index: 7, capacity: 4096, prev: Some(PREV) };
        let segment = Arc::new(Segment::new(Path::new("/"), header));
        let draft = Draft { kind: BatchKind::Blank, term, index, committed: 0, time: Millis(0), groups: Vec::new() };
        let batch = Batch::seal(draft, lineage, Position(position), Some(prev)).unwrap();
        let file = Sim::new(0).open(Path::new("/f"), Mode::Create).unwrap();
        file.write_at(&mut [IoSlice::new(&batch.header.bytes())], 4096).unwrap();
        Walk::new(file, &segment, Position(1000), Position(5096)).step().unwrap()
    }

    #[test]
    fn a_batch_is_taken_only_if_every_field_says_that_it_belongs_there() {
        assert!(matches!(step(4, 7, LINEAGE, 1000, PREV), Step::Batch(_)));
        assert!(matches!(step(5, 7, LINEAGE, 1000, PREV), Step::Batch(_)));
        let other = Link { header_crc: 78, ..PREV };
        for (found, fault) in [
            (step(4, 7, Lineage(8), 1000, PREV), Fault::Lineage(Lineage(8))),
            (step(4, 7, LINEAGE, 1001, PREV), Fault::Position(Position(1001))),
            (step(4, 8, LINEAGE, 1000, PREV), Fault::Index { expected: 7, found: 8 }),
            (step(4, 6, LINEAGE, 1000, PREV), Fault::Index { expected: 7, found: 6 }),
            (step(3, 7, LINEAGE, 1000, PREV), Fault::Term { expected: 4, found: 3 }),
            (step(4, 7, LINEAGE, 1000, other), Fault::Chain),
        ] {
            assert!(matches!(found, Step::Bad(found) if found == fault), "{found:?} where {fault:?} should be");
        }
    }
}
