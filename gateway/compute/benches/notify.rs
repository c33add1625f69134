//! Handing frames to mailboxes, on one core, through the public API: a channel of frames in, hints out.
//!
//! `items` are hints (or, without subscribers, queue lookups), so `items/s` is the figure to watch. Readers take what
//! they got outside the measured part, as their own tasks do.

#![expect(clippy::unwrap_used, reason = "a bench has nobody to report to")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_compute::metrics::Metrics;
use causeway_compute::notify::{Hub, Mailbox};
use causeway_compute::port::{
    Broker, Cluster, Command, EntryFlags, Error, Frame, FrameSender, Frames, Notice, Offered, Page, Read, Reply,
    Session, frames,
};
use causeway_compute::process::Process;
use causeway_model::{HashKey, Kind, Lineage, Message, Position, QueueId, QueueKind, ShardId, Sid};
use divan::Bencher;
use divan::counter::ItemsCount;
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

const SHARD: ShardId = ShardId(0);
const KEY: HashKey = HashKey([9; 16]);

#[derive(Default)]
struct Source {
    frames: Mutex<Option<Arc<FrameSender>>>,
    applied: AtomicU64,
}

impl Broker for Source {
    fn cluster(&self) -> Cluster {
        Cluster { lineage: Lineage(1), key: KEY, level: 1, shards: 1 }
    }
    fn propose(&self, shard: ShardId, _: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        unsupported(shard)
    }
    fn read(&self, shard: ShardId, _: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        unsupported(shard)
    }
    fn fetch(&self, shard: ShardId, _: Vec<Position>) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        unsupported(shard)
    }
    fn session(&self, shard: ShardId, _: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        unsupported(shard)
    }
    fn notify(&self, _: ShardId) -> Frames {
        let (sender, frames) = frames(16, usize::MAX);
        *self.frames.lock() = Some(Arc::new(sender));
        frames
    }
    fn applied(&self, _: ShardId) -> Position {
        Position(self.applied.load(Ordering::Relaxed))
    }
    fn first(&self, _: ShardId) -> Position {
        Position(0)
    }
}

fn unsupported<T: Send + 'static>(shard: ShardId) -> BoxFuture<'static, Result<T, Error>> {
    Box::pin(ready(Err(Error { operation: "bench", shard, kind: Kind::Unsupported })))
}

struct Bench {
    runtime: Runtime,
    _process: Process,
    source: Arc<Source>,
    hub: Arc<Hub>,
    at: Mutex<u64>,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let entered = runtime.enter();
        let registry = prometheus::Registry::new();
        let process = Process::new(registry).unwrap();
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let source = Arc::new(Source::default());
        let hub = Hub::start(source.clone(), &process.tasks, metrics.notify);
        drop(entered);
        Self { runtime, _process: process, source, hub, at: Mutex::new(0) }
    }

    /// A mailbox for each list of queues.
    fn mailboxes(&self, capacity: usize, queues: impl Iterator<Item = QueueId>) -> Vec<Mailbox> {
        let mailbox = |queue| {
            let mailbox = self.hub.mailbox(capacity);
            assert!(self.hub.attach(&[queue], &mailbox).is_known());
            mailbox
        };
        queues.map(mailbox).collect()
    }

    fn frame(&self, notices: impl Iterator<Item = Vec<QueueId>>) -> Arc<Frame> {
        let mut at = self.at.lock();
        let from = Position(*at);
        let mut queues = Vec::new();
        let notice = |ids: Vec<QueueId>| {
            *at += 300;
            let count = ids.len().try_into().unwrap();
            queues.extend(ids);
            let position = Position(*at);
            Notice { stamp: position.stamp(), position, length: 300, flags: EntryFlags::default(), queues: count }
        };
        let notices = notices.map(notice).collect();
        *at += 80;
        Arc::new(Frame { shard: SHARD, from, to: Position(*at), collapsed: false, notices, queues })
    }

    fn hand_out(&self, frame: &Arc<Frame>) {
        let to = frame.to;
        self.source.applied.store(to.0, Ordering::Relaxed);
        let sender = self.source.frames.lock().clone().unwrap();
        self.runtime.block_on(async {
            assert_eq!(sender.offer(frame), Offered::Taken);
            while self.hub.dispatched(SHARD) < to {
                tokio::task::yield_now().await;
            }
        });
    }
}

fn queue(number: usize) -> QueueId {
    KEY.queue(QueueKind::Light, &causeway_model::Namespace::default(), &format!("topic/{number}"))
}

fn empty(mailboxes: &[Mailbox]) {
    let mut hints = Vec::new();
    for mailbox in mailboxes {
        drop(black_box(mailbox.take(&mut hints)));
        hints.clear();
    }
}

/// One topic with many subscribers; (subscribers, messages in a frame).
#[divan::bench(args = [(1, 1), (1, 20), (200, 1), (200, 20), (10_000, 1), (10_000, 20)])]
fn fan_out(bencher: Bencher<'_, '_>, (subscribers, messages): (usize, usize)) {
    let bench = Bench::new();
    let mailboxes = bench.mailboxes(64, std::iter::repeat_n(queue(0), subscribers));
    bencher
        .counter(ItemsCount::new(subscribers * messages))
        .with_inputs(|| {
            empty(&mailboxes);
            bench.frame((0..messages).map(|_| vec![queue(0)]))
        })
        .bench_local_values(|frame| bench.hand_out(&frame));
}

/// A topic for each subscriber; a frame of 100 messages.
#[divan::bench(args = [100, 100_000])]
fn point_to_point(bencher: Bencher<'_, '_>, topics: usize) {
    let bench = Bench::new();
    let mailboxes = bench.mailboxes(64, (0..topics).map(queue));
    let mut next = 0;
    bencher
        .counter(ItemsCount::new(100_usize))
        .with_inputs(|| {
            empty(&mailboxes);
            bench.frame((0..100).map(|_| {
                next = (next + 7919) % topics;
                vec![queue(next)]
            }))
        })
        .bench_local_values(|frame| bench.hand_out(&frame));
}

/// Messages to topics that nobody waits for, while others wait for 100,000 topics; three queues a message.
#[divan::bench]
fn nobody_waits(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let _mailboxes = bench.mailboxes(64, (0..100_000).map(queue));
    let mut next = 1_000_000;
    bencher
        .counter(ItemsCount::new(3_000_usize))
        .with_inputs(|| {
            bench.frame((0..1000).map(|_| {
                next += 3;
                (next..next + 3).map(queue).collect()
            }))
        })
        .bench_local_values(|frame| bench.hand_out(&frame));
}

/// Subscribers that never take: each message only moves their marks.
#[divan::bench]
fn nobody_reads(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let _mailboxes = bench.mailboxes(64, std::iter::repeat_n(queue(0), 10_000));
    bencher
        .counter(ItemsCount::new(200_000_usize))
        .with_inputs(|| bench.frame((0..20).map(|_| vec![queue(0)])))
        .bench_local_values(|frame| bench.hand_out(&frame));
}

/// A connection's share: a mailbox, one queue of its own and one that 10,000 others have, and its end.
#[divan::bench]
fn connect_and_leave(bencher: Bencher<'_, '_>) {
    let bench = Bench::new();
    let _mailboxes = bench.mailboxes(64, std::iter::repeat_n(queue(0), 10_000));
    let mut next = 0;
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        next += 1;
        let mailbox = bench.hub.mailbox(64);
        assert!(black_box(bench.hub.attach(&[queue(next), queue(0)], &mailbox)).is_known());
    });
}
