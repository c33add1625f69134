//! Apply alone: messages a second on one core, without a database below and with the twin; matching filters; sessions.
//!
//!     cargo bench -p causeway-apply

#![expect(clippy::unwrap_used, reason = "a bench")]

use bytes::{Bytes, BytesMut};
use causeway_apply::record::{
    CloseReason, ClusterInit, GatewayEvent, Interest, LaneProgress, Limits, Message, MessageHead, Owner, SessionClose,
    SessionOpen, encode_message,
};
use causeway_apply::{
    Apply, BatchMeta, Effects, Family, Mutations, Outcome, Record, Tables, TablesError, Trie, Twin, Visit, record,
};
use causeway_model::{
    ClientId, Epoch, Filter, HashKey, Incarnation, Lineage, Millis, Namespace, Position, Properties, Publisher, Qos,
    QueueId, QueueKind, ShardId, Sid, Topic,
};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const BATCH: usize = 1000;

/// Tables that hold nothing: what is left is apply.
struct Null;

impl Tables for Null {
    fn get(&self, _: Family, _: &[u8]) -> Result<Option<Bytes>, TablesError> {
        Ok(None)
    }
    fn scan(&self, _: Family, _: &[u8], _: &[u8], _: Visit<'_>) -> Result<(), TablesError> {
        Ok(())
    }
    fn write(&self, _: &Mutations) -> Result<(), TablesError> {
        Ok(())
    }
}

/// Applies the same payloads again and again, each time further on in the log.
struct Feed<T> {
    tables: T,
    apply: Apply,
    effects: Effects,
    meta: BatchMeta,
}

impl<T: Tables> Feed<T> {
    fn new(tables: T) -> Self {
        let apply = Apply::open(&tables).unwrap();
        let mut feed = Self { tables, apply, effects: Effects::new(), meta: BatchMeta::default() };
        let init = ClusterInit {
            lineage: Lineage(1),
            key: HashKey([7; 16]),
            level: 1,
            shard: ShardId(0),
            shards: 1,
            limits: Limits::default(),
        };
        feed.records(&[Record::ClusterInit(init)]);
        feed
    }

    fn next(&self) -> Position {
        self.meta.end.plus(80)
    }

    fn records(&mut self, records: &[Record]) -> Vec<Outcome> {
        let payloads: Vec<_> = records.iter().map(encode).collect();
        self.batch(&payloads);
        self.effects.outcomes.clone()
    }

    fn batch(&mut self, payloads: &[Bytes]) {
        self.effects.clear();
        let mut at = self.meta.end.plus(80);
        let records = payloads.iter().map(|payload| {
            let position = at;
            at = at.plus(8 + payload.len() as u64);
            (position, payload.clone())
        });
        let length: u64 = payloads.iter().map(|payload| 8 + payload.len() as u64).sum();
        self.meta.position = self.meta.end;
        self.meta.end = self.meta.end.plus(80 + length);
        self.meta.time = Millis(self.meta.time.0 + 1);
        self.apply.batch(&self.tables, &self.meta, records, &mut self.effects).unwrap();
        self.tables.write(&self.effects.mutations).unwrap();
        self.meta.index += 1;
    }
}

fn encode(record: &Record) -> Bytes {
    let mut buf = BytesMut::new();
    record.encode(&mut buf);
    buf.freeze()
}

fn message(topic: &str, body: usize) -> causeway_model::Message {
    causeway_model::Message {
        namespace: Namespace::default(),
        topic: Topic::new(topic.into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(1_700_000_000_000),
        publisher: Publisher { client: ClientId("publisher-17".into()), session: None, pid: None },
        properties: Properties::default(),
        body: vec![b'x'; body].into(),
    }
}

fn publishes(count: usize, topics: usize) -> Vec<Bytes> {
    (0..count)
        .map(|number| {
            let message = message(&format!("plant/{}/temp", number % topics), 256);
            encode(&Record::Message(Box::new(Message { message, server_queue: None })))
        })
        .collect()
}

fn interest(filter: &str) -> Record {
    let filter = Filter::new(filter.into()).unwrap();
    Record::Interest(Interest {
        add: true,
        namespace: Namespace::default(),
        filter,
        owner: Owner::Gateway(Incarnation(1)),
    })
}

/// Ten filters of which two match.
const TEN: [&str; 10] = [
    "plant/+/temp",
    "plant/#",
    "plant/+/pressure",
    "plant/+/+/x",
    "site/#",
    "+/7/pressure",
    "+/+/level",
    "a/+",
    "b/#",
    "plant/7/+/y",
];

#[divan::bench(args = ["none", "ten"])]
fn messages_null(bencher: Bencher<'_, '_>, filters: &str) {
    let mut feed = Feed::new(Null);
    if filters == "ten" {
        feed.records(&TEN.map(interest));
    }
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| feed.batch(&payloads));
}

