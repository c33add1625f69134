//! The one writer: seals drafts, appends them, makes them durable, rolls segments.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use causeway_model::{Lineage, Position};

use super::Shared;
use super::segment::Segment;
use super::spare::Spare;
use crate::batch::{Batch, Draft};
use crate::error::{During, Error, Operation, Result};
use crate::format::{HEADER_BYTES, Link, SEGMENT_HEADER_BYTES, SPARE, SegmentHeader, segment_name};
use crate::io::{self, File, Guard, Space};
use crate::options::Options;

/// Appends to the log. There is one, it holds the directory's lock, and it lives on one thread: no method of it waits for
/// anything but the disk.
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    pub(super) active: Active,
    pub(super) end: Position,
    pub(super) last: Option<Link>,
    pub(super) committed: u64,
    /// The first index that is not durable yet.
    pub(super) unsynced: Option<u64>,
    // Before the lock: its thread still works in the directory.
    spare: Spare,
    _lock: Box<dyn Guard>,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn File>,
    /// Where the zeros that were made ahead end.
    pub(super) limit: Position,
}

/// How far the active segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes until a batch (header included) makes the log roll to its next segment.
    pub bytes: u64,
    /// Whether the next segment's file is there already, so that rolling takes four syncs and no more.
    pub spare: bool,
}

