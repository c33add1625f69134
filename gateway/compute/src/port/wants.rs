//! Which queues a reader of notify wants to hear of, so that a broker need not tell it of all.
//!
//! ```text
//!  reader   add, remove ─► list ─► changes, numbered ─► whoever narrows the stream (the link, in its broker)
//!           registered  ◄───────── answered: from this position on the change counts
//! ```
//!
//! **A list only ever narrows, and any doubt means all**: a stream names every queue until a whole list has reached the
//! broker, and again whenever a stream begins anew. So a queue that is on the list is named in every frame above the
//! position at which its change was answered.

use std::collections::hash_map::Entry;

use causeway_model::{Position, QueueId, QueueIdMap};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Most queues of one change: 64 KiB of ids.
pub const CHANGE: usize = 4096;

/// The list of one reader on one shard.
#[derive(Debug, Default)]
pub struct Wants {
    state: Mutex<State>,
    changed: Notify,
    answered: watch::Sender<Answered>,
}

/// What has been said to be in force: changes up to this number, from this position on.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    number: u64,
    from: Position,
}

#[derive(Debug, Default)]
struct State {
    /// The stream names every queue, come what may: no list is kept.
    all: bool,
    /// Queues that are wanted, each with the number of the change that last named it; [`NOT_YET`] before.
    wanted: QueueIdMap<u64>,
    /// What is not handed out yet: the last word on each queue.
    changes: QueueIdMap<bool>,
    /// What is left of a whole list that is being handed out.
    whole: Option<Vec<QueueId>>,
    /// Number of the last change. The next one waits until it is answered, so that what comes meanwhile is one change.
    last: u64,
    /// How many streams have begun.
    streams: u64,
}

/// No change has named the queue.
const NOT_YET: u64 = u64::MAX;

/// One change of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Counts from 1; the answer names it.
    pub number: u64,
    /// Queues to hear of.
    pub add: Vec<QueueId>,
    /// Queues to hear of no more.
    pub remove: Vec<QueueId>,
    /// It is part of a whole list, and not the last one: nothing is left out yet.
    pub more: bool,
}

impl Wants {
    /// The stream names every queue: nothing is listed, and nobody waits.
    pub fn everything(&self) {
        *self.state.lock() = State { all: true, ..State::default() };
        self.answered.send_modify(|answered| answered.number = u64::MAX);
    }

    /// The reader wants to hear of a queue; twice is once. Some: frames above the position name it, as if it had just
    /// been [`Wants::registered`]. None: that is yet to come.
    pub fn add(&self, queue: QueueId) -> Option<Position> {
        // Read first: who waits holds it while it looks at the state.
        let answered = *self.answered.borrow();
        let mut state = self.state.lock();
        if state.all {
            return Some(answered.from);
        }
        let number = match state.wanted.entry(queue) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                new.insert(NOT_YET);
                state.changes.insert(queue, true);
                self.changed.notify_one();
                NOT_YET
            }
        };
        (number <= answered.number).then_some(answered.from)
    }

    /// The reader does not want to hear of a queue any more.
    pub fn remove(&self, queue: QueueId) {
        let mut state = self.state.lock();
        if state.wanted.remove(&queue).is_some() {
            state.changes.insert(queue, false);
            self.changed.notify_one();
        }
    }

    /// Waits until frames name a queue that was added: they do above the position.
    pub async fn registered(&self, queue: QueueId) -> Position {
        let named = |answered: &Answered| {
            let state = self.state.lock();
            // Removed meanwhile: there is nothing to wait for.
            state.wanted.get(&queue).is_none_or(|number| *number <= answered.number)
        };
        let mut answers = self.answered.subscribe();
        // The sender is part of self, so it cannot be gone.
        answers.wait_for(named).await.map_or(Position(0), |answered| answered.from)
    }

    /// How many queues are wanted.
    pub fn len(&self) -> usize {
        self.state.lock().wanted.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A stream begins that knows nothing: its first changes are the whole list. Its number, for [`Wants::change`].
    pub fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        debug_assert!(!state.all, "nothing is listed where everything is named");
        state.changes = QueueIdMap::default();
        state.whole = Some(state.wanted.keys().copied().collect());
        state.streams += 1;
        self.changed.notify_one();
        state.streams
    }

    /// The next change for a stream; `None` once another has begun. Cancel safe; for one caller a stream.
    pub async fn change(&self, stream: u64) -> Option<Change> {
        loop {
            let change = {
                let answered = self.answered.borrow().number;
                let mut state = self.state.lock();
                if state.streams != stream {
                    // The call may have been for the other.
                    self.changed.notify_one();
                    return None;
                }
                if state.whole.is_some() || state.last <= answered { state.change() } else { None }
            };
            if change.is_some() {
                return change;
            }
            self.changed.notified().await;
        }
    }

    /// A change is in force: frames above `from` name what it added.
    pub fn answered(&self, number: u64, from: Position) {
        let newer = self.answered.send_if_modified(|answered| {
            let newer = number > answered.number;
            if newer {
                *answered = Answered { number, from };
            }
            newer
        });
        if newer {
            self.changed.notify_one();
        }
    }
}

impl State {
    /// The next change, if there is one.
    fn change(&mut self) -> Option<Change> {
        let number = self.last + 1;
        let mut change = Change { number, add: Vec::new(), remove: Vec::new(), more: false };
        if let Some(whole) = &mut self.whole {
            change.add = whole.split_off(whole.len().saturating_sub(CHANGE));
            change.more = !whole.is_empty();
            if !change.more {
                self.whole = None;
            }
        } else if self.changes.is_empty() {
            return None;
        } else {
            for (queue, wanted) in self.changes.extract_if(|_, _| true).take(CHANGE) {
                if wanted { change.add.push(queue) } else { change.remove.push(queue) }
            }
            if self.changes.is_empty() {
                self.changes = QueueIdMap::default();
            }
        }
        for queue in &change.add {
            // One that was removed while the whole list was handed out stays removed: that is another change.
            self.wanted.entry(*queue).and_modify(|of| *of = number);
        }
        self.last = number;
        Some(change)
    }
}

#[cfg(test)]
mod tests;
