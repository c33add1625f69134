//! What one connection is told, and the bound on it: a slow client holds a position, never a buffer.

use std::sync::Arc;
use std::task::{Poll, Waker};

use causeway_model::{Position, QueueId, ShardId, Stamp};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Hub;
use crate::port::{EntryFlags, Notice};

/// The attached queues that a message entered; two fit without an allocation.
pub type Matched = SmallVec<[QueueId; 2]>;

/// A message entered queues that this mailbox is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The shard whose log holds it.
    pub shard: ShardId,
    /// The record that made the entries; increasing within a shard, once each.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body.
    pub length: u32,
    /// What may be known before fetching.
    pub flags: EntryFlags,
    /// Which of the attached queues.
    pub queues: Matched,
}

/// What [`Mailbox::take`] could not give as hints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "lagging shards must be read from the index"]
pub struct Taken {
    /// Shards with dropped hints: read (own next, position] from the index. The shard's hints are above the position.
    pub lagging: Vec<(ShardId, Position)>,
}

/// One connection's hints. Attach it to queues through the [`Hub`]; dropping it detaches it from all.
#[derive(Debug)]
pub struct Mailbox {
    pub(super) hub: Arc<Hub>,
    pub(super) slot: u32,
    pub(super) shared: Arc<Shared>,
    /// Sorted. Held while attaching and detaching, so that both are atomic for this mailbox.
    pub(super) attached: Mutex<Vec<QueueId>>,
}

/// The part that dispatchers write to.
#[derive(Debug)]
pub(super) struct Shared {
    capacity: usize,
    letters: Mutex<Letters>,
}

#[derive(Debug, Default)]
struct Letters {
    hints: Vec<Hint>,
    lagging: Vec<(ShardId, Position)>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Resolves when there is something to take; cancel safe. One task waits at a time: the last one is woken.
    pub fn ready(&self) -> impl Future<Output = ()> + Send {
        std::future::poll_fn(|context| {
            let mut letters = self.shared.letters.lock();
            if !letters.is_empty() {
                return Poll::Ready(());
            }
            match &mut letters.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// Moves all hints to the end of `out`, in stamp order per shard, one a stamp. An empty `out` is swapped with the
    /// mailbox's own buffer, so a caller that drops it when it is done keeps an idle mailbox free of memory.
    pub fn take(&self, out: &mut Vec<Hint>) -> Taken {
        let mut letters = self.shared.letters.lock();
        if out.is_empty() {
            std::mem::swap(out, &mut letters.hints);
        } else {
            out.append(&mut letters.hints);
        }
        Taken { lagging: std::mem::take(&mut letters.lagging) }
    }

    /// The queues that it is attached to.
    pub fn attached(&self) -> usize {
        self.attached.lock().len()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let attached = std::mem::take(self.attached.get_mut());
        self.hub.leave(self.slot, &attached);
    }
}

impl Shared {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), letters: Mutex::default() }
    }

    /// Adds notices of one shard, in stamp order and the queues of a notice together. Returns whether the mailbox
    /// overflowed. Who waits for it is put in `wakers`: to be woken once, and outside of every lock.
    pub(super) fn deliver<'a>(
        &self,
        shard: ShardId,
        arrivals: impl Iterator<Item = (&'a Notice, QueueId)>,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        let mut letters = self.letters.lock();
        let mut overflowed = false;
        for (notice, queue) in arrivals {
            overflowed |= letters.push(shard, notice, queue, self.capacity);
        }
        wakers.extend(letters.waker.take());
        overflowed
    }

    /// Hints up to here were not given: the reader must go to the index.
    pub(super) fn lag(&self, shard: ShardId, upto: Position, wakers: &mut Vec<Waker>) {
        let mut letters = self.letters.lock();
        letters.hints.retain(|hint| hint.shard != shard || hint.stamp.position() > upto);
        letters.mark(shard, upto);
        wakers.extend(letters.waker.take());
    }
}

#[cfg(test)]
impl Shared {
    /// Hints that there is room for.
    pub(super) fn buffer(&self) -> usize {
        self.letters.lock().hints.capacity()
    }
}

impl Letters {
    fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.lagging.is_empty()
    }

    fn push(&mut self, shard: ShardId, notice: &Notice, queue: QueueId, capacity: usize) -> bool {
        if let Some(mark) = self.lagging.iter_mut().find(|(lagging, _)| *lagging == shard) {
            // It reads the index anyway: a hint more would be a buffer.
            mark.1 = mark.1.max(notice.stamp.position());
            return false;
        }
        if let Some(last) = self.hints.last_mut().filter(|last| last.stamp == notice.stamp && last.shard == shard) {
            last.queues.push(queue);
            return false;
        }
        if self.hints.len() >= capacity {
            self.overflow();
            self.mark(shard, notice.stamp.position());
            return true;
        }
        let Notice { stamp, position, length, flags, queues: _ } = *notice;
        self.hints.push(Hint { shard, stamp, position, length, flags, queues: SmallVec::from_slice(&[queue]) });
        false
    }

    fn overflow(&mut self) {
        for hint in std::mem::take(&mut self.hints) {
            self.mark(hint.shard, hint.stamp.position());
        }
    }

    fn mark(&mut self, shard: ShardId, upto: Position) {
        match self.lagging.iter_mut().find(|(lagging, _)| *lagging == shard) {
            Some(mark) => mark.1 = mark.1.max(upto),
            None => self.lagging.push((shard, upto)),
        }
    }
}