#[divan::bench]
fn messages_null_replay(bencher: Bencher<'_, '_>) {
    let mut feed = Feed::new(Null);
    feed.effects = Effects::for_replay();
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| feed.batch(&payloads));
}

#[divan::bench(max_time = 3)]
fn messages_twin(bencher: Bencher<'_, '_>) {
    let mut feed = Feed::new(Twin::new());
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| feed.batch(&payloads));
}

#[divan::bench]
fn messages_server_topic_null(bencher: Bencher<'_, '_>) {
    let mut feed = Feed::new(Null);
    let put = record::TopicPut { namespace: Namespace::default(), name: "plant".into(), queues: 8 };
    feed.records(&[Record::TopicPut(put)]);
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| feed.batch(&payloads));
}

#[divan::bench(args = [16, 256, 4096])]
fn encode_messages(bencher: Bencher<'_, '_>, body: usize) {
    let message = message("plant/7/temp", body);
    let mut buf = BytesMut::with_capacity(BATCH * (body + 100));
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        buf.clear();
        for _ in 0..BATCH {
            encode_message(black_box(&message), None, &mut buf);
        }
    });
}

#[divan::bench]
fn decode_heads(bencher: Bencher<'_, '_>) {
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        payloads.iter().map(|payload| MessageHead::read(black_box(payload)).unwrap().topic.len()).sum::<usize>()
    });
}

#[divan::bench]
fn decode_messages(bencher: Bencher<'_, '_>) {
    let payloads = publishes(BATCH, 100);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for payload in &payloads {
            black_box(record::decode_message(black_box(payload)).unwrap());
        }
    });
}

/// A volatile client comes and goes.
#[divan::bench]
fn sessions_volatile_twin(bencher: Bencher<'_, '_>) {
    let mut feed = Feed::new(Twin::new());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let open = |n: usize| {
            Record::SessionOpen(SessionOpen {
                namespace: Namespace::default(),
                client: ClientId(format!("client-{n}").into()),
                clean_start: true,
                expiry: std::time::Duration::ZERO,
                owner: Incarnation(1),
                attempt: 0,
                will: None,
            })
        };
        let opened = feed.records(&(0..BATCH).map(open).collect::<Vec<_>>());
        let closes: Vec<_> = opened
            .iter()
            .map(|outcome| {
                let Outcome::Opened(opened) = outcome else { unreachable!("{outcome:?}") };
                let (sid, epoch, reason) = (opened.sid, opened.epoch, CloseReason::Orderly);
                Record::SessionClose(SessionClose { sid, epoch, reason, expiry: None })
            })
            .collect();
        feed.records(&closes);
    });
}

/// Cursors of a thousand sessions in one record.
#[divan::bench]
fn progress_lanes_twin(bencher: Bencher<'_, '_>) {
    let mut feed = Feed::new(Twin::new());
    let joined = record::Gateway { incarnation: Incarnation(1), event: GatewayEvent::Joined };
    feed.records(&[Record::Gateway(joined)]);
    let open = |n: usize| {
        Record::SessionOpen(SessionOpen {
            namespace: Namespace::default(),
            client: ClientId(format!("client-{n}").into()),
            clean_start: true,
            expiry: std::time::Duration::from_hours(1),
            owner: Incarnation(1),
            attempt: 0,
            will: None,
        })
    };
    let opened = feed.records(&(0..BATCH).map(open).collect::<Vec<_>>());
    let sessions: Vec<(Sid, Epoch)> = opened
        .iter()
        .map(|outcome| {
            let Outcome::Opened(opened) = outcome else { unreachable!("{outcome:?}") };
            (opened.sid, opened.epoch)
        })
        .collect();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let cursor = Some(feed.next());
        let lane = |&(sid, epoch): &(Sid, Epoch)| LaneProgress { sid, epoch, cursor, flights: vec![] };
        let record = Record::Progress(sessions.iter().map(lane).collect());
        feed.records(&[record]);
    });
}

fn id(filter: &str) -> QueueId {
    HashKey([7; 16]).queue(QueueKind::Filter, &Namespace::default(), filter)
}

#[divan::bench(args = [1, 10, 1000, 100_000])]
fn match_topics(bencher: Bencher<'_, '_>, filters: usize) {
    let mut trie = Trie::default();
    let fill = (0..filters).map(|n| if n < 10 { TEN[n].to_owned() } else { format!("site/{n}/+/x") });
    for filter in fill {
        trie.add(&filter, id(&filter));
    }
    let topics: Vec<_> = (0..BATCH).map(|n| format!("plant/{n}/temp")).collect();
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for topic in &topics {
            out.clear();
            black_box(trie.matches(black_box(topic), 128, &mut out));
        }
    });
}
