//! Readers that come and go among frames, gaps and steps of any order, against a record of what each must be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use causeway_model::Position;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Delivery, Hub, Mailbox, attach, slow_hub};
use crate::double::{frame, queue};
use crate::port::Frame;

/// A move of one of the parties.
#[derive(Clone, Debug)]
enum Move {
    /// A batch is applied on a shard; `lost` frames never reach the dispatcher.
    Apply { shard: usize, notices: Vec<Vec<u8>>, lost: bool, collapsed: bool },
    /// The dispatcher of a shard does one step.
    Step { shard: usize },
    /// A reader attaches.
    Attach { reader: usize, queue: u8 },
    /// A reader detaches.
    Detach { reader: usize, queue: u8 },
    /// A reader takes what it has.
    Take { reader: usize },
    /// A reader is replaced by a new one.
    Replace { reader: usize },
}

fn moves() -> impl Strategy<Value = Move> {
    let notices = || vec(prop::collection::btree_set(0..4_u8, 0..4), 0..5);
    let apply = (0..2_usize, notices(), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    prop_oneof![
        3 => apply.prop_map(|(shard, notices, lost, collapsed)| {
            let notices = notices.into_iter().map(|queues| queues.into_iter().collect()).collect();
            Move::Apply { shard, notices, lost, collapsed }
        }),
        10 => (0..2_usize).prop_map(|shard| Move::Step { shard }),
        3 => (0..3_usize, 0..4_u8).prop_map(|(reader, queue)| Move::Attach { reader, queue }),
        1 => (0..3_usize, 0..4_u8).prop_map(|(reader, queue)| Move::Detach { reader, queue }),
        3 => (0..3_usize).prop_map(|reader| Move::Take { reader }),
        1 => (0..3_usize).prop_map(|reader| Move::Replace { reader }),
    ]
}

/// What a reader knows and what it must have been told.
struct Reader {
    mailbox: Mailbox,
    /// Queue → per shard, the boundary.
    attached: BTreeMap<u8, Vec<Position>>,
    /// Per shard: the last stamp taken or lag mark.
    seen: [Position; 2],
    /// Stamps it must be told of at the latest when everything is handed out: (shard, stamp, queue).
    owed: BTreeSet<(usize, u64, u8)>,
    /// What it was told of.
    told: BTreeSet<(usize, u64, u8)>,
}

struct World {
    hub: Arc<Hub>,
    readers: Vec<Reader>,
    /// Per shard: all entries ever, (stamp, queues).
    log: [Vec<(u64, Vec<u8>)>; 2],
    applied: [u64; 2],
    frames: [Vec<Frame>; 2],
    deliveries: [Option<Delivery>; 2],
    /// Everything at or below was given to whoever was attached: the boundary, but for a gap that is being marked.
    settled: [Position; 2],
}

const CAPACITY: usize = 3;

impl World {
    fn new() -> Self {
        let hub = slow_hub(2);
        let readers = (0..3).map(|_| Reader::new(&hub)).collect();
        Self {
            hub,
            readers,
            log: Default::default(),
            applied: [0; 2],
            frames: Default::default(),
            deliveries: Default::default(),
            settled: [Position(0); 2],
        }
    }

    fn play(&mut self, next: Move) {
        match next {
            Move::Apply { shard, notices, lost, collapsed } => self.apply(shard, notices, lost, collapsed),
            Move::Step { shard } => drop(self.step(shard)),
            Move::Attach { reader, queue: number } => {
                let reader = &mut self.readers[reader];
                let from = attach(&self.hub, queue(number), &reader.mailbox);
                let from = from.into_iter().map(|(_, position)| position).collect();
                reader.attached.entry(number).or_insert(from);
            }
            Move::Detach { reader, queue: number } => {
                self.owe(reader, number);
                let reader = &mut self.readers[reader];
                self.hub.detach(queue(number), &reader.mailbox);
                reader.attached.remove(&number);
            }
            Move::Take { reader } => self.readers[reader].take(&self.log),
            Move::Replace { reader } => self.readers[reader] = Reader::new(&self.hub),
        }
    }

    fn apply(&mut self, shard: usize, notices: Vec<Vec<u8>>, lost: bool, collapsed: bool) {
        let from = self.applied[shard];
        let entries: Vec<_> = (from + 10..).step_by(10).zip(notices).collect();
        let to = entries.last().map_or(from, |(stamp, _)| *stamp) + 5;
        self.applied[shard] = to;
        self.log[shard].extend(entries.clone());
        if !lost {
            let carried = if collapsed { vec![] } else { entries };
            let carried: Vec<_> = carried.iter().map(|(stamp, queues)| (*stamp, queues.as_slice())).collect();
            let frame = frame(u32::try_from(shard).unwrap(), from, to, &carried);
            self.frames[shard].push(Frame { collapsed, ..frame });
        }
    }

    /// One step; false when there is nothing to do.
    fn step(&mut self, shard: usize) -> bool {
        if self.deliveries[shard].is_none() && !self.frames[shard].is_empty() {
            self.deliveries[shard] = Some(Delivery::frame(Arc::new(self.frames[shard].remove(0))));
        }
        let Some(delivery) = &mut self.deliveries[shard] else { return false };
        let done = self.hub.shards[shard].step(delivery).done;
        if !delivery.is_marking() {
            self.settled[shard] = self.hub.shards[shard].table.lock().dispatched();
        }
        if done {
            self.deliveries[shard] = None;
        }
        true
    }

    /// Writes down what a reader must learn of a queue that it leaves now.
    fn owe(&mut self, reader: usize, queue: u8) {
        let reader = &mut self.readers[reader];
        let Some(from) = reader.attached.get(&queue) else { return };
        for (shard, from) in from.iter().enumerate() {
            let dispatched = self.settled[shard];
            let entries = self.log[shard]
                .iter()
                .filter(|(stamp, queues)| *stamp > from.0 && *stamp <= dispatched.0 && queues.contains(&queue));
            reader.owed.extend(entries.map(|(stamp, _)| (shard, *stamp, queue)));
        }
    }

    /// Hands out the rest, with a gap for whatever was lost last, and checks that nobody missed anything.
    fn finish(mut self) {
        for shard in 0..2 {
            while self.step(shard) {}
            self.deliveries[shard] = Some(Delivery::gap(Position(self.applied[shard])));
            while self.step(shard) {}
        }
        for index in 0..self.readers.len() {
            for number in 0..4 {
                self.owe(index, number);
            }
            let reader = &mut self.readers[index];
            reader.take(&self.log);
            assert!(reader.owed.is_subset(&reader.told), "owed {:?}, told {:?}", reader.owed, reader.told);
        }
    }
}

impl Reader {
    fn new(hub: &Arc<Hub>) -> Self {
        Self {
            mailbox: hub.mailbox(CAPACITY),
            attached: BTreeMap::new(),
            seen: [Position(0); 2],
            owed: BTreeSet::new(),
            told: BTreeSet::new(),
        }
    }

    fn take(&mut self, log: &[Vec<(u64, Vec<u8>)>; 2]) {
        let mut hints = Vec::new();
        let taken = self.mailbox.take(&mut hints);
        assert!(hints.len() <= CAPACITY);
        let mut told = Vec::new();
        for (shard, upto) in taken.lagging {
            let index = shard.0 as usize;
            // As a session does: reads the index up to the mark, so everything below counts as told.
            let read = log[index].iter().filter(|(stamp, _)| *stamp <= upto.0);
            told.extend(read.flat_map(|(stamp, queues)| queues.iter().map(move |queue| (index, *stamp, *queue))));
            self.seen[index] = self.seen[index].max(upto);
        }
        for hint in &hints {
            let index = hint.shard.0 as usize;
            let position = hint.stamp.position();
            assert!(position > self.seen[index], "{hint:?} after {:?}", self.seen[index]);
            self.seen[index] = position;
            let entry = log[index].iter().find(|(stamp, _)| *stamp == position.0);
            let (_, queues) = entry.expect("a hint of something that was applied");
            for matched in &hint.queues {
                let number = matched.0[0];
                assert!(queues.contains(&number));
                told.push((index, position.0, number));
            }
        }
        self.told.extend(told);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn however_attach_frames_gaps_and_readers_interleave_nobody_misses_an_entry(script in vec(moves(), 1..80)) {
        let mut world = World::new();
        for next in script {
            world.play(next);
        }
        world.finish();
    }
}
