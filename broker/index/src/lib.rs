//! The tables of apply, in RocksDB.
//!
//! ```text
//!  apply ── write: one batch, all families and the applied mark ──► memtables ── atomic flush ──► sorted files
//!                                                                                                     │ hard links
//!  resume, lookup ◄── get, scan ──────────────────────────────────────────────────────────────────── checkpoints
//! ```
//!
//! The commit log is the only write-ahead log. **Every batch carries the applied mark, and every flush covers all
//! families**, so whatever a crash leaves is the state after some record, whole: open, read the mark, replay what the
//! log has after it. A database that is damaged is not repaired but replaced by its newest good checkpoint, or by
//! nothing, which is the same thing with a longer replay.
//!
//! - [`Db`] opens the families ([`Db::open`] reads nothing per queue) and implements `Tables` and `Durable`.
//! - [`Db::open_or_rebuild`] and [`rebuild`] replace a damaged one.
//! - A compaction filter drops the rows of `entry` and `key` whose body lies below the *flushed* first position of the
//!   log, and nothing else.
//!
//! It refuses: a directory whose families are not these, a database or a set of checkpoints older than what the log
//! still has, and any guess at half a database. All calls block: none may run on a tokio worker.

mod checkpoint;
mod db;
mod directory;
mod error;
mod flush;
mod options;
mod rebuild;
mod reclaim;
mod space;
mod tables;
#[cfg(test)]
mod testing;

pub use db::{Db, Usage};
pub use error::Error;
pub use options::Settings;
pub use rebuild::{Progress, Rebuilt, rebuild};
