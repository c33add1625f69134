//! Why a shard could not start, or stopped.

use causeway_model::Position;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A fatal error of one shard's log or state machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A batch could not be written.
    #[error("append batch {index}: {source}")]
    Append {
        /// Index of the batch.
        index: u64,
        /// Why.
        source: causeway_storage::Error,
    },
    /// What was written could not be made durable. Nobody can say what the disk holds: a restart must find out.
    #[error("sync batch {index}: {source}")]
    Sync {
        /// Index of the newest batch in the group.
        index: u64,
        /// Why.
        source: causeway_storage::Error,
    },
    /// The log could not be read while replaying it.
    #[error("replay the log from {from}: {source}")]
    Replay {
        /// Where the next batch should be.
        from: Position,
        /// Why.
        source: causeway_storage::Error,
    },
    /// The tables are older than the log's first batch: restore a checkpoint.
    #[error("the tables end at {applied}, the log begins at {first}: what lies between is gone, restore a checkpoint")]
    LogBeginsLater {
        /// End of the last applied batch.
        applied: Position,
        /// First position of the log.
        first: Position,
    },
    /// The tables are newer than the log: they belong to another log, or the log lost its tail.
    #[error("the tables end at {applied}, the log at {end}: the log lost its tail, or these are another log's tables")]
    LogEndsEarlier {
        /// End of the last applied batch.
        applied: Position,
        /// End of the log.
        end: Position,
    },
    /// The log is empty and no first batch was given.
    #[error("the log is empty and nothing was given to begin it with")]
    NoFirstBatch,
    /// The state machine refuses a batch.
    #[error("apply the batches from {from}: {source}")]
    Apply {
        /// First position of the run.
        from: Position,
        /// Why.
        source: Source,
    },
    /// The state machine gave another number of outcomes than there are records.
    #[error("the batches from {from} hold {records} records and gave {outcomes} outcomes")]
    Outcomes {
        /// First position of the run.
        from: Position,
        /// Records in the run.
        records: usize,
        /// Outcomes given.
        outcomes: usize,
    },
    /// A thread of the shard could not be started.
    #[error("start thread {name}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A thread of the shard ended by a panic.
    #[error("thread {name} panicked")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
}
