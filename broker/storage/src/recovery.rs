//! What is in the directory, where the log ends, and whether what lies beyond may be cut.
//!
//! A crash can leave the last sync group torn, and nothing else: a segment is durable before the next one gets its name,
//! and a batch is acknowledged only once it is synced. So at the first place of the last segment where no whole batch
//! continues the chain, index *i*, the rest is either a write that was never acknowledged, or damage to something that was.
//! **It is damage, and the log is refused**, when any of these says that batch *i* had been whole:
//!
//! - a later header in the file that is valid by itself, of this lineage, and knew an index ≥ *i* as committed;
//! - the tables' mark, at an index ≥ *i*;
//! - a later segment.
//!
//! Otherwise the rest is cut: zeroed, synced, and reported. A tail of equal length from an earlier life cannot be adopted:
//! it does not chain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_model::{Lineage, Position};

use crate::error::{During, Error, Evidence, Fault, Operation, Result, Stranger};
use crate::format::{
    BATCH_MAGIC, HEADER_BYTES, Header, LOCK, Link, SEGMENT_FIELD_BYTES, SEGMENT_HEADER_BYTES, SPARE, SPARE_NEW,
    SegmentHeader, VOTE, VOTE_NEW, parse_segment_name,
};
use crate::io::{self, File, Fs, Mode};
use crate::log::segment::Segment;
use crate::log::writer::Tail;
use crate::read::walk::{Step, Walk};

/// How far the tables have applied the log: a batch, and where it ends. The default is "nothing".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The batch's index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Where it ends.
    pub position: Position,
}

/// What opening a log found at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What was cut, if a crash had left a write half done.
    pub cut: Option<Cut>,
}

/// The torn end of a log. None of it had been acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends now.
    pub position: Position,
    /// The index of the first batch that is gone.
    pub index: u64,
    /// The highest index that a header in the cut named, if one could still be read.
    pub last_index: Option<u64>,
    /// How many bytes were zeroed.
    pub bytes: u64,
    /// What was wrong with the first batch.
    pub fault: Fault,
}

/// A log that was read back.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) lineage: Lineage,
    pub(crate) end: Position,
    pub(crate) tail: Tail,
    pub(crate) recovered: Recovered,
}

/// A segment's file as it was listed and read.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn File>,
    /// Bytes of position space that the file has room for.
    pub(crate) room: u64,
}

/// The segments' names in a directory, in order.
///
/// # Errors
/// `Foreign` for any file that is no part of a log.
pub(crate) fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<(Position, u64)>> {
    let mut segments = Vec::new();
    for entry in fs.list(dir).during(Operation::List, dir)? {
        match (parse_segment_name(&entry.name), entry.name.as_str()) {
            (Some(first), _) if !entry.dir => segments.push((first, entry.len)),
            (None, SPARE | SPARE_NEW | LOCK | VOTE | VOTE_NEW) if !entry.dir => {}
            // A file system of its own has this directory.
            (None, "lost+found") if entry.dir => {}
            _ => return Err(Error::Foreign { file: dir.join(entry.name), stranger: Stranger::Name }),
        }
    }
    Ok(segments)
}

/// Reads the log back and cuts its torn end.
pub(crate) fn recover(fs: &dyn Fs, dir: &Path, mark: Mark) -> Result<Found> {
    let listed = open_all(fs, dir)?;
    let (Some(oldest), Some(newest)) = (listed.first(), listed.last()) else {
        return Err(Error::Missing { dir: dir.to_owned() });
    };
    let lineage = oldest.segment.header.lineage;
    // Everything before the tables' mark was verified when it was applied, and is verified again when it is read.
    let from = listed.iter().rposition(|listed| listed.segment.first() < mark.position).unwrap_or(0);
    let mut scan = Scan { mark, committed: 0, last: None };
    for (i, here) in listed.iter().enumerate().skip(from) {
        scan.last = here.segment.header.prev;
        let next = listed.get(i + 1).map(|next| &next.segment);
        let upto = here.segment.first().plus(here.room);
        let mut walk =
            Walk::new(here.file.clone(), &here.segment, here.segment.first(), next.map_or(upto, |next| next.first()));
        let fault = scan.walk(&mut walk, &here.segment)?;
        match (next, fault) {
            (Some(next), Some(fault)) => {
                let evidence = Evidence::LaterSegment { first: next.first() };
                return Err(corrupt(&here.segment, walk.at(), fault, evidence));
            }
            (Some(next), None) if next.header.prev != scan.last => {
                let evidence = Evidence::LaterSegment { first: next.first() };
                return Err(corrupt(next, next.first(), Fault::Chain, evidence));
            }
            (Some(_), None) => {}
            (None, fault) => {
                let recovered = scan.cut(here, walk.at(), upto, fault)?;
                // What was adopted may only be in the page cache, and a name only in memory.
                here.file.sync_data().during(Operation::Sync, &here.segment.path)?;
                fs.sync_dir(dir).during(Operation::SyncDir, dir)?;
                let tail = Tail { file: here.file.clone(), limit: upto, last: scan.last, committed: scan.committed };
                let segments = listed.iter().map(|listed| listed.segment.clone()).collect();
                return Ok(Found { segments, lineage, end: walk.at(), tail, recovered });
            }
        }
    }
    Err(Error::Missing { dir: newest.segment.path.clone() })
}

