//! Reading what hints did not bring: on resume, and when hints were dropped.
//!
//! ```text
//!  queue of a/b   ──page──► ready ─┐
//!  queue of a/+   ──page──► ready ─┼─ smallest stamp ─► one entry, with all the queues it is in
//!  overflow queue ──page──► ready ─┘
//! ```
//!
//! An entry comes out only when every source has been read to it or beyond, so entries come in stamp order and each
//! once. What lies above the upper end comes as hints. Memory: a budget of entries shared by the sources.

use std::collections::VecDeque;

use causeway_compute::port::{Entry, Page, QueueRef, Read};
use causeway_model::{Position, QueueId, Stamp};
use smallvec::SmallVec;

/// Entries of all sources together, as far as their number allows: each gets a few.
const ENTRIES: usize = 512;
/// Least and most entries of one page.
const PAGE: std::ops::RangeInclusive<usize> = 8..=256;
/// Most pages of one call.
const READS: usize = 256;

#[derive(Debug)]
pub(in crate::session) struct CatchUp {
    upto: Position,
    /// QoS 0 is skipped: what came while the client was away is not for it.
    pub(in crate::session) resume: bool,
    sources: Vec<Source>,
    /// The sources of the read that is under way, in its order, and how far it reads.
    reading: Vec<usize>,
    asked: Position,
}

#[derive(Debug)]
struct Source {
    id: QueueId,
    queue: QueueRef,
    /// Everything at or below was read.
    after: Position,
    ready: VecDeque<Entry>,
}

/// A page that makes no progress: reading on would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Stuck;

impl CatchUp {
    /// Reads each queue from above its position to `upto`.
    pub(in crate::session) fn new(
        upto: Position,
        resume: bool,
        queues: impl IntoIterator<Item = (QueueId, QueueRef, Position)>,
    ) -> Self {
        let source = |(id, queue, after)| Source { id, queue, after, ready: VecDeque::new() };
        Self { upto, resume, sources: queues.into_iter().map(source).collect(), reading: Vec::new(), asked: upto }
    }

    /// Everything at or below is read here, everything above comes as hints.
    pub(in crate::session) fn upto(&self) -> Position {
        self.upto
    }

    /// Raises the upper end.
    pub(in crate::session) fn extend(&mut self, upto: Position) {
        self.upto = self.upto.max(upto);
    }

    /// A queue is no longer wanted.
    pub(in crate::session) fn drop_source(&mut self, id: QueueId) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == id) {
            // It keeps its place, since a read under way names sources by their number.
            source.ready.clear();
            source.after = Position(u64::MAX);
        }
    }

    /// The next read, if an entry cannot be told before it and none is under way.
    pub(in crate::session) fn reads(&mut self) -> Option<Vec<Read>> {
        if !self.reading.is_empty() {
            return None;
        }
        let limit = (ENTRIES / self.sources.len().max(1)).clamp(*PAGE.start(), *PAGE.end());
        let upto = self.upto;
        let hungry = self.sources.iter().enumerate().filter(|(_, source)| source.hungry(upto)).take(READS);
        let (numbers, reads): (Vec<_>, Vec<_>) = hungry
            .map(|(number, source)| (number, Read { queue: source.queue.clone(), after: source.after, upto, limit }))
            .unzip();
        (self.reading, self.asked) = (numbers, upto);
        (!reads.is_empty()).then_some(reads)
    }

    /// The pages of the read under way, in its order.
    pub(in crate::session) fn pages(&mut self, pages: Vec<Page>) -> Result<(), Stuck> {
        let reading = std::mem::take(&mut self.reading);
        if reading.len() != pages.len() {
            return Err(Stuck);
        }
        for (number, page) in reading.into_iter().zip(pages) {
            let Some(source) = self.sources.get_mut(number) else { continue };
            if source.after < self.asked {
                source.take(page, self.asked)?;
            }
        }
        Ok(())
    }

    /// The read under way failed and is to be made again.
    pub(in crate::session) fn read_failed(&mut self) {
        self.reading.clear();
    }

    /// The entry with the smallest stamp and the queues it is in; `None`: read on, or there is no more.
    pub(in crate::session) fn next(&mut self) -> Option<(Entry, SmallVec<[QueueId; 2]>)> {
        if self.sources.iter().any(|source| source.hungry(self.upto)) {
            return None;
        }
        let first = self.sources.iter().filter_map(|source| source.ready.front()).min_by_key(|entry| entry.stamp)?;
        let entry = *first;
        let mut queues = SmallVec::new();
        for source in &mut self.sources {
            if source.front() == Some(entry.stamp) {
                source.ready.pop_front();
                queues.push(source.id);
            }
        }
        Some((entry, queues))
    }

    /// Every source is read to the end and nothing is left; nor do pages come any more, which would be taken for those of
    /// a later catch-up.
    pub(in crate::session) fn is_over(&self) -> bool {
        self.reading.is_empty()
            && self.sources.iter().all(|source| source.after >= self.upto && source.ready.is_empty())
    }
}

