//! The log's tail in memory: recent batches up to a budget, and whatever is not synced yet whatever the budget.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use causeway_model::Position;
use parking_lot::RwLock;

use crate::batch::Batch;

/// Recent batches in the order of the log, without a gap. The writer pushes one a batch; readers look up many times a
/// message, under a read lock that no one holds across any work.
#[derive(Debug)]
pub(crate) struct Ring {
    budget: usize,
    tail: RwLock<Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    batches: VecDeque<Entry>,
    bytes: usize,
}

/// The position stands beside the batch, so that a search touches no batch but the one it finds.
#[derive(Debug)]
struct Entry {
    at: Position,
    batch: Arc<Batch>,
}

impl Ring {
    pub(crate) fn new(budget: usize) -> Self {
        Self { budget, tail: RwLock::default() }
    }

    /// Adds the newest batch, and lets the oldest durable ones go as the budget asks.
    pub(crate) fn push(&self, batch: Arc<Batch>, durable: Position) {
        let evicted = {
            let mut tail = self.tail.write();
            tail.bytes += batch.held();
            tail.batches.push_back(Entry { at: batch.header.position, batch });
            tail.evict(self.budget, durable)
        };
        // Freed outside of the lock: the last handle of a batch gives back all of its buffers.
        drop(evicted);
    }

    /// Lets batches go that were kept over the budget until they were durable.
    pub(crate) fn synced(&self, durable: Position) {
        if self.tail.read().bytes > self.budget {
            let evicted = self.tail.write().evict(self.budget, durable);
            drop(evicted);
        }
    }

    /// Drops everything from `end` on.
    pub(crate) fn truncate(&self, end: Position) {
        let mut tail = self.tail.write();
        while let Some(entry) = tail.batches.pop_back_if(|entry| entry.batch.end() > end) {
            tail.bytes -= entry.batch.held();
        }
    }

    /// The payload of the record at exactly this position.
    pub(crate) fn record(&self, at: Position) -> Option<Bytes> {
        self.tail.read().containing(at)?.record(at)
    }

    /// The batch that contains this position.
    pub(crate) fn batch(&self, at: Position) -> Option<Arc<Batch>> {
        self.tail.read().containing(at).cloned()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.tail.read().bytes
    }
}

impl Tail {
    fn containing(&self, at: Position) -> Option<&Arc<Batch>> {
        let after = self.batches.partition_point(|entry| entry.at <= at);
        let batch = &self.batches.get(after.checked_sub(1)?)?.batch;
        (at < batch.end()).then_some(batch)
    }

    fn evict(&mut self, budget: usize, durable: Position) -> Vec<Entry> {
        let mut evicted = Vec::new();
        while self.bytes > budget
            && let Some(entry) = self.batches.pop_front_if(|entry| entry.batch.end() <= durable)
        {
            self.bytes -= entry.batch.held();
            evicted.push(entry);
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Draft;
    use crate::format::BatchKind;
    use crate::frame::GroupBuilder;
    use bytes::BufMut;
    use causeway_model::{Lineage, Millis};

    /// Batches of two groups with one record each, back to back from 0.
    fn batches(count: u64) -> Vec<Arc<Batch>> {
        let mut at = Position(0);
        let group = |byte: u64| {
            let mut builder = GroupBuilder::with_capacity(108);
            builder.record(|buf| buf.put_bytes(u8::try_from(byte).unwrap(), 100));
            builder.finish()
        };
        let batch = |index| {
            let groups = vec![group(index * 2), group(index * 2 + 1)];
            let draft = Draft { kind: BatchKind::Data, term: 1, index, committed: 0, time: Millis(0), groups };
            let batch = Batch::seal(draft, Lineage(7), at, None).unwrap();
            at = batch.end();
            Arc::new(batch)
        };
        (0..count).map(batch).collect()
    }

    #[test]
    fn a_record_is_found_at_exactly_its_position() {
        let batches = batches(5);
        let ring = Ring::new(usize::MAX);
        for batch in &batches {
            ring.push(batch.clone(), Position(0));
        }
        let mut found = 0;
        for batch in &batches {
            for (position, payload) in batch.records() {
                assert_eq!(ring.record(position), Some(payload));
                found += 1;
            }
            assert_eq!(ring.record(batch.header.position), None, "a header is no record");
        }
        assert_eq!(found, 10);
        assert_eq!(ring.record(batches[4].end()), None);
    }

    #[test]
    fn what_is_not_durable_stays_over_the_budget_and_goes_once_it_is() {
        let batches = batches(4);
        let budget = batches[0].held() * 2;
        let ring = Ring::new(budget);
        for batch in &batches {
            ring.push(batch.clone(), Position(0));
        }
        assert!(ring.batch(Position(0)).is_some());
        ring.synced(batches[0].end());
        assert!(ring.batch(Position(0)).is_none(), "durable and over the budget");
        assert!(ring.batch(batches[0].end()).is_some(), "over the budget and not durable");
        ring.synced(batches[3].end());
        assert!(ring.bytes() <= budget);
        assert!(ring.batch(batches[2].header.position).is_some(), "within the budget");
    }

    #[test]
    fn truncation_drops_whole_batches_from_the_end() {
        let batches = batches(4);
        let ring = Ring::new(usize::MAX);
        for batch in &batches {
            ring.push(batch.clone(), Position(0));
        }
        ring.truncate(batches[1].end());
        assert!(ring.batch(batches[1].header.position).is_some());
        assert!(ring.batch(batches[2].header.position).is_none());
        assert_eq!(ring.bytes(), batches[0].held() * 2);
    }
}