/// Opens every segment and checks that together they can be one log.
pub(crate) fn open_all(fs: &dyn Fs, dir: &Path) -> Result<Vec<Listed>> {
    let mut all: Vec<Listed> = Vec::new();
    for (first, len) in list(fs, dir)? {
        let here = open_one(fs, dir, first, len)?;
        if let Some(before) = all.last() {
            let (header, prev) = (&here.segment.header, &before.segment.header);
            if header.lineage != prev.lineage {
                let stranger = Stranger::Lineage { expected: prev.lineage, found: header.lineage };
                return Err(Error::Foreign { file: here.segment.path.clone(), stranger });
            }
            if header.first_index <= prev.first_index {
                let stranger = Stranger::Overlap { before: prev.first };
                return Err(Error::Foreign { file: here.segment.path.clone(), stranger });
            }
            let evidence = Evidence::LaterSegment { first };
            let room = prev.first.plus(before.room);
            if first > room {
                return Err(corrupt(&before.segment, room, Fault::Short, evidence));
            }
        }
        all.push(here);
    }
    Ok(all)
}

fn open_one(fs: &dyn Fs, dir: &Path, first: Position, len: u64) -> Result<Listed> {
    let path = dir.join(crate::format::segment_name(first));
    let file = fs.open(&path, Mode::Write).during(Operation::Open, &path)?;
    let mut raw = [0; SEGMENT_FIELD_BYTES];
    let read = file.read_at(&mut raw, 0).during(Operation::Read, &path)?;
    let damaged = |position, fault| Error::Corrupt { file: path.clone(), position, fault, evidence: Evidence::Sealed };
    if read < raw.len() {
        return Err(damaged(first, Fault::Short));
    }
    let header = match SegmentHeader::decode(&raw) {
        Ok(header) => header,
        Err(Fault::Version(version)) => return Err(Error::Unsupported { file: path, version }),
        Err(fault) => return Err(damaged(first, fault)),
    };
    if header.first != first {
        return Err(Error::Foreign { file: path, stranger: Stranger::Renamed { first: header.first } });
    }
    let room = len.saturating_sub(SEGMENT_HEADER_BYTES);
    if room < header.capacity {
        return Err(damaged(first.plus(room), Fault::Short));
    }
    Ok(Listed { segment: Arc::new(Segment::new(dir, header)), file, room })
}

/// What was seen on the way to the log's end.
struct Scan {
    mark: Mark,
    committed: u64,
    last: Option<Link>,
}

impl Scan {
    /// Walks to the end of the segment, or to what is wrong there.
    fn walk(&mut self, walk: &mut Walk, segment: &Segment) -> Result<Option<Fault>> {
        loop {
            match walk.step()? {
                Step::End => return Ok(None),
                Step::Bad(fault) => return Ok(Some(fault)),
                Step::Batch(batch) => {
                    let header = &batch.header;
                    if let Some(fault) = self.contradicts(header) {
                        let evidence = Evidence::Mark { index: self.mark.index };
                        return Err(corrupt(segment, header.position, fault, evidence));
                    }
                    segment.note(header.index, header.position);
                    self.committed = header.committed;
                    self.last = Some(batch.link());
                }
            }
        }
    }

