//! Creating a log, and opening one: lock, recovery, spare.

use std::path::Path;
use std::sync::Arc;

use causeway_model::{Lineage, Position};

use crate::error::{During, Error, Operation, Result};
use crate::format::{LOCK, SegmentHeader};
use crate::io::{Fs, Guard, Lock};
use crate::log::poison::Poison;
use crate::log::ring::Ring;
use crate::log::segment::Segments;
use crate::log::spare::Spare;
use crate::log::writer::{Tail, Writer, name_segment, write_header};
use crate::log::{Shared, Watermark};
use crate::options::Options;
use crate::read::Reader;
use crate::recovery::{self, Mark, Recovered};

/// An open log.
#[derive(Debug)]
pub struct Opened {
    /// Its one writer, which holds the directory's lock.
    pub writer: Writer,
    /// Its readers, from now on as many as are cloned.
    pub reader: Reader,
    /// What the log is called.
    pub lineage: Lineage,
    /// What was found at its end.
    pub recovered: Recovered,
}

/// Creates an empty log of this lineage, and the directory if there is none.
///
/// # Errors
/// `Exists` if the directory has a log, `Locked` if somebody has the directory, `Foreign` if it has other files.
pub fn create(fs: Arc<dyn Fs>, dir: &Path, options: Options, lineage: Lineage) -> Result<Opened> {
    options.validate()?;
    fs.create_dir(dir).during(Operation::CreateDir, dir)?;
    // Once before the lock, so that a directory of somebody else is left as it is, and once under it.
    recovery::list(&*fs, dir)?;
    let lock = lock(&*fs, dir)?;
    if !recovery::list(&*fs, dir)?.is_empty() {
        return Err(Error::Exists { dir: dir.to_owned() });
    }
    let mut spare = Spare::start(fs.clone(), dir, &options)?;
    let file = spare.take()?;
    let header =
        SegmentHeader { lineage, first: Position(0), first_index: 0, capacity: options.capacity(), prev: None };
    let shared = shared(fs, dir, &options, lineage, Vec::new(), Position(0));
    write_header(&*file, &header).during(Operation::Write, dir)?;
    shared.segments.push(Arc::new(name_segment(&shared, &*file, header)?));
    spare.request();
    let tail = Tail { file, limit: Position(options.capacity()), last: None, committed: 0 };
    opened(shared, options, tail, spare, lock, Recovered::default())
}

/// Opens the log in this directory. `mark` is how far the tables have applied it: what it covers cannot have been torn.
///
/// # Errors
/// `Missing` if there is none, `Locked` if somebody has it, `Corrupt`, `Foreign` or `Unsupported` if it is not whole:
/// see [`crate::recovery`] for what is cut instead.
pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options, mark: Mark) -> Result<Opened> {
    options.validate()?;
    let missing = || Error::Missing { dir: dir.to_owned() };
    let segments = recovery::list(&*fs, dir).map_err(|error| if error.is_not_found() { missing() } else { error })?;
    if segments.is_empty() {
        return Err(missing());
    }
    let lock = lock(&*fs, dir)?;
    let found = recovery::recover(&*fs, dir, mark)?;
    let spare = Spare::start(fs.clone(), dir, &options)?;
    let shared = shared(fs, dir, &options, found.lineage, found.segments, found.end);
    opened(shared, options, found.tail, spare, lock, found.recovered)
}

fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn Guard>> {
    let path = dir.join(LOCK);
    match fs.lock(&path) {
        Ok(Lock::Ours(guard)) => Ok(guard),
        Ok(Lock::Held(holder)) => Err(Error::Locked { dir: dir.to_owned(), holder }),
        Err(error) => Err(error).during(Operation::Lock, &path),
    }
}

fn shared(
    fs: Arc<dyn Fs>,
    dir: &Path,
    options: &Options,
    lineage: Lineage,
    segments: Vec<Arc<crate::log::segment::Segment>>,
    end: Position,
) -> Arc<Shared> {
    let first = segments.first().map_or(Position(0), |segment| segment.first());
    Arc::new(Shared {
        fs,
        dir: dir.to_owned(),
        lineage,
        segments: Segments::new(segments),
        ring: Ring::new(options.tail_bytes),
        poison: Poison::default(),
        floor: Watermark::new(first),
        durable: Watermark::new(end),
        end: Watermark::new(end),
    })
}

fn opened(
    shared: Arc<Shared>,
    options: Options,
    tail: Tail,
    spare: Spare,
    lock: Box<dyn Guard>,
    recovered: Recovered,
) -> Result<Opened> {
    let (reader, lineage) = (Reader::new(shared.clone()), shared.lineage);
    let writer = Writer::new(shared, options, tail, spare, lock)?;
    Ok(Opened { writer, reader, lineage, recovered })
}
