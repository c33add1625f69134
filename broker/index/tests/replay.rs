//! A database that was damaged and rebuilt from a checkpoint and the log after it has the same rows and the same digest
//! as one that applied the log from its start, and as the twin: with trims, interest that was removed, topics that were
//! dropped and sessions that ended on both sides of the checkpoint, and compactions whenever they like.
#![expect(clippy::unwrap_used, reason = "a test's helpers")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_apply::record::{
    CloseReason, ClusterInit, FlightState, Gateway, GatewayEvent, InFlight, Interest, LaneProgress, Limits, Message,
    Owner, SessionClose, SessionExpire, SessionOpen, Subscribe, TopicDrop, TopicPut, Trim, Unsubscribe,
};
use causeway_apply::{
    AppliedMark, Apply, BatchMeta, Durable, Effects, FAMILIES, Family, Outcome, Record, Tables, Twin,
};
use causeway_index::{Db, Settings};
use causeway_model::{
    ClientId, Epoch, Filter, HashKey, Incarnation, Lineage, Millis, Namespace, Position, Properties, Publisher, Qos,
    ShardId, Sid, SubscribeOptions, Topic,
};
use proptest::prelude::*;

const GATEWAY: Incarnation = Incarnation(1);
const BATCH_HEADER: u64 = 80;
const FRAME_HEADER: u64 = 8;

struct Batch {
    meta: BatchMeta,
    records: Vec<(Position, Bytes)>,
}

/// A log that grows, and the twin that says what came of each record.
struct World {
    random: u64,
    log: Vec<Batch>,
    twin: Twin,
    apply: Apply,
    effects: Effects,
    end: Position,
    sessions: Vec<(Sid, Epoch)>,
    /// Trims, removals of interest and drops of topics that took effect.
    took_effect: [usize; 3],
}

impl World {
    fn new(seed: u64) -> Self {
        let twin = Twin::new();
        let apply = Apply::open(&twin).unwrap();
        let mut world = Self {
            random: seed,
            log: Vec::new(),
            twin,
            apply,
            effects: Effects::new(),
            end: Position(0),
            sessions: Vec::new(),
            took_effect: [0; 3],
        };
        let init = ClusterInit {
            lineage: Lineage(1),
            key: HashKey([7; 16]),
            level: 1,
            shard: ShardId(0),
            shards: 1,
            limits: Limits::default(),
        };
        world.batch(&[
            Record::ClusterInit(init),
            Record::Gateway(Gateway { incarnation: GATEWAY, event: GatewayEvent::Joined }),
        ]);
        world
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) % limit
    }

    fn batch(&mut self, records: &[Record]) {
        let mut at = self.end.plus(BATCH_HEADER);
        let mut framed = Vec::new();
        for record in records {
            let mut payload = BytesMut::new();
            record.encode(&mut payload);
            framed.push((at, payload.freeze()));
            at = at.plus(FRAME_HEADER + framed.last().unwrap().1.len() as u64);
        }
        let index = self.log.len() as u64;
        let meta = BatchMeta {
            index,
            term: 1,
            position: self.end,
            end: at,
            time: Millis(1000 + index * 40_000),
            membership: None,
        };
        self.end = at;
        self.log.push(Batch { meta, records: framed });
        self.effects.clear();
        step(&mut self.apply, &self.twin, self.log.last().unwrap(), &mut self.effects);
        self.twin.write(&self.effects.mutations).unwrap();
        for (record, outcome) in records.iter().zip(&self.effects.outcomes) {
            let [trims, removals, drops] = &mut self.took_effect;
            match (record, outcome) {
                (_, Outcome::Rejected(_)) => {}
                (_, Outcome::Opened(opened)) => self.sessions.push((opened.sid, opened.epoch)),
                (Record::Trim(_), _) => *trims += 1,
                (Record::Interest(Interest { add: false, .. }), _) => *removals += 1,
                (Record::TopicDrop(_), _) => *drops += 1,
                _ => {}
            }
        }
    }

    fn pick<X: Copy>(&mut self, from: &[X]) -> X {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn filter(&mut self) -> Filter {
        let name = self.pick(&["plant/+/temp", "plant/#", "+/+/x", "site/3/x"]);
        Filter::new(name.into()).unwrap()
    }

    fn message(&mut self) -> Record {
        let device = self.below(12);
        let topic = [format!("plant/{device}/temp"), format!("site/{device}/x"), format!("other/{device}")];
        let topic = self.pick(&topic.each_ref().map(String::as_str));
        let message = causeway_model::Message {
            namespace: Namespace::default(),
            topic: Topic::new(topic.into()).unwrap(),
            qos: Qos::AtLeastOnce,
            retain: false,
            expiry: None,
            born: Millis(self.below(1000)),
            publisher: Publisher { client: ClientId("p".into()), session: None, pid: None },
            properties: Properties::default(),
            body: Bytes::from(vec![b'x'; usize::try_from(self.below(300)).unwrap()]),
        };
        Record::Message(Box::new(Message { message, server_queue: None }))
    }

    fn record(&mut self) -> Record {
        let namespace = Namespace::default;
        match self.below(24) {
            0 => Record::TopicPut(TopicPut {
                namespace: namespace(),
                name: self.pick(&["plant", "site"]).into(),
                queues: 3,
            }),
            1 => Record::TopicDrop(TopicDrop { namespace: namespace(), name: self.pick(&["plant", "site"]).into() }),
            2 | 3 => Record::Interest(Interest {
                add: self.below(2) == 0,
                namespace: namespace(),
                filter: self.filter(),
                owner: Owner::Gateway(GATEWAY),
            }),
            4 => {
                let first = Position(self.below(self.end.0 * 3 / 4));
                Record::Trim(Trim { first })
            }
            5 | 6 => Record::SessionOpen(SessionOpen {
                namespace: namespace(),
                client: ClientId(format!("c{}", self.below(4)).as_str().into()),
                clean_start: self.below(4) == 0,
                expiry: Duration::from_mins(1),
                owner: GATEWAY,
                attempt: 0,
                will: None,
            }),
            7..=11 if !self.sessions.is_empty() => self.of_session(),
            _ => self.message(),
        }
    }

    fn of_session(&mut self) -> Record {
        let recent = self.sessions.len().saturating_sub(4) as u64;
        let chosen = recent + self.below(self.sessions.len() as u64 - recent);
        let (sid, epoch) = self.sessions[usize::try_from(chosen).unwrap()];
        let position = Position(self.below(self.end.0));
        match self.below(6) {
            0 | 5 => Record::SessionClose(SessionClose { sid, epoch, reason: CloseReason::Orderly, expiry: None }),
            1 => Record::SessionExpire(SessionExpire {
                sid,
                epoch,
                filters: vec![self.filter(), self.filter()],
                flights: Vec::new(),
                last: self.below(2) == 0,
            }),
            2 => Record::Unsubscribe(Unsubscribe { sid, epoch, filter: self.filter() }),
            3 => {
                let from = vec![(ShardId(0), position)];
                let options = SubscribeOptions::at(Qos::AtLeastOnce);
                Record::Subscribe(Subscribe { sid, epoch, filter: self.filter(), options, from })
            }
            _ => {
                let flight = InFlight {
                    stamp: position.stamp(),
                    position,
                    qos: Qos::AtLeastOnce,
                    pid: None,
                    state: if self.below(2) == 0 { FlightState::Sent } else { FlightState::Done },
                };
                let cursor = (self.below(2) == 0).then_some(position);
                Record::Progress(vec![LaneProgress { sid, epoch, cursor, flights: vec![flight] }])
            }
        }
    }
}