    /// Whether the batch is another one than the tables have applied.
    fn contradicts(&self, header: &Header) -> Option<Fault> {
        let mark = self.mark;
        if mark.position == Position(0) || header.index != mark.index {
            None
        } else if header.term != mark.term {
            Some(Fault::Term { expected: mark.term, found: header.term })
        } else if header.end() != mark.position {
            Some(Fault::Position(header.end()))
        } else {
            None
        }
    }

    /// Cuts what lies beyond `at`, unless something says that it had been whole.
    fn cut(&self, here: &Listed, at: Position, upto: Position, fault: Option<Fault>) -> Result<Recovered> {
        let path = &here.segment.path;
        let index = self.last.map_or(here.segment.header.first_index, |last| last.index.saturating_add(1));
        let refuse = |evidence| Err(corrupt(&here.segment, at, fault.unwrap_or(Fault::Short), evidence));
        if self.mark.position > Position(0) && self.mark.index >= index {
            return refuse(Evidence::Mark { index: self.mark.index });
        }
        let Some(fault) = fault else { return Ok(Recovered::default()) };
        let rest = Rest::read(here, at, upto, index).during(Operation::Read, path)?;
        if let Some(committed) = rest.committed {
            return refuse(Evidence::Committed { committed });
        }
        let Some(end) = rest.end else { return Ok(Recovered::default()) };
        io::zero(&*here.file, here.segment.offset(at), end).during(Operation::Write, path)?;
        let bytes = end.saturating_sub(here.segment.offset(at));
        let cut = Cut { file: path.clone(), position: at, index, last_index: rest.last_index, bytes, fault };
        tracing::warn!(
            file = %cut.file.display(), position = %at, first_index = index, last_index = ?cut.last_index, bytes, %fault,
            "cut the torn end of the log: a write that a crash left half done, never acknowledged"
        );
        Ok(Recovered { cut: Some(cut) })
    }
}

/// What lies beyond the log's end.
#[derive(Debug, Default)]
struct Rest {
    /// The end of the last byte that is not zero, in the file.
    end: Option<u64>,
    /// What a header knew as committed that proves the batch at the end to have been whole.
    committed: Option<u64>,
    /// The highest index that a header names.
    last_index: Option<u64>,
}

impl Rest {
    const CHUNK: usize = 1 << 20;

    /// Scans the file from position `at` on, at every byte, for headers after index `index`.
    fn read(here: &Listed, at: Position, upto: Position, index: u64) -> std::io::Result<Self> {
        let mut rest = Self::default();
        let (mut from, end) = (here.segment.offset(at), here.segment.offset(upto));
        // Each chunk begins with the bytes of the one before it that a header could have started in.
        let mut chunk = vec![0; Self::CHUNK + HEADER_BYTES];
        while from < end {
            let wanted = usize::try_from(end - from).unwrap_or(usize::MAX).min(chunk.len());
            let buf = chunk.get_mut(..wanted).unwrap_or_default();
            let read = here.file.read_at(buf, from)?;
            let bytes = buf.get(..read).unwrap_or_default();
            rest.scan(bytes, from, index, here.segment.header.lineage);
            if read < chunk.len() {
                break;
            }
            from += Self::CHUNK as u64;
        }
        Ok(rest)
    }

    fn scan(&mut self, bytes: &[u8], from: u64, index: u64, lineage: Lineage) {
        let Some(last) = bytes.iter().rposition(|&byte| byte != 0) else { return };
        self.end = Some(from + last as u64 + 1);
        for at in memchr(BATCH_MAGIC, bytes) {
            let header = bytes.get(at..).and_then(|rest| rest.first_chunk()).map(Header::decode);
            let Some(Ok(header)) = header else { continue };
            if header.lineage != lineage || header.index < index {
                continue;
            }
            self.last_index = self.last_index.max(Some(header.index));
            if header.index > index && header.committed >= index {
                self.committed = self.committed.max(Some(header.committed));
            }
        }
    }
}

/// Where these four bytes are.
fn memchr(needle: [u8; 4], bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    bytes.windows(4).enumerate().filter(move |(_, window)| *window == needle).map(|(at, _)| at)
}

fn corrupt(segment: &Segment, position: Position, fault: Fault, evidence: Evidence) -> Error {
    Error::Corrupt { file: segment.path.clone(), position, fault, evidence }
}
