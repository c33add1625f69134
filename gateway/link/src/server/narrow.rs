//! What of a shard's frames one reader is told: all, or the queues on its list.
//!
//! Frames stay contiguous: those without content for the reader are joined with the next one that has some, so a reader
//! is woken by what it asked for and by nothing else. A hole between two frames stays a hole.

#[cfg(test)]
mod tests;

use causeway_compute::port::Frame;
use causeway_model::{Position, QueueId, QueueIdSet, ShardId};

/// Most queues of a list: some 36 MB. Over it the reader hears of all, for as long as its stream lasts.
pub(crate) const MOST: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Narrow {
    shard: ShardId,
    reach: Reach,
    list: QueueIdSet,
    most: usize,
    /// Frames that were left out: what lies above the first position, up to the second.
    held: Option<(Position, Position)>,
}

/// Which queues the reader hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// All, since its list is not whole yet.
    AllYet,
    /// All, since its list was too long to keep.
    All,
    Listed,
}

impl Narrow {
    /// All queues, until there is a whole list of at most `most`.
    pub(crate) fn new(shard: ShardId, most: usize) -> Self {
        Self { shard, reach: Reach::AllYet, list: QueueIdSet::default(), most, held: None }
    }

    /// Changes the list; `more`: it is not whole yet. `false`: it has just become too long.
    pub(crate) fn change(&mut self, add: &[QueueId], remove: &[QueueId], more: bool) -> bool {
        if self.reach == Reach::All {
            return true;
        }
        self.list.extend(add);
        for queue in remove {
            self.list.remove(queue);
        }
        if self.list.len() > self.most {
            (self.list, self.reach) = (QueueIdSet::default(), Reach::All);
            return false;
        }
        if !more {
            self.reach = Reach::Listed;
        }
        true
    }

    /// Tells what the reader is to hear of the shard's next frame.
    pub(crate) fn tell(&mut self, frame: &Frame, mut say: impl FnMut(&Frame)) {
        let listed = self.reach == Reach::Listed;
        if !listed && self.held.is_none() {
            return say(frame);
        }
        let mut frame = if listed { self.listed(frame) } else { frame.clone() };
        match self.held.take() {
            Some((from, to)) if to == frame.from => frame.from = from,
            // A hole: the reader sees where it is.
            Some(held) => say(&self.empty(held)),
            None => {}
        }
        if listed && frame.notices.is_empty() && !frame.collapsed {
            self.held = Some((frame.from, frame.to));
        } else {
            say(&frame);
        }
    }

    /// The frames that were left out, as one: how far the shard is.
    pub(crate) fn flush(&mut self) -> Option<Frame> {
        self.held.take().map(|held| self.empty(held))
    }

    fn empty(&self, (from, to): (Position, Position)) -> Frame {
        Frame { shard: self.shard, from, to, collapsed: false, notices: Vec::new(), queues: Vec::new() }
    }

    fn listed(&self, frame: &Frame) -> Frame {
        let mut part = Frame { collapsed: frame.collapsed, ..self.empty((frame.from, frame.to)) };
        for (notice, queues) in frame.iter() {
            let mut notice = *notice;
            notice.queues = 0;
            for queue in queues.iter().filter(|queue| self.list.contains(queue)) {
                part.queues.push(*queue);
                notice.queues += 1;
            }
            if notice.queues > 0 {
                part.notices.push(notice);
            }
        }
        part
    }
}
