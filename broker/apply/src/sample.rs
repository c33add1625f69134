//! For tests: a shard on the twin that is fed records, and random records that hit each other.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_model::{
    ClientId, Filter, HashKey, Incarnation, Lineage, Message, Millis, Namespace, Position, Properties, Publisher, Qos,
    QueueId, QueueKind, ShardId, Topic,
};

use crate::record::{ClusterInit, Interest, Limits, Owner};
use crate::{Apply, ApplyError, BatchMeta, Effects, Entry, Outcome, Record, Tables, Twin, read};

mod random;

pub(crate) use random::Random;

pub(crate) const KEY: HashKey = HashKey([7; 16]);
const BATCH_HEADER: u64 = 80;
const FRAME_HEADER: u64 = 8;

/// A whole batch as the log has it.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) meta: BatchMeta,
    pub(crate) records: Vec<(Position, Bytes)>,
}

/// Lays out batches one after another, as the log does.
#[derive(Debug, Default)]
pub(crate) struct Log {
    index: u64,
    end: Position,
}

impl Log {
    pub(crate) fn batch(&mut self, time: Millis, payloads: impl IntoIterator<Item = Bytes>) -> Batch {
        let position = self.end;
        let mut at = position.plus(BATCH_HEADER);
        let mut records = Vec::new();
        for payload in payloads {
            let length = payload.len() as u64;
            records.push((at, payload));
            at = at.plus(FRAME_HEADER + length);
        }
        let meta = BatchMeta { index: self.index, term: 1, position, end: at, time, membership: None };
        self.index += 1;
        self.end = at;
        Batch { meta, records }
    }

    /// Where the first record of the next batch will be.
    pub(crate) fn next(&self) -> Position {
        self.end.plus(BATCH_HEADER)
    }
}

pub(crate) fn encode(record: &Record) -> Bytes {
    let mut buf = BytesMut::new();
    record.encode(&mut buf);
    buf.freeze()
}

pub(crate) fn cluster_init(limits: Limits) -> ClusterInit {
    ClusterInit { lineage: Lineage(1), key: KEY, level: 1, shard: ShardId(0), shards: 1, limits }
}

/// A shard whose log is what the test says.
pub(crate) struct Shard {
    pub(crate) tables: Twin,
    pub(crate) apply: Apply,
    pub(crate) log: Log,
    pub(crate) effects: Effects,
    pub(crate) now: Millis,
}

impl Shard {
    /// After `ClusterInit`.
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let mut shard = Self::empty();
        assert_eq!(shard.one(Record::ClusterInit(cluster_init(limits))), Outcome::Done);
        shard
    }

    pub(crate) fn empty() -> Self {
        let tables = Twin::new();
        let apply = Apply::open(&tables).unwrap();
        Self { tables, apply, log: Log::default(), effects: Effects::new(), now: Millis(1_000_000) }
    }

    /// Applies one batch and writes it; the effects stay to be looked at.
    pub(crate) fn try_batch(&mut self, payloads: Vec<Bytes>) -> Result<Vec<Outcome>, ApplyError> {
        self.effects.clear();
        let batch = self.log.batch(self.now, payloads);
        self.apply.batch(&self.tables, &batch.meta, batch.records.into_iter(), &mut self.effects)?;
        self.tables.write(&self.effects.mutations).unwrap();
        Ok(self.effects.outcomes.clone())
    }

    pub(crate) fn batch(&mut self, records: &[Record]) -> Vec<Outcome> {
        self.try_batch(records.iter().map(encode).collect()).unwrap()
    }

    pub(crate) fn one(&mut self, record: Record) -> Outcome {
        self.batch(&[record]).remove(0)
    }

    pub(crate) fn publish(&mut self, topic: &str) -> Position {
        let at = self.log.next();
        assert_eq!(self.one(publish(topic)), Outcome::Published);
        at
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now.plus(by);
    }

    /// Every entry that a sparse queue still leads to.
    pub(crate) fn entries(&self, kind: QueueKind, name: &str) -> Vec<Entry> {
        self.page(KEY.queue(kind, &Namespace::default(), name))
    }

    pub(crate) fn page(&self, queue: QueueId) -> Vec<Entry> {
        let (after, upto, first) = (Position(0), Position(u64::MAX), self.apply.first());
        let scan = read::Scan { queue, after, upto, first, limit: usize::MAX };
        read::entries(&self.tables, &scan).unwrap().entries
    }

    pub(crate) fn stamps(&self, kind: QueueKind, name: &str) -> Vec<Position> {
        self.entries(kind, name).iter().map(|entry| entry.stamp.position()).collect()
    }

    /// As after a restart that lost nothing: same tables, new roots.
    pub(crate) fn reopen(&mut self) {
        self.apply = Apply::open(&self.tables).unwrap();
    }
}

pub(crate) fn topic(name: &str) -> Topic {
    Topic::new(name.into()).unwrap()
}

pub(crate) fn filter(name: &str) -> Filter {
    Filter::new(name.into()).unwrap()
}

pub(crate) fn message(name: &str) -> Message {
    Message {
        namespace: Namespace::default(),
        topic: topic(name),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(1),
        publisher: Publisher { client: ClientId("p".into()), session: None, pid: None },
        properties: Properties::default(),
        body: Bytes::from_static(b"body"),
    }
}

pub(crate) fn publish(name: &str) -> Record {
    Record::Message(Box::new(crate::record::Message { message: message(name), server_queue: None }))
}

pub(crate) fn interest(add: bool, name: &str, owner: Owner) -> Record {
    Record::Interest(Interest { add, namespace: Namespace::default(), filter: filter(name), owner })
}

pub(crate) fn gateway(number: u128) -> Owner {
    Owner::Gateway(Incarnation(number))
}
