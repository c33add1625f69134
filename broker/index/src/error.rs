//! What can go wrong outside of `Tables`, whose calls answer with apply's `TablesError`.

use std::io;
use std::path::PathBuf;

use causeway_model::Position;

/// Opening, checking or rebuilding failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RocksDB cannot open it, for a reason that says nothing against its content (locked, no permission, no memory).
    #[error("index {path}: open: {source}")]
    Open {
        /// The database's directory.
        path: PathBuf,
        /// RocksDB's words.
        source: rocksdb::Error,
    },
    /// Its files are not what RocksDB wrote. [`crate::rebuild`] replaces it.
    #[error("index {path}: damaged: {reason}")]
    Damaged {
        /// The database's directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// Neither the database nor a checkpoint reaches up to what the log still has: replay would leave a hole.
    /// Nothing was deleted.
    #[error("index {path}: {reason}; no checkpoint at or above {log_first}, where the log begins, is good")]
    Unrecoverable {
        /// The index's directory.
        path: PathBuf,
        /// Why the database itself cannot be used.
        reason: String,
        /// The log's first position.
        log_first: Position,
    },
    /// Reading the applied mark or checking all rows failed.
    #[error(transparent)]
    Tables(#[from] causeway_apply::TablesError),
    /// The index's own files: the checkpoints' names and links, the mark of a damaged database.
    #[error("index: {operation} {path}: {source}")]
    Directory {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Whether [`crate::rebuild`] is the answer.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}
