//! A look at a log's files without its lock, for a person.
//!
//! Nothing is repaired, nothing is refused that can be shown: damage is a line like any other. A writer may be at work, so
//! the end of the last segment is a moment's view.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_model::Position;

use super::walk::{Step, Walk};
use crate::batch::Batch;
use crate::error::{During, Error, Fault, Operation, Result, Stranger};
use crate::format::{SEGMENT_FIELD_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, parse_segment_name, segment_name};
use crate::io::{Entry, Fs, Mode};
use crate::log::segment::Segment;

/// What is in a log's directory.
#[derive(Debug)]
pub struct Inspection {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// Every file, in the order of names: segments, spare, lock, vote, and strangers.
    pub files: Vec<Entry>,
}

/// One segment's file.
#[derive(Clone, Debug)]
pub struct SegmentFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub len: u64,
    /// Its header, or what is wrong with it.
    pub header: std::result::Result<SegmentHeader, Fault>,
}

/// What was found at a place in a segment.
#[derive(Debug)]
pub enum Found {
    /// A whole batch that continues the chain.
    Batch(Box<Batch>),
    /// No batch from here on: zeros, which is how a log ends.
    End(Position),
    /// Something that is not a whole batch, and not zeros.
    Damage(Position, Fault),
}

/// Lists a log's directory.
///
/// # Errors
/// Only when the directory cannot be read.
pub fn inspect(fs: Arc<dyn Fs>, dir: &Path) -> Result<Inspection> {
    let files = fs.list(dir).during(Operation::List, dir)?;
    Ok(Inspection { fs, dir: dir.to_owned(), files })
}

impl Inspection {
    /// The segments' first positions, in order.
    pub fn segments(&self) -> impl Iterator<Item = Position> + '_ {
        self.files.iter().filter(|file| !file.dir).filter_map(|file| parse_segment_name(&file.name))
    }

    /// The file of the segment that starts here.
    pub fn segment(&self, first: Position) -> Result<SegmentFile> {
        let path = self.dir.join(segment_name(first));
        let file = self.fs.open(&path, Mode::Read).during(Operation::Open, &path)?;
        let mut raw = [0; SEGMENT_FIELD_BYTES];
        let read = file.read_at(&mut raw, 0).during(Operation::Read, &path)?;
        let len = file.size().during(Operation::Read, &path)?;
        let header = if read < raw.len() { Err(Fault::Short) } else { SegmentHeader::decode(&raw) };
        Ok(SegmentFile { path, len, header })
    }

    /// The batches of the segment that starts here; after `End` or `Damage` there is no more.
    ///
    /// # Errors
    /// `Foreign` when its header says that it starts elsewhere or is not whole: nothing in it can be placed then.
    pub fn batches(&self, first: Position) -> Result<impl Iterator<Item = Result<Found>> + use<>> {
        let SegmentFile { path, len, header } = self.segment(first)?;
        let header = match header {
            Ok(header) if header.first == first => header,
            Ok(SegmentHeader { first, .. }) => {
                return Err(Error::Foreign { file: path, stranger: Stranger::Renamed { first } });
            }
            Err(_) => return Err(Error::Foreign { file: path, stranger: Stranger::Name }),
        };
        let file = self.fs.open(&path, Mode::Read).during(Operation::Open, &path)?;
        let next = self.segments().find(|&next| next > first);
        let upto = next.unwrap_or(first.plus(len.saturating_sub(SEGMENT_HEADER_BYTES)));
        let segment = Arc::new(Segment::new(&self.dir, header));
        let mut walk = Some(Walk::new(file, &segment, first, upto));
        Ok(std::iter::from_fn(move || {
            let mut here = walk.take()?;
            Some(here.step().map(|step| match step {
                Step::Batch(batch) => {
                    walk = Some(here);
                    Found::Batch(Box::new(batch))
                }
                Step::End | Step::Bad(Fault::Zeros) => Found::End(here.at()),
                Step::Bad(fault) => Found::Damage(here.at(), fault),
            }))
        }))
    }
}
