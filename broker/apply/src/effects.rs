//! Everything that a run of batches brings about, in buffers that are used again for the next run.

use causeway_model::{Millis, Position, QueueId, Stamp};

use crate::{EntryFlags, Event, Mutations, Outcome};

/// What applying a run of batches brings about. One value may collect many batches; write its mutations, hand out the
/// rest, [`Effects::clear`] it, go on. Clearing before writing loses mutations that apply believes written.
#[derive(Debug, Default)]
pub struct Effects {
    /// The rows to write as one atomic batch, the applied mark among them.
    pub mutations: Mutations,
    /// One a record, in order.
    pub outcomes: Vec<Outcome>,
    /// The messages that entered queues, in stamp order.
    pub entered: Vec<Entered>,
    /// The queues of all of `entered`, back to back: each takes [`Entered::queues`] of them.
    pub queues: Vec<QueueId>,
    /// What else happened.
    pub events: Vec<Event>,
    /// Replaying: only mutations are wanted; outcomes, entries and events stay empty.
    pub replay: bool,
}

/// One message that entered queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    /// The record that made the entries.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body, from its kind on.
    pub length: u32,
    /// When it was stored.
    pub time: Millis,
    /// What a reader may want to know before fetching.
    pub flags: EntryFlags,
    /// How many of the queue ids are its. The id of kind `All` stands for the namespace's `#`.
    pub queues: u16,
}

impl Effects {
    /// Empty, for live batches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Empty, for replay: nobody waits for outcomes and nobody is told.
    pub fn for_replay() -> Self {
        Self { replay: true, ..Self::default() }
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.mutations.clear();
        self.outcomes.clear();
        self.entered.clear();
        self.queues.clear();
        self.events.clear();
    }

    pub(crate) fn event(&mut self, event: Event) {
        if !self.replay {
            self.events.push(event);
        }
    }
}
