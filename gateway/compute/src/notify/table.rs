//! Who waits for which queue on one shard, and the hand-out of frames to them. No I/O and no waiting: a caller holds
//! a lock around each call and lets go of it between the steps of a large frame.
//!
//! **The boundary**: `attach` returns a position P; every entry of the queue with a stamp above P is hinted (or its
//! mailbox is marked lagging over it). It holds because a step hands out everything that it passes before it returns,
//! and the boundary is the last stamp that any step passed.

use std::sync::Arc;
use std::task::Waker;

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
    /// Bound on the work of a step.
    bound: usize,
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

/// A frame, or news of a gap, on its way to all mailboxes: step by step, with the lock let go in between.
#[derive(Debug)]
pub(super) struct Delivery {
    frame: Option<Arc<Frame>>,
    at: Cursor,
    gap: Gap,
    /// Where the shard is when it is done.
    pub(super) to: Position,
    /// Readers that the last step has given something: the caller wakes them when it has let go of the lock.
    pub(super) wakers: Vec<Waker>,
}

/// How far a frame has been handed out.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    notice: usize,
    queue: usize,
}

#[derive(Clone, Copy, Debug)]
enum Gap {
    /// Entries up to here did not come, unless they did before.
    Upto(Position),
    /// Mailboxes in slots below `next` are marked.
    Marking {
        upto: Position,
        next: usize,
    },
    None,
}

impl Delivery {
    /// A frame; what lies between it and the one before, or all of it if it was collapsed, is a gap.
    pub(super) fn frame(frame: Arc<Frame>) -> Self {
        let upto = if frame.collapsed { frame.to } else { frame.from };
        Self { at: Cursor::default(), gap: Gap::Upto(upto), to: frame.to, frame: Some(frame), wakers: Vec::new() }
    }

    /// Entries up to here come in no frame.
    pub(super) fn gap(upto: Position) -> Self {
        Self { at: Cursor::default(), gap: Gap::Upto(upto), to: upto, frame: None, wakers: Vec::new() }
    }
}

#[cfg(test)]
impl Delivery {
    pub(super) fn is_marking(&self) -> bool {
        matches!(self.gap, Gap::Marking { .. })
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) done: bool,
    pub(super) gap: bool,
    pub(super) hints: u64,
    pub(super) overflows: u64,
}

impl Table {
    pub(super) fn new(shard: ShardId, dispatched: Position, bound: usize) -> Self {
        Self {
            shard,
            dispatched,
            bound,
            queues: QueueIdMap::default(),
            slots: Vec::new(),
            staged: Vec::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn dispatched(&self) -> Position {
        self.dispatched
    }

    #[cfg(test)]
    pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.slots.iter().all(|slot| slot.mailbox.is_none() && slot.queues == 0)
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

    /// Removes a subscriber that is there; whether it was the queue's last.
    pub(super) fn detach(&mut self, queue: QueueId, number: u32) -> bool {
        let Some(subscribers) = self.queues.get_mut(&queue) else { return false };
        let Some(at) = subscribers.iter().position(|other| *other == number) else { return false };
        subscribers.swap_remove(at);
        let last = subscribers.is_empty();
        if last {
            self.queues.remove(&queue);
        }
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.queues = slot.queues.saturating_sub(1);
            if slot.queues == 0 {
                slot.mailbox = None;
            }
        }
        last
    }

    /// Does the next part of a delivery.
    pub(super) fn step(&mut self, delivery: &mut Delivery) -> Step {
        match delivery.gap {
            Gap::Upto(upto) if upto > self.dispatched => {
                // The boundary moves before the marks are made: whoever attaches in between starts above the gap.
                self.dispatched = upto;
                delivery.gap = self.lag(upto, 0, &mut delivery.wakers);
                // Without a subscriber nobody has to read the index for it.
                Step { gap: !self.queues.is_empty(), ..Step::default() }
            }
            Gap::Marking { upto, next } => {
                delivery.gap = self.lag(upto, next, &mut delivery.wakers);
                Step::default()
            }
            Gap::Upto(_) | Gap::None => {
                delivery.gap = Gap::None;
                let frame = delivery.frame.as_deref();
                frame.map_or(Step { done: true, ..Step::default() }, |frame| {
                    self.hint(frame, &mut delivery.at, &mut delivery.wakers)
                })
            }
        }
    }

    fn hint(&mut self, frame: &Frame, at: &mut Cursor, wakers: &mut Vec<Waker>) -> Step {
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
            if work >= self.bound {
                break;
            }
        }
        let mut step = self.hand_out(frame, wakers);
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

    fn hand_out(&mut self, frame: &Frame, wakers: &mut Vec<Waker>) -> Step {
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
                step.overflows += u64::from(mailbox.deliver(self.shard, arrivals, wakers));
            }
        }
        self.staged.clear();
        self.staged.shrink_to(4 * self.bound);
        self.touched.shrink_to(4 * self.bound);
        step
    }

    /// Marks mailboxes from slot `from` on.
    fn lag(&mut self, upto: Position, from: usize, wakers: &mut Vec<Waker>) -> Gap {
        let next = from.saturating_add(self.bound).min(self.slots.len());
        for mailbox in self.slots.get(from..next).into_iter().flatten().filter_map(|slot| slot.mailbox.as_ref()) {
            mailbox.lag(self.shard, upto, wakers);
        }
        if next < self.slots.len() { Gap::Marking { upto, next } } else { Gap::None }
    }
}
