//! A full disk: waited out, for a while.
//!
//! RocksDB refuses writes when it cannot flush, changes nothing, and goes on by itself within seconds once there is
//! space. To fail the call would stop the shard, and with it reads, for something that passes; so the one thread that
//! writes and the one that flushes wait, publishes behind them are refused as busy, and reads go on. The leader trims
//! and refuses by watermarks long before this.

use std::thread;
use std::time::Duration;

use rocksdb::WriteBatch;

use crate::Db;
use crate::tables::unlogged;

/// Between two looks. RocksDB's own are some seconds apart.
const PAUSE: Duration = Duration::from_millis(250);

impl Db {
    /// Does it once there is space for it, or fails when the patience is over.
    pub(crate) fn with_space(
        &self,
        operation: &'static str,
        attempt: impl FnMut() -> Result<(), rocksdb::Error>,
    ) -> Result<(), rocksdb::Error> {
        // An empty batch: refused until RocksDB has recovered. To ask by another flush instead would keep it from
        // ever doing so, since it first waits for all flushes that were asked for.
        let look = || self.rocks.write_opt(WriteBatch::default(), &unlogged());
        until_there_is_space(operation, self.full_wait, attempt, look)
    }
}

/// Repeats what failed for want of space when a look shows that there is some, until it does not or `patience` is over.
fn until_there_is_space<E: AsRef<str>>(
    operation: &'static str,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), E>,
    mut look: impl FnMut() -> Result<(), E>,
) -> Result<(), E> {
    let mut left = patience;
    let mut done = attempt();
    while let Err(error) = &done
        && is_full(error.as_ref())
        && left > Duration::ZERO
    {
        if left == patience {
            tracing::warn!(operation, error = error.as_ref(), "the index's disk is full: waiting for space");
        }
        thread::sleep(PAUSE.min(left));
        left = left.saturating_sub(PAUSE);
        done = look();
        if done.is_ok() {
            done = attempt();
        }
    }
    if left < patience && done.is_ok() {
        tracing::info!(operation, "the index's disk has space again");
    }
    done
}

/// RocksDB has a code for it, which its C interface drops; the text is the system's, in one language.
fn is_full(message: &str) -> bool {
    message.contains("No space left on device") || message.contains("Disk quota exceeded")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "IO error: No space left on device: While appending to file: 000018.sst";

    /// Attempts and looks fail so many times each.
    fn tries(attempts: usize, looks: usize, message: &'static str, patience: Duration) -> (bool, usize, usize) {
        let counted = |left: usize, count: &mut usize| {
            *count += 1;
            if *count <= left { Err(message) } else { Ok(()) }
        };
        let (mut attempted, mut looked) = (0, 0);
        let attempt = || counted(attempts, &mut attempted);
        let done = until_there_is_space("write", patience, attempt, || counted(looks, &mut looked));
        (done.is_ok(), attempted, looked)
    }

    #[test]
    fn only_want_of_space_is_waited_out_and_not_for_ever() {
        let second = Duration::from_secs(1);
        assert_eq!(tries(0, 0, FULL, second), (true, 1, 0));
        assert_eq!(tries(1, 2, FULL, second), (true, 2, 3));
        assert_eq!(tries(2, 0, FULL, second), (true, 3, 2));
        assert_eq!(tries(9, 0, FULL, 2 * PAUSE), (false, 3, 2));
        assert_eq!(tries(1, 9, FULL, 2 * PAUSE), (false, 1, 2));
        assert_eq!(tries(9, 0, FULL, Duration::ZERO), (false, 1, 0));
        assert_eq!(tries(9, 0, "Corruption: bad block", second), (false, 1, 0));
    }
}
