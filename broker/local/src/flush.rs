//! Makes tables durable, and says what of the log nobody needs any more.
//!
//! A thread of its own: a flush waits for the disk, and the apply thread must not. In this order, so that whatever goes
//! is covered by what stays:
//!
//! ```text
//! read mark and first position ─► flush, waited ─► floor of the index ─► checkpoint, if segments could go ─► release
//! ```

use std::sync::Arc;
use std::time::Duration;

use causeway_apply::{ApplyError, Durable, read};
use causeway_model::Position;
use parking_lot::{Condvar, Mutex};

use crate::settings::Flush;

/// What the apply thread tells the flusher.
pub(crate) struct Dirty {
    state: Mutex<State>,
    wake: Condvar,
    done: Condvar,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    applied: Position,
    flushed: Position,
    hurry: bool,
    stop: bool,
    /// Nobody flushes any more.
    ended: bool,
}

impl State {
    fn behind(&self) -> u64 {
        self.applied.0.saturating_sub(self.flushed.0)
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Now,
    /// And then no more.
    Last,
    /// Stopped, with nothing to flush.
    Never,
}

impl Dirty {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { state: Mutex::default(), wake: Condvar::new(), done: Condvar::new(), bytes }
    }

    /// Everything below is applied. Wakes the flusher when there was nothing to flush before, or now is enough.
    pub(crate) fn applied(&self, upto: Position) {
        let mut state = self.state.lock();
        let before = state.behind();
        state.applied = upto;
        let now = state.behind();
        if before == 0 || (before < self.bytes && now >= self.bytes) {
            self.wake.notify_one();
        }
    }

    /// What is applied is durable already: where the tables were opened.
    pub(crate) fn opened(&self, at: Position) {
        let mut state = self.state.lock();
        state.applied = at;
        state.flushed = at;
    }

    /// What is applied is to be flushed now.
    pub(crate) fn hurry(&self) {
        self.state.lock().hurry = true;
        self.wake.notify_one();
    }

    /// Waits until all that is applied now is flushed and released. False if nobody flushes any more.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.state.lock();
        let upto = state.applied;
        state.hurry = true;
        self.wake.notify_one();
        self.done.wait_while(&mut state, |state| state.flushed < upto && !state.ended);
        state.flushed >= upto
    }

    fn flushed(&self, upto: Position) {
        let mut state = self.state.lock();
        state.flushed = state.flushed.max(upto);
        self.done.notify_all();
    }

    fn end(&self) {
        self.state.lock().ended = true;
        self.done.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_one();
    }

    /// Sleeps until a flush is due.
    fn wait(&self, interval: Duration) -> Due {
        let mut state = self.state.lock();
        while state.behind() == 0 && !state.stop {
            self.wake.wait(&mut state);
        }
        // Dirty: wait for more, but not for ever.
        let early = |state: &mut State| state.behind() < self.bytes && !state.hurry && !state.stop;
        self.wake.wait_while_for(&mut state, early, interval);
        state.hurry = false;
        match (state.stop, state.behind()) {
            (false, _) => Due::Now,
            (true, 0) => Due::Never,
            (true, _) => Due::Last,
        }
    }
}

/// The rest of what a flush needs; lives on the flusher's thread.
pub(crate) struct Flusher<T> {
    pub(crate) tables: Arc<T>,
    pub(crate) dirty: Arc<Dirty>,
    pub(crate) settings: Flush,
    /// A checkpoint is worth taking when it lets so many bytes of log go.
    pub(crate) step_bytes: u64,
    /// How far checkpoints allow the log to be cut.
    pub(crate) cut: Position,
    /// Lets the log go below a position.
    pub(crate) release: Box<dyn Fn(Position) + Send>,
}

impl<T: Durable> Flusher<T> {
    /// Runs until stopped, flushes once more, and says why if it cannot go on.
    pub(crate) fn run(mut self) -> Result<(), ApplyError> {
        let result = self.flush_until_stopped();
        self.dirty.end();
        result
    }

    fn flush_until_stopped(&mut self) -> Result<(), ApplyError> {
        loop {
            match self.dirty.wait(self.settings.interval) {
                Due::Now => self.flush()?,
                Due::Last => return self.flush(),
                Due::Never => return Ok(()),
            }
        }
    }

    fn flush(&mut self) -> Result<(), ApplyError> {
        // Read before the flush, so that it covers them.
        let mark = read::applied(&*self.tables)?;
        let first = read::first(&*self.tables)?;
        self.tables.flush()?;
        self.tables.set_floor(first);
        // The log may be cut below the older of two checkpoints. Usually that one is far above what is trimmed and one
        // new checkpoint is enough; after a deep trim, or the very first one, a second makes the pair. Waiting for the
        // next flush instead could be for ever: on a full disk nothing is written until something goes.
        for _ in 0..2 {
            if first.0.saturating_sub(self.cut.0) >= self.step_bytes {
                self.cut = self.tables.checkpoint()?;
            }
        }
        (self.release)(first.min(self.cut));
        self.dirty.flushed(mark.position);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
