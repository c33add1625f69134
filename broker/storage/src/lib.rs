//! The commit log: bytes that are acknowledged once they are durable, at positions that are the same on every replica.
//!
//! ```text
//!            Draft: kind, term, index, groups of framed records
//!              │
//!    ┌─────────▼─────────┐  one thread, the lock           ┌──────────────────────────────┐ any thread
//!    │      Writer       │                                 │            Reader            │
//!    │ append: seal, one │──── Arc<Batch> ───► ring ──────►│ cached: a record from memory │
//!    │   vectored write  │                (recent batches, │ read:   records, verified    │
//!    │ sync: one fdatasync     and what is not durable)    │ batches: whole, verified,    │
//!    │ truncate, reclaim │                                 │   up to the durable end      │
//!    └─────────┬─────────┘                                 └──────────────▲───────────────┘
//!              │ io::Fs                                                   │ io::Fs
//!    ┌─────────▼──────────────────────────────────────────────────────────┴───────────────┐
//!    │ 00000000000000000000   00000000000000131004   00000000000000262113 ░░░░   spare ░░░ │
//!    └─────────────────────────────────────────────────────────────────────────────────────┘
//!      a segment a file, named after its first position; ░ = zeros, written and synced ahead
//! ```
//!
//! What is in a record is opaque here: this crate knows bytes, positions, terms and indexes, and no messages.
//!
//! # What holds
//!
//! - **What [`Writer::sync`] covered survives** any crash, in the order it was appended, at the position it was given.
//! - **Nothing else is ever adopted**: each sealed header chains to the one before it, so neither a torn write nor the tail
//!   of an earlier life can be taken for a part of the log ([`recovery`]).
//! - **Damage is refused, never skipped**: an error names the file and the position. Only damage to the last sync group,
//!   where the tables have not applied it, cannot be told from a torn write: it is cut, zeroed, and reported
//!   ([`Recovered`]).
//! - **Positions do not depend on the segment size**: batch headers are inside the position space, segment headers and
//!   zeros outside of it. A batch never spans segments; one that is too large gets a segment of its own.
//! - **The first failed write or sync poisons the log**: writes stop, reads go on, a restart reads back what there is.
//! - **A full disk is refused before anything is written** ([`Error::Full`]): a segment's space is there before it is
//!   used. Where a write meets a full disk all the same (copy on write, quotas), what it wrote is zeroed again, or the log
//!   is poisoned if that fails too.
//! - **One process a directory**: the [`Writer`] holds its lock.
//! - **No batch is written while one that its header calls committed is not durable here.** Recovery takes a header's word
//!   for that.
//!
//! # What it leaves to others
//!
//! When to sync (the caller joins what came during the last sync: that is group commit), what is committed, and what may
//! be reclaimed. It runs no task; its only thread makes the next segment's file ahead. Every call but
//! [`Reader::cached`] may wait for the disk: not on a thread that must not wait.
//!
//! # Where things are
//!
//! [`format`](mod@format) every byte · [`io`] every file-system call, and the simulated disk · `frame` records in groups ·
//! `batch` sealed batches · `log/` what writes: writer, spare, ring, reclaim, truncation, poison · `read/` what reads ·
//! [`recovery`] what is true after a crash · [`vote`] a small file that must not be lost either.

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
