use std::path::Path;

use causeway_apply::record::{ClusterInit, Gateway, GatewayEvent, Limits, Trim, encode_message};
use causeway_apply::{Record, Twin};
use causeway_model::{
    ClientId, HashKey, Incarnation, Lineage, Message, Millis, Namespace, Properties, Publisher, Qos, Topic,
};
use causeway_storage::{Ahead, BatchKind, Draft, GroupBuilder, Sim, Writer};

use super::*;

/// A log on a simulated disk, and a machine beside it.
struct Bench {
    writer: Writer,
    machine: Machine<Twin>,
}

impl Bench {
    fn new() -> Self {
        let options = causeway_storage::Options { ahead: Ahead::Inline, segment_bytes: 1 << 20, ..Default::default() };
        let log = causeway_storage::create(Arc::new(Sim::new(1)), Path::new("/log"), options, Lineage(1)).unwrap();
        let tables = Arc::new(Twin::new());
        let machine = Machine {
            shard: ShardId(0),
            apply: Apply::open(&*tables).unwrap(),
            tables,
            effects: Effects::new(),
            positions: Vec::new(),
            view: Arc::default(),
            subscribers: Arc::default(),
            dirty: Arc::new(Dirty::new(u64::MAX)),
        };
        let mut bench = Self { writer: log.writer, machine };
        let (level, shard, limits) = (1, ShardId(0), Limits::default());
        let init = ClusterInit { lineage: Lineage(1), key: HashKey([1; 16]), level, shard, shards: 1, limits };
        let batch = bench.batch(&[Record::ClusterInit(init)], 0);
        bench.apply(&[batch], false);
        bench
    }

    /// Appends a batch of records and so many messages.
    fn batch(&mut self, records: &[Record], messages: usize) -> Arc<Batch> {
        let mut group = GroupBuilder::with_capacity(1024);
        for record in records {
            group.record(|buf| record.encode(buf));
        }
        for _ in 0..messages {
            group.record(|buf| encode_message(&message(), None, buf));
        }
        let index = self.writer.next_index();
        let (kind, time, groups) = (BatchKind::Data, Millis(1), vec![group.finish()]);
        let committed = index.saturating_sub(1);
        self.writer.append(Draft { kind, term: 1, index, committed, time, groups }).unwrap()
    }

    fn apply(&mut self, run: &[Arc<Batch>], live: bool) -> Vec<Applied<Outcome>> {
        let mut outcomes = Vec::new();
        self.machine.apply(run, live, &mut outcomes).unwrap();
        outcomes
    }
}

fn message() -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new("m".into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(1),
        publisher: Publisher { client: ClientId("p".into()), session: None, pid: None },
        properties: Properties::default(),
        body: "body".into(),
    }
}

#[test]
fn a_run_of_batches_is_one_frame_a_batch_with_its_own_messages() {
    let mut bench = Bench::new();
    let mut frames = bench.machine.subscribers.subscribe(10, usize::MAX);
    let start = bench.machine.view.applied();
    let run = [bench.batch(&[], 3), bench.batch(&[], 0), bench.batch(&[], 1)];
    let outcomes = bench.apply(&run, true);
    assert_eq!(outcomes.len(), 4);
    let positions: Vec<_> = run.iter().flat_map(|batch| batch.records()).map(|(at, _)| at).collect();
    assert_eq!(outcomes.iter().map(|applied| applied.position).collect::<Vec<_>>(), positions);

    let frames: Vec<_> = std::iter::from_fn(|| frames.try_recv()).collect();
    let counts: Vec<_> = frames.iter().map(|frame| frame.notices.len()).collect();
    assert_eq!(counts, [3, 0, 1]);
    let mut at = start;
    for (frame, batch) in frames.iter().zip(&run) {
        assert_eq!((frame.from, frame.to), (at, batch.end()));
        at = frame.to;
    }
    let stamps: Vec<_> = frames.iter().flat_map(|frame| frame.iter()).map(|(notice, _)| notice.stamp).collect();
    assert_eq!(stamps, positions.iter().map(|at| at.stamp()).collect::<Vec<_>>());
    assert_eq!(bench.machine.view.applied(), at);
}

#[test]
fn nothing_fires_from_replay_but_rows_and_marks_are_the_same() {
    let (mut live, mut replayed) = (Bench::new(), Bench::new());
    for (bench, is_live) in [(&mut live, true), (&mut replayed, false)] {
        let mut frames = bench.machine.subscribers.subscribe(10, usize::MAX);
        let trim = Record::Trim(Trim { first: Position(5) });
        let lost = Record::Gateway(Gateway { incarnation: Incarnation(3), event: GatewayEvent::Lost });
        let batch = bench.batch(&[trim, lost], 2);
        let outcomes = bench.apply(&[batch], is_live);
        assert_eq!(outcomes.len(), if is_live { 4 } else { 0 });
        assert_eq!(frames.try_recv().is_some(), is_live);
        assert_eq!(bench.machine.view.lost.load(Ordering::Acquire), is_live);
        assert_eq!(bench.machine.view.first(), Position(if is_live { 5 } else { 0 }));
    }
    assert_eq!(live.machine.tables.dump(), replayed.machine.tables.dump());
    assert_eq!(live.machine.applied(), replayed.machine.applied());
    assert_eq!(*live.machine.view.digest.lock(), *replayed.machine.view.digest.lock());
}

#[test]
fn a_batch_that_does_not_follow_stops_and_writes_nothing() {
    let mut bench = Bench::new();
    let _skipped = bench.batch(&[], 1);
    let next = bench.batch(&[], 1);
    let before = bench.machine.tables.dump();
    let error = bench.machine.apply(&[next], true, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, ApplyError::Order { .. }), "{error}");
    assert_eq!(bench.machine.tables.dump(), before);
}
