//! What is in the directory, where the log ends, and whether what lies beyond may be cut.
//!
//! A crash can leave the last sync group torn, and nothing else: a segment is durable before the next one gets its name,
//! and a batch is acknowledged only once it is synced. So at the first place of the last segment where no whole batch
//! continues the chain, index *i*, the rest is either a write that was never acknowledged, or damage to something that was.
//! **It is damage, and the log is refused**, when any of these says that batch *i* had been whole:
//!
//! - a later header in the file, valid by itself and of this lineage, that knew an index ≥ *i* as committed. The writer
//!   never writes a batch while one that its header calls committed is not durable in this directory, so such a header
//!   proves it;
//! - the tables' mark, at an index ≥ *i*;
//! - a later segment;
//! - the header of *i* itself, where it is whole and still wrong: no torn write looks like that.
//!
//! Otherwise the rest is cut: zeroed, synced, and reported. A tail of equal length from an earlier life cannot be adopted:
//! it does not chain.
//!
//! What is adopted may be in the page cache alone, and after a failed sync the kernel calls such pages clean although
//! they never reached the disk. So the batches that no later header knows as committed are **written again**, then synced.
//!
//! What cannot be known, unless the tables' mark covers it: damage to the last sync group, together with what lies before
//! it where the damage covers the group's first header as well, and a last segment that somebody removed. What is cut is
//! reported, so a person can tell.

mod rest;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_model::{Lineage, Position};