impl Source {
    fn hungry(&self, upto: Position) -> bool {
        self.ready.is_empty() && self.after < upto
    }

    fn front(&self) -> Option<Stamp> {
        self.ready.front().map(|entry| entry.stamp)
    }

    fn take(&mut self, page: Page, upto: Position) -> Result<(), Stuck> {
        let next = if page.more { page.next.min(upto) } else { upto };
        if next <= self.after {
            return Err(Stuck);
        }
        let after = self.after.0;
        self.ready.extend(page.entries.into_iter().filter(|entry| entry.stamp.0 > after && entry.stamp.0 <= next.0));
        self.after = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use causeway_compute::port::EntryFlags;
    use causeway_model::{Millis, Namespace, Offset};
    use proptest::prelude::*;

    use super::*;

    fn entry(stamp: u64) -> Entry {
        let flags = EntryFlags::default();
        Entry {
            offset: Offset(stamp),
            stamp: Stamp(stamp),
            position: Position(stamp),
            length: 1,
            time: Millis(0),
            flags,
        }
    }

    fn page(queue: &[u64], read: &Read) -> Page {
        let mut inside = queue.iter().copied().filter(|stamp| *stamp > read.after.0 && *stamp <= read.upto.0);
        let entries: Vec<_> = inside.by_ref().take(read.limit).map(entry).collect();
        let more = inside.next().is_some();
        let next = if more { Position(entries.last().unwrap().stamp.0) } else { read.upto };
        Page { entries, next, end: read.upto, more }
    }

    fn queue(number: u8) -> QueueId {
        QueueId([number; 16])
    }

    proptest! {
        #[test]
        fn entries_come_in_stamp_order_once_with_all_their_queues(
            queues in proptest::collection::vec(proptest::collection::btree_set(1_u64..3000, 0..600), 1..5),
            upto in 1_u64..3000,
            after in 0_u64..200,
        ) {
            let queues: Vec<Vec<u64>> = queues.into_iter().map(|set| set.into_iter().collect()).collect();
            let sources = (0..).zip(&queues).map(|(n, _)| (queue(n), QueueRef::Sparse(queue(n)), Position(after)));
            let mut catch_up = CatchUp::new(Position(upto), false, sources);
            let mut seen = Vec::new();
            for _ in 0..10_000 {
                while let Some(next) = catch_up.next() {
                    seen.push((next.0.stamp.0, next.1.len()));
                }
                let Some(reads) = catch_up.reads() else { break };
                prop_assert!(catch_up.reads().is_none(), "one read at a time");
                let pages = reads.iter().map(|read| match &read.queue {
                    QueueRef::Sparse(id) => page(&queues[usize::from(id.0[0])], read),
                    QueueRef::Dense(..) | QueueRef::All(_) => unreachable!(),
                });
                catch_up.pages(pages.collect()).unwrap();
            }
            prop_assert!(catch_up.is_over() || upto <= after);
            let mut expected = std::collections::BTreeMap::new();
            for stamp in queues.iter().flatten().filter(|stamp| **stamp > after && **stamp <= upto) {
                *expected.entry(*stamp).or_insert(0) += 1;
            }
            prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_page_without_progress_is_an_error_and_not_an_endless_loop() {
        let all = QueueRef::All(Namespace::default());
        let mut catch_up = CatchUp::new(Position(10), false, [(queue(1), all, Position(5))]);
        catch_up.reads().unwrap();
        let stuck = Page { entries: Vec::new(), next: Position(5), end: Position(10), more: true };
        assert_eq!(catch_up.pages(vec![stuck]), Err(Stuck));
    }

    #[test]
    fn a_dropped_source_holds_up_nobody_even_while_it_is_read() {
        let sparse = |n| (queue(n), QueueRef::Sparse(queue(n)), Position(0));
        let mut catch_up = CatchUp::new(Position(10), true, [sparse(1), sparse(2)]);
        let reads = catch_up.reads().unwrap();
        catch_up.drop_source(queue(1));
        catch_up.pages(vec![page(&[3], &reads[0]), page(&[4], &reads[1])]).unwrap();
        let (entry, queues) = catch_up.next().unwrap();
        assert_eq!((entry.stamp, queues.as_slice()), (Stamp(4), &[queue(2)][..]));
        assert!(catch_up.is_over());
    }
}
