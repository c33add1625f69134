//! Who waits for which queue on one shard, and the hand-out of frames to them. No I/O and no waiting: a caller holds
//! a lock around each call and lets go of it between the steps of a large frame.
//!
//! **The boundary**: `attach` returns a position P; every entry of the queue with a stamp above P is hinted (or its
//! mailbox is marked lagging over it). It holds because a step hands out everything that it passes before it returns,
//! and the boundary is the last stamp that any step passed.

use std::sync::Arc;

use causeway_model::{Position, QueueId, QueueIdMap, ShardId};
use smallvec::SmallVec;

use super::mailbox::Shared;
use crate::port::Frame;

/// Lookups and hints of one step: some 100 µs at most, so that whoever attaches in between never waits long. The
/// queues of one notice are never split, since a mailbox gets one hint a stamp.
pub(super) const STEP: usize = 2048;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Table {
    shard: ShardId,
    dispatched: Position,
    queues: QueueIdMap<SmallVec<[u32; 4]>>,
    slots: Vec<Slot>,
    staged: Vec<Staged>,
    touched: Vec<u32>,
}

/// A mailbox as this shard knows it. Its number is the same on every shard.
#[derive(Debug, Default)]
struct Slot {
    mailbox: Option<Arc<Shared>>,
    queues: u32,
    /// First and last of its entries in `staged`.
    first: Option<u32>,
    last: u32,
}

/// One (notice, queue) for one mailbox, chained, so that each mailbox is locked and woken once a step.
#[derive(Clone, Copy, Debug)]
struct Staged {
    notice: u32,
    queue: u32,
    next: u32,
}

/// How far a frame has been handed out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor {
    notice: usize,
    queue: usize,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) done: bool,
    pub(super) hints: u64,
    pub(super) overflows: u64,
}

impl Table {
    pub(super) fn new(shard: ShardId, dispatched: Position) -> Self {
        Self {
            shard,
            dispatched,
            queues: QueueIdMap::default(),
            slots: Vec::new(),
            staged: Vec::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn dispatched(&self) -> Position {
        self.dispatched
    }

    /// Adds a subscriber that is not there yet.
    pub(super) fn attach(&mut self, queue: QueueId, number: u32, mailbox: &Arc<Shared>) -> Position {
        let index = number as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.mailbox.get_or_insert_with(|| Arc::clone(mailbox));
            slot.queues += 1;
        }
        self.queues.entry(queue).or_default().push(number);
        self.dispatched
    }

    /// Removes a subscriber that is there.
    pub(super) fn detach(&mut self, queue: QueueId, number: u32) {
        let Some(subscribers) = self.queues.get_mut(&queue) else { return };
        let Some(at) = subscribers.iter().position(|other| *other == number) else { return };
        subscribers.swap_remove(at);
        if subscribers.is_empty() {
            self.queues.remove(&queue);
        }
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.queues = slot.queues.saturating_sub(1);
            if slot.queues == 0 {
                slot.mailbox = None;
            }
        }
    }

    /// Hands out the next part of a frame.
    pub(super) fn step(&mut self, frame: &Frame, at: &mut Cursor) -> Step {
        if self.queues.is_empty() {
            *at = Cursor { notice: frame.notices.len(), queue: frame.queues.len() };
        }
        let mut work = 0;
        while let Some(notice) = frame.notices.get(at.notice) {
            let stamp = notice.stamp.position();
            let upto = frame.queues.len().min(at.queue + usize::from(notice.queues));
            // A stamp at or below was handed out before: streams that begin anew may overlap.
            if stamp > self.dispatched {
                for index in at.queue..upto {
                    work += 1 + self.stage(frame, at.notice, index);
                }
                self.dispatched = stamp;
            }
            *at = Cursor { notice: at.notice + 1, queue: upto };
            if work >= STEP {
                break;
            }
        }
        let mut step = self.hand_out(frame);
        step.done = at.notice >= frame.notices.len();
        if step.done {
            self.dispatched = self.dispatched.max(frame.to);
        }
        step
    }

    fn stage(&mut self, frame: &Frame, notice: usize, queue: usize) -> usize {
        let Some(subscribers) = frame.queues.get(queue).and_then(|id| self.queues.get(id)) else { return 0 };
        #[expect(clippy::cast_possible_truncation, reason = "a frame is bounded far below 2^32 queues")]
        let (notice, queue) = (notice as u32, queue as u32);
        for number in subscribers {
            let Some(slot) = self.slots.get_mut(*number as usize) else { continue };
            #[expect(clippy::cast_possible_truncation, reason = "bounded by subscribers plus STEP")]
            let index = self.staged.len() as u32;
            self.staged.push(Staged { notice, queue, next: NONE });
            if slot.first.is_none() {
                slot.first = Some(index);
                self.touched.push(*number);
            } else if let Some(last) = self.staged.get_mut(slot.last as usize) {
                last.next = index;
            }
            slot.last = index;
        }
        subscribers.len()
    }

    fn hand_out(&mut self, frame: &Frame) -> Step {
        let mut step = Step { hints: self.staged.len() as u64, ..Step::default() };
        for number in self.touched.drain(..) {
            let Some(slot) = self.slots.get_mut(number as usize) else { continue };
            let mut next = slot.first.take().unwrap_or(NONE);
            let staged = &self.staged;
            let arrivals = std::iter::from_fn(|| {
                let entry = staged.get(next as usize)?;
                next = entry.next;
                Some((frame.notices.get(entry.notice as usize)?, *frame.queues.get(entry.queue as usize)?))
            });
            if let Some(mailbox) = &slot.mailbox {
                step.overflows += u64::from(mailbox.deliver(self.shard, arrivals));
            }
        }
        self.staged.clear();
        self.staged.shrink_to(4 * STEP);
        self.touched.shrink_to(4 * STEP);
        step
    }

    /// Begins to mark everybody lagging up to a position. The boundary moves first: whoever attaches while the marks
    /// are being made starts above the gap.
    pub(super) fn skip_to(&mut self, upto: Position) {
        self.dispatched = self.dispatched.max(upto);
    }

    /// Marks the next mailboxes from slot `from`; returns where to go on, if there are more.
    pub(super) fn lag(&mut self, upto: Position, from: usize) -> Option<usize> {
        let next = from.saturating_add(STEP).min(self.slots.len());
        for mailbox in self.slots.get(from..next)?.iter().filter_map(|slot| slot.mailbox.as_ref()) {
            mailbox.lag(self.shard, upto);
        }
        (next < self.slots.len()).then_some(next)
    }
}
