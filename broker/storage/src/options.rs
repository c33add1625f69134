//! The settings of a log.

use crate::error::{Error, Result};
use crate::format::SEGMENT_HEADER_BYTES;

/// How a log lays out its files and spends its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The size of a segment's file, its header block included. A multiple of 4096, at least 8192. A batch that does
    /// not fit gets a larger segment of its own.
    pub segment_bytes: u64,
    /// The memory for recent batches. What is not synced yet is kept even over it.
    pub tail_bytes: usize,
    /// What a sequencer should join into one batch at most. Only a group that is larger by itself makes a larger batch;
    /// the format's own limit is [`crate::format::MAX_BODY_BYTES`].
    pub max_batch_bytes: usize,
    /// Who makes the next segment's file.
    pub ahead: Ahead,
}

/// Who makes the next segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// A thread of the writer's, slice by slice, pausing between slices so that the log's own syncs come first.
    Thread,
    /// The writer, one slice an append: every file-system call is then made in one order, as a simulation needs.
    Inline,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 128 << 20, tail_bytes: 64 << 20, max_batch_bytes: 8 << 20, ahead: Ahead::Thread }
    }
}

impl Options {
    /// Checks each value.
    ///
    /// # Errors
    /// `Option` names the first one that cannot work.
    pub fn validate(&self) -> Result<()> {
        let bytes = self.segment_bytes;
        if bytes < 2 * SEGMENT_HEADER_BYTES || !bytes.is_multiple_of(SEGMENT_HEADER_BYTES) || bytes > 1 << 40 {
            return Err(Error::Option {
                option: "segment_bytes",
                value: bytes,
                rule: "a multiple of 4096 from 8192 to 1 TiB",
            });
        }
        Ok(())
    }

    /// How many bytes of position space a segment holds.
    pub(crate) fn capacity(&self) -> u64 {
        self.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES)
    }
}
