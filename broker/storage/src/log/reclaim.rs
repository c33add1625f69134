//! Segments go, oldest first, as the caller says; never the last.

use std::path::PathBuf;

use causeway_model::Position;

use super::writer::Writer;
use crate::error::{During, Operation, Result};
use crate::io;

/// A segment that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its file.
    pub file: PathBuf,
    /// Its first position.
    pub first: Position,
    /// Where the next segment starts.
    pub end: Position,
}

impl Writer {
    /// Removes the segments that end at or below this position. Readers get `Trimmed` below the log's new first position
    /// from before the first file goes.
    ///
    /// Each removal is made durable before the next one, so that a crash leaves a shorter log and never one with a hole.
    ///
    /// # Errors
    /// What the file system said; the segments before that one are gone, and the same call can be made again.
    pub fn reclaim(&mut self, below: Position) -> Result<Vec<Removed>> {
        let shared = &self.shared;
        shared.poison.check()?;
        let mut removed = Vec::new();
        while let Some(oldest) = shared.segments.oldest()
            && let Some(end) = oldest.next
            && end <= below
        {
            let file = oldest.segment.path.clone();
            shared.floor.set(end);
            io::remove_if_any(&*shared.fs, &file).during(Operation::Remove, &file)?;
            shared.fs.sync_dir(&shared.dir).during(Operation::SyncDir, &shared.dir)?;
            shared.segments.pop_oldest();
            tracing::info!(segment = %file.display(), %end, "removed a segment");
            removed.push(Removed { file, first: oldest.segment.first(), end });
        }
        Ok(removed)
    }
}
