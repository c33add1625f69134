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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use causeway_model::{Lineage, Millis};
    use causeway_storage::{Ahead, BatchKind, Draft, Group, GroupBuilder, Sim};

    use super::*;

    /// Batches of this many bytes each.
    fn batches(count: u64, bytes: usize) -> Vec<Arc<Batch>> {
        let options = causeway_storage::Options { ahead: Ahead::Inline, segment_bytes: 1 << 20, ..Default::default() };
        let log = causeway_storage::create(Arc::new(Sim::new(1)), Path::new("/log"), options, Lineage(1)).unwrap();
        let mut writer = log.writer;
        let group = || -> Group {
            let mut builder = GroupBuilder::with_capacity(bytes);
            builder.record(|buf| buf.resize(buf.len() + bytes, 1));
            builder.finish()
        };
        let draft = |index| {
            let (kind, time) = (BatchKind::Data, Millis(1));
            Draft { kind, term: 1, index, committed: index.saturating_sub(1), time, groups: vec![group()] }
        };
        (0..count).map(|index| writer.append(draft(index)).unwrap()).collect()
    }

    fn durable(batch: &Arc<Batch>) -> Durable<()> {
        Durable { batch: Arc::clone(batch), waiters: Vec::new() }
    }

    #[test]
    fn batches_come_in_order_as_one_run_however_the_threads_meet() {
        let batches = batches(200, 1000);
        let handover = Handover::new(5_000);
        let mut seen = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(batches.iter().all(|batch| handover.push(durable(batch))));
                handover.close();
            });
            let mut run = VecDeque::new();
            while handover.take(&mut run) {
                let bytes: usize = run.iter().map(Durable::bytes).sum();
                assert!(bytes <= 5_000 + 1_008, "at most one batch over the budget: {bytes}");
                seen.extend(run.drain(..).map(|durable| durable.batch.header.index));
            }
        });
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[test]
    fn a_closed_one_takes_nothing_and_lets_a_waiting_pusher_go() {
        let batches = batches(2, 1000);
        let handover = Handover::new(10);
        assert!(handover.push(durable(&batches[0])));
        thread::scope(|scope| {
            let waits = scope.spawn(|| handover.push(durable(&batches[1])));
            handover.close();
            assert!(!waits.join().unwrap());
        });
        let mut run = VecDeque::new();
        assert!(handover.take(&mut run), "what is inside comes out");
        run.clear();
        assert!(!handover.take(&mut run));
    }
}
