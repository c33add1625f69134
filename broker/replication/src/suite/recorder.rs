//! A state machine that remembers what it is given.

use std::sync::Arc;

use bytes::Bytes;
use causeway_model::Position;
use causeway_storage::{Batch, Mark};
use parking_lot::{Condvar, Mutex};

use crate::{Applied, StateMachine};

/// What a [`Recorder`] saw; outlives it, as tables on a disk do.
#[derive(Default)]
pub struct Journal {
    seen: Mutex<Seen>,
    resumed: Condvar,
}

/// See [`Journal`].
#[derive(Clone, Default)]
pub struct Seen {
    /// Up to where batches were applied.
    pub mark: Mark,
    /// Each record: where it is, what it says, whether it was applied live.
    pub records: Vec<(Position, Bytes, bool)>,
    /// Each batch's term and index.
    pub batches: Vec<(u64, u64)>,
    paused: bool,
}

/// A state machine that remembers what it is given. The outcome of a record is its number since the beginning; the
/// record `poison` is refused.
pub struct Recorder(pub Arc<Journal>);

/// What a [`Recorder`] does not take.
#[derive(Debug, thiserror::Error)]
#[error("poison at {0}")]
pub struct Poison(Position);

impl Journal {
    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// The texts of all records.
    pub fn texts(&self) -> Vec<String> {
        self.seen.lock().records.iter().map(|(_, payload, _)| text(payload)).collect()
    }

    /// Goes back to what another journal saw, as tables do that lose what was not flushed.
    pub fn rewind(&self, to: &Seen) {
        *self.seen.lock() = to.clone();
    }

    /// Makes the next run wait until the answer is dropped.
    pub fn pause(self: &Arc<Self>) -> impl Drop + use<> {
        self.seen.lock().paused = true;
        Resume(Arc::clone(self))
    }
}

struct Resume(Arc<Journal>);

impl Drop for Resume {
    fn drop(&mut self) {
        self.0.seen.lock().paused = false;
        self.0.resumed.notify_all();
    }
}

impl StateMachine for Recorder {
    type Outcome = u64;
    type Error = Poison;

    fn applied(&self) -> Mark {
        self.0.seen.lock().mark
    }

    fn apply(&mut self, run: &[Arc<Batch>], live: bool, outcomes: &mut Vec<Applied<u64>>) -> Result<(), Poison> {
        let mut seen = self.0.seen.lock();
        while live && seen.paused {
            self.0.resumed.wait(&mut seen);
        }
        for batch in run {
            assert_eq!(batch.header.position, seen.mark.position, "batches follow one another");
            for (position, payload) in batch.records() {
                if &*payload == b"poison" {
                    return Err(Poison(position));
                }
                outcomes.push(Applied { position, outcome: seen.records.len() as u64 });
                seen.records.push((position, payload, live));
            }
            seen.batches.push((batch.header.term, batch.header.index));
            seen.mark = Mark { index: batch.header.index, term: batch.header.term, position: batch.end() };
        }
        Ok(())
    }
}

pub(super) fn text(payload: &Bytes) -> String {
    String::from_utf8(payload.to_vec()).unwrap()
}
