//! Why a shard could not start, or stopped.

use std::path::PathBuf;

use causeway_apply::ApplyError;
use causeway_model::{Incarnation, Position};

/// A fatal error of one shard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot be used.
    #[error("settings: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// The log could not be opened or created.
    #[error("open the log in {}: {source}", dir.display())]
    Log {
        /// The log's directory.
        dir: PathBuf,
        /// Why.
        source: causeway_storage::Error,
    },
    /// The tables could not be read.
    #[error("read the tables: {0}")]
    Tables(#[from] ApplyError),
    /// The tables hold rows, but their log is gone.
    #[error("the tables end at {applied}, and there is no log in {}", dir.display())]
    LogMissing {
        /// The log's directory.
        dir: PathBuf,
        /// End of the last applied batch.
        applied: Position,
    },
    /// The directory could not be made.
    #[error("create {}: {source}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The log holds no `ClusterInit`: it is not one of ours.
    #[error("the log in {} does not begin with a cluster's constants", dir.display())]
    NoCluster {
        /// The log's directory.
        dir: PathBuf,
    },
    /// The committer could not start, or stopped.
    #[error(transparent)]
    Commit(#[from] causeway_replication::Error),
    /// The committer stopped while it ran.
    #[error(transparent)]
    Stopped(std::sync::Arc<causeway_replication::Error>),
    /// The tables could not be made durable.
    #[error("flush the tables: {0}")]
    Flush(ApplyError),
    /// The file that names the hosted gateway's incarnation could not be read or replaced.
    #[error("{operation} {}: {source}", file.display())]
    Hosted {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A first record was refused or its outcome got lost.
    #[error("announce gateway {incarnation}: {reason}")]
    Announce {
        /// The hosted gateway's incarnation.
        incarnation: Incarnation,
        /// What came of it.
        reason: String,
    },
    /// A thread could not be started.
    #[error("start thread {name}: {source}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
}
