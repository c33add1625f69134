//! The commit log: sealed batches in segments, one writer, recovery.

mod batch;
mod error;
pub mod format;
mod frame;
pub mod io;
mod log;
mod open;
mod options;
mod read;
pub mod recovery;
pub mod vote;

pub use batch::{Batch, Draft};
pub use error::{Error, Evidence, Fault, Operation, Result, Stranger};
pub use format::{BatchKind, Header};
pub use frame::{Group, GroupBuilder};
pub use io::{Disk, Fs, Sim, Space};
pub use log::reclaim::Removed;
pub use log::writer::{Room, Writer};
pub use open::{Opened, create, open};
pub use options::{Ahead, Options};
pub use read::inspect::{Found, Inspection, SegmentFile, inspect};
pub use read::{Cursor, Reader};
pub use recovery::{Cut, Mark, Recovered};
pub use vote::Vote;
