//! Lookup kept in Redis: one key a client.
//!
//! ```text
//!  causeway:<lineage>:<id of the client's queue>  ─►  epoch, 8 bytes big-endian ‖ incarnation, 16 bytes
//! ```
//!
//! Entries expire; the gateway that holds a client puts it again well before that. A script compares epochs, so that an
//! older opening never replaces a newer one whoever comes first.
//!
//! Every call has a deadline, and a Redis that is away is left alone for a moment: then nobody is known, which makes
//! callers ask every gateway. No client sees an error of it. When it is back, whoever puts next is told to put all.
//!
//! It wants one Redis, or one address that leads to the writable one: a script's keys are not of one slot of Redis
//! Cluster.

mod away;
mod entry;
mod settings;
mod store;

pub use settings::{Error, Settings};
pub use store::Redis;