use self::rest::Rest;
use crate::batch::Batch;
use crate::error::{During, Error, Evidence, Fault, Operation, Result, Stranger};
use crate::format::{
    LOCK, Link, SEGMENT_FIELD_BYTES, SEGMENT_HEADER_BYTES, SPARE, SPARE_NEW, SegmentHeader, VOTE, VOTE_NEW,
    parse_segment_name, segment_name,
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
    /// Where it ends; 0 is "nothing".
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
    /// The highest index that a header in the cut names, if one can still be read.
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

/// A segment whose header was read.
#[derive(Debug)]
struct Listed {
    segment: Arc<Segment>,
    /// The end of the position space that its file has room for.
    limit: Position,
}

/// Reads the log back and cuts its torn end.
pub(crate) fn recover(fs: &dyn Fs, dir: &Path, mark: Mark) -> Result<Found> {
    let listed = open_all(fs, dir)?;
    let Some((newest, older)) = listed.split_last() else { return Err(Error::Missing { dir: dir.to_owned() }) };
    let oldest = older.first().unwrap_or(newest);
    let lineage = oldest.segment.header.lineage;
    let mut scan = Scan::new(mark, &oldest.segment)?;
    // What is before the mark was verified when it was applied, and is verified again whenever it is read.
    let from = listed.iter().rposition(|listed| listed.segment.first() < mark.position).unwrap_or(0);
    for (here, next) in listed.iter().zip(listed.iter().skip(1)).skip(from) {
        scan.whole(fs, here, &next.segment)?;
    }
    let path = &newest.segment.path;
    let file = fs.open(path, Mode::Write).during(Operation::Open, path)?;
    let (end, fault) = scan.walk(&file, &newest.segment, newest.limit)?;
    let recovered = scan.cut(&*file, newest, end, fault)?;
    for batch in &scan.pending {
        let at = newest.segment.offset(batch.header.position);
        file.write_at(&mut batch.slices(&batch.header.bytes()), at).during(Operation::Write, path)?;
    }
    file.sync_data().during(Operation::Sync, path)?;
    // A name may be in memory alone as well.
    fs.sync_dir(dir).during(Operation::SyncDir, dir)?;
    let tail = Tail { file, limit: newest.limit, last: scan.last, committed: scan.committed };
    let segments = listed.iter().map(|listed| listed.segment.clone()).collect();
    Ok(Found { segments, lineage, end, tail, recovered })
}

/// The segments in a directory, in order: first position and length of the file.
///
/// # Errors
/// `Foreign` for any file that is no part of a log.
pub(crate) fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<(Position, u64)>> {
    let mut segments = Vec::new();
    for entry in fs.list(dir).during(Operation::List, dir)? {
        match (parse_segment_name(&entry.name), entry.name.as_str()) {
            (Some(first), _) if !entry.dir => segments.push((first, entry.len)),
            (None, SPARE | SPARE_NEW | LOCK | VOTE | VOTE_NEW) if !entry.dir => {}
            // Made by the file system itself where the directory is the root of one.
            (None, "lost+found") if entry.dir => {}
            _ => return Err(Error::Foreign { file: dir.join(entry.name), stranger: Stranger::Name }),
        }
    }
    Ok(segments)
}

/// Reads every segment's header and checks that together they can be one log.
fn open_all(fs: &dyn Fs, dir: &Path) -> Result<Vec<Listed>> {
    let mut all: Vec<Listed> = Vec::new();
    for (first, len) in list(fs, dir)? {
        let here = open_one(fs, dir, first, len)?;
        if let Some(before) = all.last() {
            let (header, prev) = (&here.segment.header, &before.segment.header);
            let foreign = |stranger| Error::Foreign { file: here.segment.path.clone(), stranger };
            if header.lineage != prev.lineage {
                return Err(foreign(Stranger::Lineage { expected: prev.lineage, found: header.lineage }));
            }
            if header.first_index <= prev.first_index {
                return Err(foreign(Stranger::Overlap { before: prev.first }));
            }
            if first > before.limit {
                let evidence = Evidence::LaterSegment { first };
                return Err(corrupt(&before.segment, before.limit, Fault::Short, evidence));
            }
        }
        all.push(here);
    }
    Ok(all)
}

fn open_one(fs: &dyn Fs, dir: &Path, first: Position, len: u64) -> Result<Listed> {
    let path = dir.join(segment_name(first));
    let file = fs.open(&path, Mode::Read).during(Operation::Open, &path)?;
    let mut raw = [0; SEGMENT_FIELD_BYTES];
    let read = file.read_at(&mut raw, 0).during(Operation::Read, &path)?;
    let header = if read < raw.len() { Err(Fault::Short) } else { SegmentHeader::decode(&raw) };
    let damaged = |position, fault| Error::Corrupt { file: path.clone(), position, fault, evidence: Evidence::Sealed };
    let header = match header {
        Ok(header) => header,
        Err(Fault::Version(version)) => return Err(Error::Unsupported { file: path, version }),
        Err(fault) => return Err(damaged(first, fault)),
    };
    if header.first != first {
        return Err(Error::Foreign { file: path, stranger: Stranger::Renamed { first: header.first } });
    }
    let room = len.saturating_sub(SEGMENT_HEADER_BYTES);
    let limit = first.plus(room);
    if room < header.capacity {
        return Err(damaged(limit, Fault::Short));
    }
    Ok(Listed { segment: Arc::new(Segment::new(dir, header)), limit })
}

/// What was seen on the way to the log's end.
struct Scan {
    mark: Mark,
    last: Option<Link>,
    committed: u64,
    /// The batches of the last segment that no header knows as committed yet.
    pending: VecDeque<Batch>,
}

impl Scan {
    fn new(mark: Mark, oldest: &Segment) -> Result<Self> {
        let scan = Self { mark, last: None, committed: 0, pending: VecDeque::new() };
        // Everything that the tables have applied was trimmed, and nothing else.
        if let Some(prev) = oldest.header.prev
            && mark.position == oldest.first()
        {
            scan.agrees(prev.index, prev.term, mark.position)
                .map_err(|fault| corrupt(oldest, mark.position, fault, Evidence::Mark { index: mark.index }))?;
        }
        Ok(scan)
    }

    /// A segment before the last one has whole batches up to the start of the next one.
    fn whole(&mut self, fs: &dyn Fs, here: &Listed, next: &Segment) -> Result<()> {
        let path = &here.segment.path;
        let file = fs.open(path, Mode::Read).during(Operation::Open, path)?;
        let evidence = Evidence::LaterSegment { first: next.first() };
        match self.walk(&file, &here.segment, next.first())? {
            (at, Some(fault)) => Err(corrupt(&here.segment, at, fault, evidence)),
            (_, None) if next.header.prev != self.last => {
                Err(corrupt(next, next.first(), Fault::Chain, Evidence::Sealed))
            }
            (_, None) => Ok(()),
        }
    }

    /// Walks a segment from its start to `upto`, or to what is wrong before that.
    fn walk(
        &mut self,
        file: &Arc<dyn File>,
        segment: &Arc<Segment>,
        upto: Position,
    ) -> Result<(Position, Option<Fault>)> {
        self.last = segment.header.prev;
        self.pending.clear();
        let mut walk = Walk::new(file.clone(), segment, segment.first(), upto);
        loop {
            match walk.step()? {
                Step::End => return Ok((walk.at(), None)),
                Step::Bad(fault) => return Ok((walk.at(), Some(fault))),
                Step::Batch(batch) => self.meet(batch, segment)?,
            }
        }
    }

    fn meet(&mut self, batch: Batch, segment: &Segment) -> Result<()> {
        let header = &batch.header;
        if header.position < self.mark.position && self.mark.position <= header.end() {
            self.agrees(header.index, header.term, header.end())
                .map_err(|fault| corrupt(segment, header.position, fault, Evidence::Mark { index: self.mark.index }))?;
        }
        segment.note(header.index, header.position);
        self.committed = header.committed;
        self.last = Some(batch.link());
        while self.pending.pop_front_if(|pending| pending.header.index <= batch.header.committed).is_some() {}
        self.pending.push_back(batch);
        Ok(())
    }

    /// Whether the batch that ends where the mark says, or around it, is the one that the tables have applied.
    fn agrees(&self, index: u64, term: u64, end: Position) -> Result<(), Fault> {
        let mark = self.mark;
        if end != mark.position {
            Err(Fault::Position(end))
        } else if index != mark.index {
            Err(Fault::Index { expected: mark.index, found: index })
        } else if term != mark.term {
            Err(Fault::Term { expected: mark.term, found: term })
        } else {
            Ok(())
        }
    }

    /// Cuts what lies beyond `at`, unless something says that it had been whole.
    fn cut(&self, file: &dyn File, here: &Listed, at: Position, fault: Option<Fault>) -> Result<Recovered> {
        let path = &here.segment.path;
        let index = self.last.map_or(here.segment.header.first_index, |last| last.index.saturating_add(1));
        let refuse = |fault, evidence| Err(corrupt(&here.segment, at, fault, evidence));
        if self.mark.position > at {
            return refuse(fault.unwrap_or(Fault::Short), Evidence::Mark { index: self.mark.index });
        }
        let Some(fault) = fault else { return Ok(Recovered::default()) };
        if !may_be_torn(fault) {
            return refuse(fault, Evidence::Whole);
        }
        let rest = Rest::read(file, &here.segment, at, here.limit, index).during(Operation::Read, path)?;
        if let Some(committed) = rest.committed {
            return refuse(fault, Evidence::Committed { committed });
        }
        let Some(end) = rest.end else { return Ok(Recovered::default()) };
        let from = here.segment.offset(at);
        io::zero(file, from, end).during(Operation::Write, path)?;
        let (file, last_index, bytes) = (path.clone(), rest.last_index, end.saturating_sub(from));
        let cut = Cut { file, position: at, index, last_index, bytes, fault };
        tracing::warn!(
            file = %cut.file.display(), position = %at, first_index = index, ?last_index, bytes, %fault,
            "cut the torn end of the log: a write that a crash left half done, never acknowledged"
        );
        Ok(Recovered { cut: Some(cut) })
    }
}

/// Whether a write that a crash cut short can look like this. A header whose checksum holds was written whole, for this
/// place: what it says is then what somebody meant, unless it is of an older tail and does not chain.
fn may_be_torn(fault: Fault) -> bool {
    match fault {
        Fault::Zeros
        | Fault::Short
        | Fault::Magic
        | Fault::HeaderCrc
        | Fault::BodyCrc
        | Fault::Index { .. }
        | Fault::Term { .. }
        | Fault::Chain => true,
        Fault::Version(_)
        | Fault::Kind(_)
        | Fault::Lineage(_)
        | Fault::Position(_)
        | Fault::Length(_)
        | Fault::Frames
        | Fault::RecordLength(_)
        | Fault::RecordCrc => false,
    }
}

fn corrupt(segment: &Segment, position: Position, fault: Fault, evidence: Evidence) -> Error {
    Error::Corrupt { file: segment.path.clone(), position, fault, evidence }
}
