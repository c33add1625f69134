//! What can go wrong in a log, with the file and the position where it did.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use causeway_model::{Kind, Lineage, Position};

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A storage operation that was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no. When it happens in `append` or `sync` the log is poisoned from then on.
    #[error("cannot {operation} {}: {source}", file.display())]
    Io {
        /// What was asked of the file system.
        operation: Operation,
        /// The file or directory it was asked for.
        file: PathBuf,
        /// The file system's answer.
        #[source]
        source: io::Error,
    },
    /// The disk has no room for this append. Nothing was appended, reads go on, and the same append works once space
    /// has returned.
    #[error("disk full: no room for {bytes} bytes in {}", dir.display())]
    Full {
        /// The log's directory.
        dir: PathBuf,
        /// How much room was asked for.
        bytes: u64,
    },
    /// An earlier write or sync failed, so nothing can be promised any more. Writes stop until the log is opened anew.
    #[error("log is poisoned, writes stopped when it failed to: {cause}")]
    Poisoned {
        /// The first failure, in words.
        cause: Arc<str>,
    },
    /// Stored bytes are not what was written, and they cannot be the tail of a write that a crash cut short.
    #[error("corrupt log: {} at position {position}: {fault}; {evidence}", file.display())]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// The batch or record that is damaged.
        position: Position,
        /// What is wrong with it.
        fault: Fault,
        /// How we know that it had been whole.
        evidence: Evidence,
    },
    /// The segment was written by a newer release.
    #[error("{} has format version {version}, this build reads {}", file.display(), crate::format::VERSION)]
    Unsupported {
        /// The segment.
        file: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The directory has a file that is no part of this log. Nothing is guessed: move it away or fix its name.
    #[error("{} does not belong to this log: {stranger}", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Why it does not belong.
        stranger: Stranger,
    },
    /// Another process, or another handle of this one, has the directory open.
    #[error("{} is in use by {}", dir.display(), holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Locked {
        /// The log's directory.
        dir: PathBuf,
        /// The process id that the lock file names.
        holder: Option<u32>,
    },
    /// `create` was asked for a directory that already has a log.
    #[error("{} already has a log", dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// `open` was asked for a directory without a log.
    #[error("no log in {}", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The position lies below the log's first: its segment is gone.
    #[error("position {position} was trimmed, the log starts at {first}")]
    Trimmed {
        /// The position asked for.
        position: Position,
        /// The first one there is.
        first: Position,
    },
    /// The position lies at or beyond the log's end.
    #[error("position {position} lies beyond the log's end {end}")]
    Beyond {
        /// The position asked for.
        position: Position,
        /// Where the log ends.
        end: Position,
    },
    /// The batch is larger than any batch may be.
    #[error("a batch of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// The batch's size.
        bytes: u64,
        /// The largest that is accepted.
        max: u64,
    },
    /// The batch does not continue the log: its index is not the next one, its term went back, or a sealed batch does
    /// not chain to the last one (a fork).
    #[error("batch {found} does not continue the log: {what}, expected {expected}")]
    OutOfOrder {
        /// Which field does not fit.
        what: &'static str,
        /// What would have fitted.
        expected: u64,
        /// What was offered.
        found: u64,
    },
    /// `truncate_after` would have removed a batch that the log itself says is committed.
    #[error("cannot truncate after index {index}: index {committed} is committed")]
    Committed {
        /// The index asked for.
        index: u64,
        /// The last committed one.
        committed: u64,
    },
    /// An option has a value that cannot work.
    #[error("option {option} = {value}: {rule}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
}

/// What was asked of the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// List a directory.
    List,
    /// Create a directory.
    CreateDir,
    /// Create a file.
    Create,
    /// Open a file.
    Open,
    /// Read from a file, or its length.
    Read,
    /// Write to a file.
    Write,
    /// Make a file's data durable.
    Sync,
    /// Make a directory's entries durable.
    SyncDir,
    /// Rename a file.
    Rename,
    /// Remove a file.
    Remove,
    /// Lock the directory.
    Lock,
    /// Ask how much room is left.
    Space,
    /// Start the thread that makes files ahead.
    Spawn,
}

