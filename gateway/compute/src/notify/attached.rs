//! The answer to `attach`: positions that are known, and queues that a narrowed stream does not name yet.

use std::sync::Arc;

use causeway_model::{Position, QueueId, ShardId};

use crate::port::Wants;

/// Queues that a mailbox was attached to. Dropping it detaches nothing.
#[derive(Debug)]
#[must_use = "frames may not name the queues before the positions are known"]
pub struct Attached {
    above: Vec<(ShardId, Position)>,
    /// Queues to come, each with the place of its shard.
    waits: Vec<(usize, Arc<Wants>, QueueId)>,
}

impl Attached {
    pub(super) fn new(shards: impl Iterator<Item = ShardId>) -> Self {
        Self { above: shards.map(|shard| (shard, Position(0))).collect(), waits: Vec::new() }
    }

    /// One queue on the shard at a place.
    pub(super) fn add(&mut self, at: usize, above: Position, wait: Option<(Arc<Wants>, QueueId)>) {
        self.raise(at, above);
        self.waits.extend(wait.map(|(wants, queue)| (at, wants, queue)));
    }

    fn raise(&mut self, at: usize, to: Position) {
        if let Some((_, above)) = self.above.get_mut(at) {
            *above = to.max(*above);
        }
    }

    /// Whether the positions are known at once: always, where frames name every queue.
    pub fn is_known(&self) -> bool {
        self.waits.is_empty()
    }

    /// Waits for the positions, one a shard: the mailbox hears of each queue's entries above them.
    pub async fn above(mut self) -> Vec<(ShardId, Position)> {
        for (at, wants, queue) in std::mem::take(&mut self.waits) {
            let from = wants.registered(queue).await;
            self.raise(at, from);
        }
        self.above
    }
}
