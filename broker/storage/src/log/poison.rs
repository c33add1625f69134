//! The first failure that makes every later promise worthless, kept for ever.
//!
//! After a failed sync nobody knows which pages reached the disk, and the kernel calls them clean: a second sync that
//! succeeds says nothing about them ("Can Applications Recover from fsync Failures?", USENIX ATC '20). So writes stop, reads
//! go on, and only a restart, which reads back what there is, can go on writing.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};

/// Whether the log may still be written.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<Arc<str>>);

impl Poison {
    /// Refuses once the log is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        match self.0.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }

    /// The first failure, in words.
    pub(crate) fn cause(&self) -> Option<Arc<str>> {
        self.0.get().cloned()
    }

    /// Poisons the log, unless it is already, and hands the failure on.
    pub(crate) fn by<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| {
            if self.0.set(error.to_string().into()).is_ok() {
                tracing::error!(%error, "log is poisoned: writes stop, restart to go on");
            }
        })
    }
}
