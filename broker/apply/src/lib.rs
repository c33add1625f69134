//! Records and the pure function that turns them into table rows, outcomes and events.
//!
//! ```text
//! log ── record ──► apply ──► mutations   written to the tables as one batch, applied mark included
//!                    │  ▲ └──► outcomes    to whoever proposed
//!                    ▼  │ └──► entered, events   to readers and to the leader's duties
//!                  roots, tables
//! ```
//!
//! Invariants, each with a test:
//! - Apply is a function of the log: two replicas that applied the same batches have the same rows and the same digest,
//!   however the batches were grouped into runs and however often they crashed between two flushes.
//! - It is total: whatever bytes the log holds, a record takes effect, is rejected with a reason and changes nothing,
//!   or stops the shard before anything of its batch took effect. Its only clock is the largest time of the batches.
//! - It never reads `entry` or `key` rows, which replicas drop at different moments, and it sweeps nothing: what a
//!   record does is bounded by its size and by the filters that it matches.
//!
//! It does no I/O of its own, starts nothing and knows no database: rows are read through [`Tables`].

mod apply;
mod digest;
mod effects;
mod error;
mod event;
mod filter;
pub mod key;
mod outcome;
pub mod read;
pub mod record;
pub mod row;
#[cfg(test)]
mod sample;
mod tables;

pub use apply::{Apply, BatchMeta};
pub use effects::{Effects, Entered};
pub use error::ApplyError;
pub use event::Event;
pub use filter::{Matched, Trie};
pub use outcome::{Opened, Outcome, Reason};
pub use record::{DecodeError, Record};
pub use row::{AppliedMark, Entry, EntryFlags};
use tables::staged;
pub use tables::{Durable, FAMILIES, Family, Iter, Mutation, Mutations, Tables, TablesError, Twin, Visit};
