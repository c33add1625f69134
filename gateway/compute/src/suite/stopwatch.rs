//! A clock that can be stopped, for worlds whose shard runs in this process.

use std::sync::Arc;

use causeway_model::{Clock, Millis};
use parking_lot::{Condvar, Mutex};

/// Shows the same time for ever, and while it is stalled lets whoever asks wait: a log thread asks before it appends a
/// batch, so a stalled clock is a stalled shard.
#[derive(Debug, Default)]
pub struct Stopwatch {
    stalled: Mutex<bool>,
    resumed: Condvar,
}

/// The clock stands until this is dropped.
#[derive(Debug)]
pub struct Stalled(Arc<Stopwatch>);

impl Stopwatch {
    /// Stalls the clock.
    pub fn stall(self: &Arc<Self>) -> Stalled {
        *self.stalled.lock() = true;
        Stalled(Arc::clone(self))
    }
}

impl Clock for Stopwatch {
    fn now(&self) -> Millis {
        let mut stalled = self.stalled.lock();
        self.resumed.wait_while(&mut stalled, |stalled| *stalled);
        Millis(1_700_000_000_000)
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        *self.0.stalled.lock() = false;
        self.0.resumed.notify_all();
    }
}
