//! From the log thread to the apply thread: durable batches, in order, as many as the budget holds.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use causeway_storage::Batch;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::Priority;
use crate::committer::Answer;

/// Who waits for how many of a batch's records.
pub(super) struct Waiter<O> {
    pub(super) records: u32,
    pub(super) priority: Priority,
    pub(super) done: oneshot::Sender<Answer<O>>,
}

/// A durable batch with those who wait for it.
pub(super) struct Durable<O> {
    pub(super) batch: Arc<Batch>,
    pub(super) waiters: Vec<Waiter<O>>,
}

impl<O> Durable<O> {
    fn bytes(&self) -> usize {
        usize::try_from(self.batch.header.length).unwrap_or(usize::MAX)
    }
}

pub(super) struct Handover<O> {
    state: Mutex<State<O>>,
    filled: Condvar,
    emptied: Condvar,
    budget: usize,
}

struct State<O> {
    batches: VecDeque<Durable<O>>,
    bytes: usize,
    open: bool,
}

impl<O> Handover<O> {
    /// Holds batches of up to `budget` bytes in all, and always one.
    pub(super) fn new(budget: usize) -> Self {
        let state = State { batches: VecDeque::new(), bytes: 0, open: true };
        Self { state: Mutex::new(state), filled: Condvar::new(), emptied: Condvar::new(), budget }
    }

    /// Hands a batch on; waits while the budget is used up. False if nobody takes batches any more.
    pub(super) fn push(&self, durable: Durable<O>) -> bool {
        let mut state = self.state.lock();
        while state.open && state.bytes >= self.budget {
            self.emptied.wait(&mut state);
        }
        if !state.open {
            return false;
        }
        state.bytes = state.bytes.saturating_add(durable.bytes());
        state.batches.push_back(durable);
        drop(state);
        self.filled.notify_one();
        true
    }

    /// Swaps all batches that wait into `run`, which is empty; sleeps while there are none. False at the end.
    pub(super) fn take(&self, run: &mut VecDeque<Durable<O>>) -> bool {
        let mut state = self.state.lock();
        while state.batches.is_empty() {
            if !state.open {
                return false;
            }
            self.filled.wait(&mut state);
        }
        state.bytes = 0;
        mem::swap(run, &mut state.batches);
        drop(state);
        self.emptied.notify_one();
        true
    }

    /// No more batches will come, or none is taken any more.
    pub(super) fn close(&self) {
        self.state.lock().open = false;
        self.filled.notify_one();
        self.emptied.notify_one();
    }
}
