//! What stops a shard.

use causeway_model::Position;

use crate::TablesError;

/// Apply cannot go on. Nothing of the batch took effect; the shard stops until an operator has acted.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The log holds a record that this build does not know. A newer build does.
    #[error("record at {position}: kind {kind} version {version} needs feature level {level}, which this build lacks")]
    Unsupported {
        /// Its kind.
        kind: u8,
        /// Its version.
        version: u8,
        /// Where it is.
        position: Position,
        /// The feature level that a build must have to apply it.
        level: u8,
    },
    /// A record is too short to have a kind, though its checksum was right: the log was written by something else.
    #[error("record at {position} has no header")]
    Headless {
        /// Where it is.
        position: Position,
    },
    /// A batch that does not follow the one applied last.
    #[error("batch {index} at {position} does not follow batch {applied}, which ends at {end}")]
    Order {
        /// Index of the batch.
        index: u64,
        /// Its position.
        position: Position,
        /// Index of the last applied batch.
        applied: u64,
        /// Where that one ends.
        end: Position,
    },
    /// This replica's tables differ from the leader's: it must not serve.
    #[error("digest at {position} is {ours:016x}, the leader's was {theirs:016x}: this replica forked")]
    Forked {
        /// The position up to which the digests were taken.
        position: Position,
        /// Ours.
        ours: u64,
        /// The leader's.
        theirs: u64,
    },
    /// A row that apply wrote cannot be read back: the tables are damaged and must be rebuilt.
    #[error("{row} row is malformed: the tables are damaged")]
    Damaged {
        /// Which row.
        row: &'static str,
    },
    /// The database failed.
    #[error(transparent)]
    Tables(#[from] TablesError),
}
