//! The gateway's ports over committer, tables and log, in one process: one shard of a broker.
//!
//! ```text
//!  Command ─► Rules::encode ─► committer ─► Machine ─► Tables ─► frames ─► notify
//!  Reply   ◄─ outcome::reply ◄────┘            │
//!  read, session ─► pool ─► Tables             ├─► flusher: flush, checkpoint, release
//!  fetch ─► the log's ring, or pool ─► files   └─► duties: trim, expire, sweep, check
//! ```
//!
//! Wiring, for the binary and for tests alike:
//!
//! ```text
//! let started = local::start(LocalOptions { fs, dir, tables, clock, settings, incarnation, birth }, &mut |progress| …)?;
//! let Started { local, stopper } = started;    // local: Arc<Local<T>>, which is a compute::port::Broker
//! select! { failed = local.failed() => exit(failed), () = drained => stopper.stop() }    // both block: not on a worker
//! ```
//!
//! The log lies in `dir/log`; a file `dir/hosted` names the incarnation of the gateway that was hosted here last. The
//! caller opens the tables, in a directory of its own, before it calls [`start`]: replay needs them.
//!
//! Generic over tables and file system, so on [`causeway_apply::Twin`] and [`causeway_storage::io::Sim`] it *is* the
//! in-memory port of the tests: see [`memory`].

mod broker;
mod command;
mod duty;
mod error;
mod flush;
mod machine;
pub mod memory;
mod notify;
mod outcome;
mod overview;
mod read;
mod settings;
mod start;

pub use broker::Local;
pub use duty::PutOff;
pub use error::Error;
pub use settings::{Duty, Flush, MAX_MESSAGE_BYTES, Reads, Retention, Settings, Watermarks};
pub use start::{Birth, LocalOptions, Started, Stopper, start};