/// What is wrong with stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but zeros where a batch should start.
    Zeros,
    /// The file ends too early.
    Short,
    /// No magic number.
    Magic,
    /// The header's checksum does not match.
    HeaderCrc,
    /// A header version that this release does not know.
    Version(u32),
    /// A batch kind that this release does not know.
    Kind(u8),
    /// The header names another log.
    Lineage(Lineage),
    /// The header says that it belongs elsewhere.
    Position(Position),
    /// The index is not the one after its predecessor's.
    Index {
        /// What would have fitted.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// The term is older than its predecessor's, or not the one that the tables have seen.
    Term {
        /// What would have fitted.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// The header does not chain to its predecessor.
    Chain,
    /// The body's length goes past the end of the file.
    Length(u32),
    /// The body's checksum does not match.
    BodyCrc,
    /// The records do not fill the body exactly.
    Frames,
    /// The record's length goes past the end of its batch.
    RecordLength(u32),
    /// The record's checksum does not match.
    RecordCrc,
}

/// Why damaged bytes cannot be the end of a write that a crash cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// They lie below the durable end of a running log.
    Durable,
    /// A later batch in the file says that this index was committed when it was sealed.
    Committed {
        /// The index that the later batch knew as committed.
        committed: u64,
    },
    /// The tables have applied this index.
    Mark {
        /// The tables' applied index.
        index: u64,
    },
    /// The log goes on in a later segment.
    LaterSegment {
        /// Where that one starts.
        first: Position,
    },
    /// Its header is whole and says so.
    Whole,
    /// A segment is given its name only once its header and its whole length are durable.
    Sealed,
}

/// Why a file does not belong to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// Its name is not one that a log gives.
    Name,
    /// Its header says that it starts elsewhere than its name.
    Renamed {
        /// Where the header says that it starts.
        first: Position,
    },
    /// It belongs to a log of another lineage.
    Lineage {
        /// The lineage of the other segments.
        expected: Lineage,
        /// The lineage in its header.
        found: Lineage,
    },
    /// It starts in the middle of the segment before it.
    Overlap {
        /// Where the one before it starts.
        before: Position,
    },
}

impl Error {
    /// The kind that protocols translate.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Full { .. } => Kind::DiskFull,
            Self::Corrupt { .. } | Self::Foreign { .. } => Kind::Corrupt,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Missing { .. } | Self::Trimmed { .. } | Self::Beyond { .. } => Kind::NotFound,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Exists { .. } | Self::OutOfOrder { .. } | Self::Committed { .. } | Self::Option { .. } => {
                Kind::Invalid
            }
            Self::Io { .. } | Self::Poisoned { .. } | Self::Locked { .. } => Kind::Unavailable,
        }
    }
}

impl Error {
    /// Whether the file system said that there is no such file.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Names operation and file of a failed file-system call: `fs.rename(a, b).during(Operation::Rename, a)?`.
pub(crate) trait During<T> {
    fn during(self, operation: Operation, file: &Path) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: Operation, file: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { operation, file: file.to_owned(), source })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::CreateDir => "create directory",
            Self::Create => "create",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::SyncDir => "sync directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Lock => "lock",
            Self::Space => "ask for the free space of",
            Self::Spawn => "start a thread for",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros instead of a batch"),
            Self::Short => f.write_str("the file ends too early"),
            Self::Magic => f.write_str("no magic number"),
            Self::HeaderCrc => f.write_str("header checksum does not match"),
            Self::Version(version) => write!(f, "unknown header version {version}"),
            Self::Kind(kind) => write!(f, "unknown batch kind {kind}"),
            Self::Lineage(lineage) => write!(f, "header of another log, lineage {lineage}"),
            Self::Position(position) => write!(f, "header belongs at position {position}"),
            Self::Index { expected, found } => write!(f, "index {found} where {expected} should be"),
            Self::Term { expected, found } => write!(f, "term {found} where {expected} should be"),
            Self::Chain => f.write_str("header does not chain to the batch before it"),
            Self::Length(length) => write!(f, "a body of {length} bytes goes past the end of the file"),
            Self::BodyCrc => f.write_str("body checksum does not match"),
            Self::Frames => f.write_str("records do not fill the body"),
            Self::RecordLength(length) => write!(f, "a record of {length} bytes does not fit"),
            Self::RecordCrc => f.write_str("record checksum does not match"),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Durable => f.write_str("it lies below the durable end"),
            Self::Committed { committed } => write!(f, "a later batch knew index {committed} as committed"),
            Self::Mark { index } => write!(f, "the tables have applied index {index}"),
            Self::LaterSegment { first } => write!(f, "the log goes on in the segment at {first}"),
            Self::Whole => f.write_str("its header is whole"),
            Self::Sealed => f.write_str("a segment is whole before it gets its name"),
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("not a name that a log gives"),
            Self::Renamed { first } => write!(f, "its header says that it starts at {first}"),
            Self::Lineage { expected, found } => write!(f, "lineage {found}, the log's is {expected}"),
            Self::Overlap { before } => write!(f, "it starts inside the segment at {before}"),
        }
    }
}