fn step(apply: &mut Apply, tables: &impl Tables, batch: &Batch, effects: &mut Effects) {
    apply.batch(tables, &batch.meta, batch.records.iter().cloned(), effects).unwrap();
}

/// Applies what the log has after the tables' mark, in runs of `run` batches, doing `after` each.
fn replay(db: &Db, log: &[Batch], run: usize, mut after: impl FnMut(&Apply, usize)) -> AppliedMark {
    let mut apply = Apply::open(db).unwrap();
    let from = apply.applied().position;
    let mut effects = Effects::for_replay();
    let rest: Vec<&Batch> = log.iter().filter(|batch| batch.meta.position >= from).collect();
    for batches in rest.chunks(run) {
        effects.clear();
        for batch in batches {
            step(&mut apply, db, batch, &mut effects);
        }
        db.write(&effects.mutations).unwrap();
        after(&apply, usize::try_from(batches.last().unwrap().meta.index).unwrap());
    }
    apply.applied().clone()
}

/// All rows of all families, once every dead one is gone.
fn settled(db: &Db) -> Vec<(Family, Bytes, Bytes)> {
    let first = Apply::open(db).unwrap().first();
    db.flush().unwrap();
    db.set_floor(first);
    db.compact().unwrap();
    let mut rows = Vec::new();
    for family in FAMILIES {
        db.scan(family, &[], &[0xff; 64], &mut |key, value| {
            rows.push((family, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    rows
}

fn open(home: &Path) -> (Db, Option<causeway_index::Rebuilt>) {
    Db::open_or_rebuild(home, &Settings::default(), Position(0), &mut |_| {}).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_rebuilt_database_equals_one_that_applied_the_whole_log(
        seed: u64, cut in 20..140_usize, runs in (1..9_usize, 1..9_usize, 1..9_usize), compact in 10..40_usize,
    ) {
        let mut world = World::new(seed);
        for _ in 0..160 {
            let records: Vec<Record> = (0..=world.below(6)).map(|_| world.record()).collect();
            world.batch(&records);
        }
        let mark = world.apply.applied().clone();

        // One that lives through it, takes checkpoints, trims and compacts, and is damaged at the end.
        let home = tempfile::tempdir().unwrap();
        let (db, _) = open(home.path());
        let mut checkpointed = Position(0);
        let lived = replay(&db, &world.log, runs.0, |apply, index| {
            if index % compact < runs.0 {
                db.flush().unwrap();
                db.set_floor(apply.first());
                db.compact().unwrap();
            }
            if index >= cut && checkpointed == Position(0) {
                checkpointed = apply.applied().position;
                db.checkpoint().unwrap();
            }
        });
        drop(db);
        fs::OpenOptions::new().write(true).open(home.path().join("tables/CURRENT")).unwrap().set_len(0).unwrap();
        let (db, rebuilt) = open(home.path());
        prop_assert_eq!(rebuilt.unwrap().from, Some(checkpointed));
        prop_assert_eq!(db.applied().unwrap(), checkpointed);
        let replayed = replay(&db, &world.log, runs.1, |_, _| {});

        // One that applies the log from its start.
        let other = tempfile::tempdir().unwrap();
        let (fresh, _) = open(other.path());
        let applied = replay(&fresh, &world.log, runs.2, |_, _| {});

        prop_assert_eq!(&lived, &mark);
        prop_assert_eq!(&replayed, &mark);
        prop_assert_eq!(&applied, &mark);
        world.twin.set_floor(world.apply.first());
        let expected = world.twin.dump();
        prop_assert_eq!(settled(&fresh), &expected[..]);
        prop_assert_eq!(settled(&db), expected);
        prop_assert!(world.took_effect.iter().all(|count| *count > 0), "a tame log: {:?}", world.took_effect);
    }
}
