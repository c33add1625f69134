//! Reads: one record from memory, many from disk, whole batches in order, and a look at files without the lock.

mod cursor;
pub(crate) mod inspect;
pub(crate) mod walk;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use causeway_model::{Lineage, Position};

pub use self::cursor::Cursor;
use self::walk::{Step, Walk};
use crate::error::{During, Error, Evidence, Fault, Operation, Result};
use crate::format::FRAME_BYTES;
use crate::frame;
use crate::io::File;
use crate::log::Shared;
use crate::log::segment::Segment;

/// Reads the log. Cheap to clone, used from many threads at once. Everything but [`Reader::cached`], [`Reader::first`],
/// [`Reader::durable`] and [`Reader::end`] waits for the disk: not on a thread that must not wait.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// What a read of one record fetches first. Most records end within it, and the records of one page share a read.
const PAGE_BYTES: usize = 16 << 10;

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The log's first position.
    pub fn first(&self) -> Position {
        self.shared.floor.get()
    }

    /// Below it everything is durable.
    pub fn durable(&self) -> Position {
        self.shared.durable.get()
    }

    /// Below it everything is written.
    pub fn end(&self) -> Position {
        self.shared.end.get()
    }

    /// What the log is called.
    pub fn lineage(&self) -> Lineage {
        self.shared.lineage
    }

    /// Why writes have stopped, if they have.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.shared.poison.cause()
    }

    /// The payload of the record at this position, if it is in memory. Never waits for the disk, copies nothing.
    ///
    /// The position must be one that the log gave for a record. It is not verified against the record's crc: these bytes
    /// have not left memory since it was made. Synced or not, what was appended is here.
    pub fn cached(&self, at: Position) -> Option<Bytes> {
        self.shared.ring.record(at)
    }

    /// The payloads of the records at these positions, in the order asked for; from memory where they are there, else
    /// from disk, in the order of the log and verified.
    ///
    /// # Errors
    /// Each record has its own: `Trimmed`, `Beyond`, `Corrupt` or `Io`.
    pub fn read(&self, at: &[Position]) -> Vec<Result<Bytes>> {
        let mut order: Vec<usize> = (0..at.len()).collect();
        order.sort_by_key(|&i| at.get(i));
        let mut results: Vec<Option<Result<Bytes>>> = Vec::new();
        results.resize_with(at.len(), || None);
        let mut page = Page::default();
        for i in order {
            if let (Some(&position), Some(result)) = (at.get(i), results.get_mut(i)) {
                *result = Some(self.record(position, &mut page));
            }
        }
        results.into_iter().flatten().collect()
    }

    /// Whole batches from the one that contains this position, or starts at it, up to the durable end.
    pub fn batches(&self, from: Position) -> Cursor {
        Cursor::new(self.shared.clone(), from)
    }

    /// Where the batch of this index starts; `None` beyond the durable end.
    ///
    /// # Errors
    /// `Trimmed` when its segment is gone, `Corrupt` or `Io` when it cannot be read.
    pub fn locate(&self, index: u64) -> Result<Option<Position>> {
        let trimmed = || Error::Trimmed { position: Position(0), first: self.shared.floor.get() };
        let place = self.shared.segments.at_index(index).ok_or_else(trimmed)?;
        let durable = self.shared.durable.get();
        let upto = place.next.unwrap_or(durable).min(durable);
        let near = place.segment.near_index(index);
        let mut walk = Walk::new(self.shared.open(&place.segment, near)?, &place.segment, near, upto);
        loop {
            match walk.step()? {
                Step::Batch(batch) if batch.header.index == index => return Ok(Some(batch.header.position)),
                Step::Batch(_) => {}
                Step::End => return Ok(None),
                Step::Bad(fault) => {
                    let (file, position) = (walk.path().to_owned(), walk.at());
                    return Err(Error::Corrupt { file, position, fault, evidence: Evidence::Durable });
                }
            }
        }
    }

    fn record(&self, at: Position, page: &mut Page) -> Result<Bytes> {
        let (first, end) = (self.first(), self.durable());
        if at < first {
            return Err(Error::Trimmed { position: at, first });
        }
        if let Some(payload) = self.cached(at) {
            return Ok(payload);
        }
        if at >= end {
            return Err(Error::Beyond { position: at, end });
        }
        let trimmed = || Error::Trimmed { position: at, first: self.first() };
        let place = self.shared.segments.at(at).ok_or_else(trimmed)?;
        let upto = place.next.unwrap_or(end).min(end);
        let file = self.shared.open(&place.segment, at)?;
        let reading = page.record(&file, &place.segment, at, upto).during(Operation::Read, &place.segment.path)?;
        let file = || place.segment.path.clone();
        reading.map_err(|fault| Error::Corrupt { file: file(), position: at, fault, evidence: Evidence::Durable })
    }
}

impl Shared {
    /// The segment's file, to read. One that was reclaimed in the meantime is `Trimmed`.
    fn open(&self, segment: &Segment, at: Position) -> Result<Arc<dyn File>> {
        self.segments.file(&*self.fs, segment).map_err(|error| {
            let first = self.floor.get();
            if at < first { Error::Trimmed { position: at, first } } else { error }
        })
    }
}

/// The bytes that the last read fetched, which the next record may be in.
#[derive(Debug, Default)]
struct Page {
    at: Position,
    bytes: Vec<u8>,
}

impl Page {
    fn record(
        &mut self,
        file: &Arc<dyn File>,
        segment: &Segment,
        at: Position,
        upto: Position,
    ) -> std::io::Result<Result<Bytes, Fault>> {
        let left = usize::try_from(upto.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
        if self.frame(at).is_none() {
            self.fetch(file, segment, at, PAGE_BYTES.min(left))?;
        }
        let Some((length, crc, have)) = self.frame(at) else { return Ok(Err(Fault::Short)) };
        let payload = match usize::try_from(length) {
            Ok(bytes) if bytes > 0 && bytes <= left.saturating_sub(FRAME_BYTES) => bytes,
            _ => return Ok(Err(Fault::RecordLength(length))),
        };
        let payload = if let Some(whole) = have.get(..payload) {
            // Copied out: a slice would keep the page for the sake of a small record.
            Bytes::copy_from_slice(whole)
        } else {
            let mut whole = BytesMut::zeroed(payload);
            let (known, missing) = whole.split_at_mut(have.len().min(payload));
            known.copy_from_slice(have);
            let from = segment.offset(at) + (FRAME_BYTES + have.len()) as u64;
            if file.read_at(missing, from)? != missing.len() {
                return Ok(Err(Fault::Short));
            }
            whole.freeze()
        };
        Ok(if crc32c::crc32c(&payload) == crc { Ok(payload) } else { Err(Fault::RecordCrc) })
    }

    /// After an error the page is empty, so that the next record cannot be looked for in what was not read.
    fn fetch(&mut self, file: &Arc<dyn File>, segment: &Segment, at: Position, bytes: usize) -> std::io::Result<()> {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.resize(bytes, 0);
        let read = file.read_at(&mut buffer, segment.offset(at))?;
        buffer.truncate(read);
        (self.at, self.bytes) = (at, buffer);
        Ok(())
    }

    /// The frame at this position, if it starts in the page: length, crc, and what the page has of the payload.
    fn frame(&self, at: Position) -> Option<(u32, u32, &[u8])> {
        let skip = usize::try_from(at.0.checked_sub(self.at.0)?).ok()?;
        frame::head(self.bytes.get(skip..)?)
    }
}