/// What recovery found: where to go on.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn File>,
    pub(crate) limit: Position,
    pub(crate) last: Option<Link>,
    pub(crate) committed: u64,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        options: Options,
        tail: Tail,
        spare: Spare,
        lock: Box<dyn Guard>,
    ) -> Result<Self> {
        let segment = shared.segments.newest().ok_or_else(|| Error::Missing { dir: shared.dir.clone() })?;
        let active = Active { segment, file: tail.file, limit: tail.limit };
        let end = shared.end.get();
        Ok(Self {
            shared,
            options,
            active,
            end,
            last: tail.last,
            committed: tail.committed,
            unsynced: None,
            spare,
            _lock: lock,
        })
    }

    /// Seals a draft and writes it. It can be read at once, and it is not durable before [`Self::sync`] returns.
    ///
    /// # Errors
    /// `OutOfOrder`, `TooLarge` and `Full` leave the log as it was: correct the draft, or try again once there is space.
    /// Every other failure poisons the log.
    pub fn append(&mut self, mut draft: Draft) -> Result<Arc<Batch>> {
        self.shared.poison.check()?;
        let expected = self.next_index();
        if draft.index != expected {
            return Err(Error::OutOfOrder { what: "index", expected, found: draft.index });
        }
        let term = self.last.map_or(0, |last| last.term);
        if draft.term < term {
            return Err(Error::OutOfOrder { what: "term", expected: term, found: draft.term });
        }
        draft.committed = draft.committed.max(self.committed);
        let batch = Batch::seal(draft, self.shared.lineage, self.end, self.last)?;
        self.store(batch)
    }

    /// Writes a batch that its leader sealed, byte for byte.
    ///
    /// # Errors
    /// `OutOfOrder` when it does not continue this log: its position, index, term or chain does not fit (the logs have
    /// forked), or its lineage is another. Otherwise as [`Self::append`].
    pub fn append_sealed(&mut self, batch: Batch) -> Result<Arc<Batch>> {
        self.shared.poison.check()?;
        let header = &batch.header;
        let (term, crc) = self.last.map_or((0, 0), |last| (last.term, last.header_crc));
        let fields = [
            ("position", self.end.0, header.position.0, header.position == self.end),
            ("index", self.next_index(), header.index, header.index == self.next_index()),
            ("term", term, header.term, header.term >= term),
            ("chain", crc.into(), header.prev_header_crc.into(), header.prev_header_crc == crc),
            ("committed index", self.committed, header.committed, header.committed >= self.committed),
            ("lineage", 0, 1, header.lineage == self.shared.lineage),
        ];
        for (what, expected, found, fits) in fields {
            if !fits {
                return Err(Error::OutOfOrder { what, expected, found });
            }
        }
        self.store(batch)
    }

    fn store(&mut self, batch: Batch) -> Result<Arc<Batch>> {
        // Recovery takes a header's committed index as proof that the batches up to it were durable here: so they must
        // be. (Index 0 can be called committed before it is, 0 being the least there is to say: it is synced alone.)
        if self.unsynced.is_some_and(|first| first <= batch.header.committed) {
            self.sync()?;
        }
        self.make_room(&batch)?;
        self.write(&batch)?;
        let batch = Arc::new(batch);
        self.active.segment.note(batch.header.index, batch.header.position);
        self.end = batch.end();
        self.last = Some(batch.link());
        self.unsynced.get_or_insert(batch.header.index);
        self.committed = batch.header.committed;
        self.shared.ring.push(batch.clone(), self.shared.durable.get());
        self.shared.end.set(self.end);
        self.spare.advance();
        Ok(batch)
    }

    /// Makes all that was appended durable with one sync, and returns its end.
    ///
    /// # Errors
    /// The first failure poisons the log: what was appended since the last sync may be lost, or not.
    pub fn sync(&mut self) -> Result<Position> {
        self.shared.poison.check()?;
        if self.shared.durable.get() < self.end {
            let synced = self.active.file.sync_data().during(Operation::Sync, &self.active.segment.path);
            self.shared.poison.by(synced)?;
            self.unsynced = None;
            self.shared.durable.set(self.end);
            self.shared.ring.synced(self.end);
        }
        Ok(self.end)
    }

    /// Sees to it that the batch has a place in the active segment.
    fn make_room(&mut self, batch: &Batch) -> Result<()> {
        if batch.end() <= self.active.limit {
            return Ok(());
        }
        if self.end > self.active.segment.first() {
            return self.roll(batch);
        }
        // The segment is empty and yet too small: a batch of this size gets it for itself. Synced, since a header that
        // goes past the end of its file is taken for damage.
        let limit = self.extend(&*self.active.file, &self.active.segment.path, self.end, batch)?;
        let synced = self.active.file.sync_data().during(Operation::Sync, &self.active.segment.path);
        self.shared.poison.by(synced)?;
        self.active.limit = limit;
        Ok(())
    }

    /// Goes on in a new segment. **Everything before it is durable first**, so that recovery may take a later segment as
    /// proof of all that is before it.
    fn roll(&mut self, batch: &Batch) -> Result<()> {
        self.sync()?;
        let file = self.spare.take()?;
        let first = self.end;
        let mut limit = first.plus(self.options.capacity());
        if batch.end() > limit {
            let spare = self.shared.dir.join(SPARE);
            limit = match self.extend(&*file, &spare, first, batch) {
                Ok(limit) => limit,
                Err(error) => {
                    self.spare.put_back(file);
                    return Err(error);
                }
            };
        }
        let header = SegmentHeader {
            lineage: self.shared.lineage,
            first,
            first_index: self.next_index(),
            capacity: limit.0.saturating_sub(first.0),
            prev: self.last,
        };
        if let Err(error) = write_header(&*file, &header) {
            return self.spoiled(error);
        }
        let named = name_segment(&self.shared, &*file, header);
        let segment = Arc::new(self.shared.poison.by(named)?);
        self.spare.request();
        self.shared.segments.push(segment.clone());
        tracing::debug!(segment = %segment.path.display(), first_index = header.first_index, "rolled");
        self.active = Active { segment, file, limit };
        Ok(())
    }

    /// The spare could not be given a header. The log is as it was if the disk is only full: the next append takes another.
    fn spoiled(&self, error: std::io::Error) -> Result<()> {
        let spare = self.shared.dir.join(SPARE);
        let removed = io::remove_if_any(&*self.shared.fs, &spare).during(Operation::Remove, &spare);
        let result = if io::is_full(&error) {
            removed.and(Err(Error::Full { dir: self.shared.dir.clone(), bytes: SEGMENT_HEADER_BYTES }))
        } else {
            Err(error).during(Operation::Write, &spare)
        };
        if matches!(result, Err(Error::Full { .. })) { result } else { self.shared.poison.by(result) }
    }

    /// Makes a file that holds up to `first` + its capacity long enough for a batch, in zeros, before anything is written:
    /// from here on the batch cannot run out of space.
    fn extend(&self, file: &dyn File, path: &Path, first: Position, batch: &Batch) -> Result<Position> {
        let bytes = batch.end().0.saturating_sub(first.0).saturating_add(SEGMENT_HEADER_BYTES);
        let bytes = bytes.next_multiple_of(SEGMENT_HEADER_BYTES);
        let before = file.size().during(Operation::Read, path)?;
        match io::zero(file, before, bytes) {
            Ok(()) => Ok(first.plus(bytes.saturating_sub(SEGMENT_HEADER_BYTES))),
            Err(error) if io::is_full(&error) => {
                self.shared.poison.by(file.set_len(before).during(Operation::Write, path))?;
                Err(Error::Full { dir: self.shared.dir.clone(), bytes: bytes.saturating_sub(before) })
            }
            Err(error) => self.shared.poison.by(Err(error).during(Operation::Write, path)),
        }
    }

    /// One vectored write. The room was made before, so only a disk that copies on write, or a quota, can still be full
    /// here: then what was written is zeroed again, and the log goes on as if nothing had been.
    fn write(&self, batch: &Batch) -> Result<()> {
        let path = &self.active.segment.path;
        let at = self.active.segment.offset(self.end);
        let header = batch.header.bytes();
        match self.active.file.write_at(&mut batch.slices(&header), at) {
            Ok(()) => Ok(()),
            Err(error) if io::is_full(&error) => {
                let bytes = HEADER_BYTES as u64 + u64::from(batch.header.length);
                let zeroed = io::zero(&*self.active.file, at, at.saturating_add(bytes));
                self.shared.poison.by(zeroed.during(Operation::Write, path))?;
                Err(Error::Full { dir: self.shared.dir.clone(), bytes })
            }
            Err(error) => self.shared.poison.by(Err(error).during(Operation::Write, path)),
        }
    }

    /// The index that the next draft must have.
    pub fn next_index(&self) -> u64 {
        self.last.map_or(self.active.segment.header.first_index, |last| last.index.saturating_add(1))
    }

    /// Term and index of the last batch; of the one before the log's first segment if that is all there is to know.
    pub fn last(&self) -> Option<(u64, u64)> {
        self.last.map(|last| (last.term, last.index))
    }

    /// The highest index that a batch of the log knows as committed.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Where the next batch goes.
    pub fn end(&self) -> Position {
        self.end
    }

    /// What the log is called.
    pub fn lineage(&self) -> Lineage {
        self.shared.lineage
    }

    /// The settings that the log was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How far the active segment goes.
    pub fn room(&self) -> Room {
        Room { bytes: self.active.limit.0.saturating_sub(self.end.0), spare: self.spare.ready() }
    }

    /// What room the file system has.
    pub fn space(&self) -> Result<Space> {
        self.shared.fs.space(&self.shared.dir).during(Operation::Space, &self.shared.dir)
    }
}

/// The first half of making a spare a segment.
pub(crate) fn write_header(file: &dyn File, header: &SegmentHeader) -> std::io::Result<()> {
    file.write_at(&mut [IoSlice::new(&header.bytes())], 0)
}

/// The second half: sync, name, directory sync, in this order. **A segment that has its name is whole.**
pub(crate) fn name_segment(shared: &Shared, file: &dyn File, header: SegmentHeader) -> Result<Segment> {
    let (spare, path) = (shared.dir.join(SPARE), shared.dir.join(segment_name(header.first)));
    file.sync_data().during(Operation::Sync, &spare)?;
    shared.fs.rename(&spare, &path).during(Operation::Rename, &spare)?;
    shared.fs.sync_dir(&shared.dir).during(Operation::SyncDir, &shared.dir)?;
    Ok(Segment::new(&shared.dir, header))
}
