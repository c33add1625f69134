//! A suffix goes: what a follower appended and the new leader does not have.

use std::sync::Arc;

use causeway_model::Position;

use super::writer::{Active, Writer};
use crate::error::{During, Error, Evidence, Operation, Result};
use crate::format::{Link, SEGMENT_HEADER_BYTES};
use crate::io::{self, Mode};
use crate::read::walk::{Step, Walk};

impl Writer {
    /// Removes every batch after this index, durably: zeros, so that nothing of the old tail can be taken for a part of
    /// the new one.
    ///
    /// Later segments go newest first, each durably before the next: a crash in the middle leaves a shorter suffix and
    /// never a hole.
    ///
    /// # Errors
    /// `Committed` when a batch of the log knows a later index as committed; `Trimmed` when the index lies before the
    /// log's first batch. Any failure of the file system poisons the log.
    pub fn truncate_after(&mut self, index: u64) -> Result<()> {
        self.shared.poison.check()?;
        if self.last.is_none_or(|last| index >= last.index) {
            return Ok(());
        }
        if index < self.committed {
            return Err(Error::Committed { index, committed: self.committed });
        }
        let cut = self.find_cut(index)?;
        let truncated = self.cut_at(&cut);
        self.shared.poison.by(truncated)?;
        tracing::info!(index, end = %cut.end, "truncated");
        Ok(())
    }

    fn cut_at(&mut self, cut: &Cut) -> Result<()> {
        let shared = self.shared.clone();
        shared.durable.set(shared.durable.get().min(cut.end));
        shared.end.set(cut.end);
        shared.ring.truncate(cut.end);
        let mut old_end = self.end;
        while let Some(newest) = shared.segments.newest()
            && newest.first() > cut.segment
        {
            io::remove_if_any(&*shared.fs, &newest.path).during(Operation::Remove, &newest.path)?;
            shared.fs.sync_dir(&shared.dir).during(Operation::SyncDir, &shared.dir)?;
            shared.segments.pop_newest();
            old_end = newest.first();
        }
        let segment = shared.segments.newest().ok_or_else(|| Error::Missing { dir: shared.dir.clone() })?;
        let path = &segment.path;
        let file = shared.fs.open(path, Mode::Write).during(Operation::Open, path)?;
        io::zero(&*file, segment.offset(cut.end), segment.offset(old_end)).during(Operation::Write, path)?;
        file.sync_data().during(Operation::Sync, path)?;
        segment.forget(cut.end);
        let bytes = file.size().during(Operation::Read, path)?;
        let limit = segment.first().plus(bytes.saturating_sub(SEGMENT_HEADER_BYTES));
        self.active = Active { segment, file, limit };
        self.end = cut.end;
        self.last = cut.last;
        self.unsynced = None;
        shared.durable.set(cut.end);
        Ok(())
    }

    /// Where the batch of this index ends.
    fn find_cut(&self, index: u64) -> Result<Cut> {
        let shared = &self.shared;
        // The batch after it tells the segment to cut: one that would start with it stays, empty.
        let Some(place) = shared.segments.at_index(index.saturating_add(1)) else {
            return Err(Error::Trimmed { position: Position(0), first: shared.floor.get() });
        };
        let segment = Arc::clone(&place.segment);
        let upto = place.next.unwrap_or(self.end);
        let mut cut = Cut { segment: segment.first(), end: segment.first(), last: segment.header.prev };
        let mut walk =
            Walk::new(shared.segments.file(&*shared.fs, &segment)?, &segment, segment.near_index(index), upto);
        while cut.last.is_none_or(|last| last.index < index) {
            match walk.step()? {
                Step::Batch(batch) => {
                    cut.end = batch.end();
                    cut.last = Some(batch.link());
                }
                Step::Bad(fault) => {
                    let (file, position) = (segment.path.clone(), walk.at());
                    return Err(Error::Corrupt { file, position, fault, evidence: Evidence::Durable });
                }
                Step::End => return Err(Error::Beyond { position: walk.at(), end: self.end }),
            }
        }
        Ok(cut)
    }
}

/// Where to cut, and what is before it.
struct Cut {
    /// The first position of the segment that is cut.
    segment: Position,
    end: Position,
    last: Option<Link>,
}
