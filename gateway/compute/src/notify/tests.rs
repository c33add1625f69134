//! Notify under interleavings made of explicit steps: no task, no time, one entry of work a step.

mod property;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Position, QueueId, ShardId};
use futures_util::{FutureExt, poll};
use parking_lot::Mutex;

use super::table::Step;
use super::*;
use crate::double::{Double, frame, process, queue};
use crate::port::Frame;

const SHARD: ShardId = ShardId(0);

fn hub(shards: u32) -> Arc<Hub> {
    Arc::new(Hub::new(Double::new(shards), everything(shards), process().metrics.notify))
}

/// Frames name every queue.
fn everything(shards: u32) -> Vec<Arc<Wants>> {
    let wants = || {
        let wants = Wants::default();
        wants.everything();
        Arc::new(wants)
    };
    std::iter::repeat_with(wants).take(shards as usize).collect()
}

/// Attaches where frames name every queue, so that nothing is to be waited for.
fn attach(hub: &Hub, queue: QueueId, mailbox: &Mailbox) -> Vec<(ShardId, Position)> {
    hub.attach(&[queue], mailbox).above().now_or_never().unwrap()
}

/// A hub whose steps do one lookup or one mark each.
fn slow_hub(shards: u32) -> Arc<Hub> {
    let mut hub = Hub::new(Double::new(shards), everything(shards), process().metrics.notify);
    for shard in &mut hub.shards {
        shard.table = Mutex::new(Table::new(shard.id, Position(0), 1));
    }
    Arc::new(hub)
}

fn step(hub: &Hub, delivery: &mut Delivery) -> Step {
    hub.shards[0].step(delivery)
}

fn deliver(hub: &Hub, frame: Frame) -> Vec<Step> {
    let shard = &hub.shards[frame.shard.0 as usize];
    let mut delivery = Delivery::frame(Arc::new(frame));
    let mut steps = Vec::new();
    while !steps.last().is_some_and(|step: &Step| step.done) {
        steps.push(shard.step(&mut delivery));
    }
    steps
}

/// Stamps with their queues, and lag marks.
type Told = (Vec<(u64, Vec<QueueId>)>, Vec<(ShardId, Position)>);

fn take(mailbox: &Mailbox) -> Told {
    let mut hints = Vec::new();
    let taken = mailbox.take(&mut hints);
    (hints.into_iter().map(|hint| (hint.stamp.0, hint.queues.to_vec())).collect(), taken.lagging)
}

fn stamps(mailbox: &Mailbox) -> Vec<u64> {
    let (hints, lagging) = take(mailbox);
    assert_eq!(lagging, []);
    hints.into_iter().map(|(stamp, _)| stamp).collect()
}

#[test]
fn a_mailbox_hears_of_its_queues_only_and_once_a_stamp() {
    let hub = hub(1);
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    attach(&hub, queue(2), &mailbox);
    deliver(&hub, frame(0, 0, 100, &[(10, &[3]), (20, &[1, 3, 2]), (30, &[]), (40, &[2])]));
    let (hints, lagging) = take(&mailbox);
    assert_eq!(hints, [(20, vec![queue(1), queue(2)]), (40, vec![queue(2)])]);
    assert_eq!(lagging, []);
    assert_eq!(take(&mailbox), (vec![], vec![]));
}

#[test]
fn whoever_attaches_in_the_middle_of_a_frame_gets_what_is_above_the_boundary() {
    let hub = slow_hub(1);
    let early = hub.mailbox(8);
    assert_eq!(attach(&hub, queue(1), &early), [(SHARD, Position(0))]);
    let mut delivery = Delivery::frame(Arc::new(frame(0, 0, 100, &[(10, &[1]), (20, &[1]), (30, &[1])])));
    assert!(!step(&hub, &mut delivery).done);
    let late = hub.mailbox(8);
    assert_eq!(attach(&hub, queue(1), &late), [(SHARD, Position(10))]);
    assert!(!step(&hub, &mut delivery).done);
    assert!(step(&hub, &mut delivery).done);
    assert_eq!(stamps(&early), [10, 20, 30]);
    assert_eq!(stamps(&late), [20, 30]);
    let last = hub.mailbox(8);
    assert_eq!(attach(&hub, queue(1), &last), [(SHARD, Position(100))]);
}

#[test]
fn whoever_attaches_while_a_gap_is_being_marked_starts_above_it() {
    let hub = slow_hub(1);
    let (first, second) = (hub.mailbox(8), hub.mailbox(8));
    attach(&hub, queue(1), &first);
    attach(&hub, queue(1), &second);
    let mut delivery = Delivery::frame(Arc::new(frame(0, 50, 100, &[(60, &[1])])));
    // The first slot is marked, the second is not yet.
    assert!(step(&hub, &mut delivery).gap);
    drop(first);
    let late = hub.mailbox(8);
    assert_eq!(attach(&hub, queue(1), &late), [(SHARD, Position(50))]);
    while !step(&hub, &mut delivery).done {}
    assert_eq!(stamps(&late), [60]);
    // Marked, so that the frame's own hint only moves the mark.
    assert_eq!(take(&second), (vec![], vec![(SHARD, Position(60))]));
}

#[test]
fn a_gap_drops_the_hints_below_it_and_a_collapsed_frame_has_none_above_it() {
    let hub = hub(1);
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    deliver(&hub, frame(0, 0, 10, &[(5, &[1])]));
    deliver(&hub, frame(0, 20, 30, &[]));
    assert_eq!(take(&mailbox), (vec![], vec![(SHARD, Position(20))]));
    deliver(&hub, frame(0, 30, 40, &[(35, &[1])]));
    assert_eq!(stamps(&mailbox), [35]);
    deliver(&hub, Frame { collapsed: true, ..frame(0, 40, 90, &[]) });
    assert_eq!(take(&mailbox), (vec![], vec![(SHARD, Position(90))]));
}

#[test]
fn a_stream_that_begins_anew_with_frames_that_were_seen_repeats_no_hint() {
    let hub = hub(1);
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    deliver(&hub, frame(0, 0, 20, &[(5, &[1]), (15, &[1])]));
    deliver(&hub, frame(0, 10, 30, &[(15, &[1]), (25, &[1])]));
    assert_eq!(stamps(&mailbox), [5, 15, 25]);
}

#[test]
fn a_full_mailbox_keeps_one_position_a_shard_and_no_hints() {
    let hub = hub(2);
    let (slow, quick) = (hub.mailbox(2), hub.mailbox(2));
    attach(&hub, queue(1), &slow);
    attach(&hub, queue(1), &quick);
    for (shard, stamp) in [(0, 10), (1, 10), (0, 20), (0, 30), (1, 20)] {
        deliver(&hub, frame(shard, stamp - 10, stamp, &[(stamp, &[1])]));
        assert_eq!(stamps(&quick), [stamp]);
    }
    let lagging = vec![(ShardId(0), Position(30)), (ShardId(1), Position(20))];
    assert_eq!(take(&slow), (vec![], lagging));
    deliver(&hub, frame(0, 30, 40, &[(40, &[1])]));
    assert_eq!(stamps(&slow), [40]);
}

#[test]
fn overlap_takes_one_place_in_a_mailbox() {
    let hub = hub(1);
    let mailbox = hub.mailbox(1);
    for number in 1..=4 {
        attach(&hub, queue(number), &mailbox);
    }
    deliver(&hub, frame(0, 0, 10, &[(10, &[1, 2, 3, 4])]));
    assert_eq!(take(&mailbox), (vec![(10, (1..=4).map(queue).collect())], vec![]));
}

#[test]
fn a_frame_wakes_a_waiting_reader_once() {
    let hub = hub(1);
    let mailbox = hub.mailbox(64);
    attach(&hub, queue(1), &mailbox);
    let (waker, count) = counting_waker();
    let mut context = std::task::Context::from_waker(&waker);
    let mut ready = std::pin::pin!(mailbox.ready());
    assert!(ready.as_mut().poll(&mut context).is_pending());
    deliver(&hub, frame(0, 0, 50, &[(10, &[1]), (20, &[1]), (30, &[1])]));
    deliver(&hub, frame(0, 50, 60, &[(55, &[1])]));
    assert_eq!(Arc::strong_count(&count), 2, "the waker is used up, not kept");
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(ready.poll(&mut context).is_ready());
}

struct Wakes(AtomicU64);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting_waker() -> (Waker, Arc<Wakes>) {
    let wakes = Arc::new(Wakes(AtomicU64::new(0)));
    (Arc::clone(&wakes).into(), wakes)
}

#[test]
fn detaching_and_dropping_leave_nothing_behind() {
    let hub = hub(2);
    let (one, two) = (hub.mailbox(8), hub.mailbox(8));
    for mailbox in [&one, &two] {
        attach(&hub, queue(1), mailbox);
        attach(&hub, queue(2), mailbox);
        attach(&hub, queue(1), mailbox);
    }
    hub.detach(queue(1), &one);
    hub.detach(queue(1), &one);
    hub.detach(queue(9), &one);
    deliver(&hub, frame(0, 0, 10, &[(5, &[1]), (6, &[2])]));
    assert_eq!((stamps(&one), stamps(&two)), (vec![6], vec![5, 6]));
    drop(one);
    drop(two);
    for shard in &hub.shards {
        assert!(shard.table.lock().is_empty());
    }
    // Numbers are used again, and a new owner hears nothing of the old one's queues.
    let three = hub.mailbox(8);
    assert!(three.slot < 2);
    attach(&hub, queue(3), &three);
    deliver(&hub, frame(0, 10, 20, &[(15, &[1, 2]), (16, &[3])]));
    assert_eq!(stamps(&three), [16]);
}

#[test]
fn readers_that_come_and_go_on_other_threads_miss_nothing() {
    let hub = slow_hub(1);
    // Until it was told of 200 entries or gaps. Each round is a new reader: above its boundary it is told of every
    // tenth position, or it lags over it.
    let read = |capacity: usize| {
        let mut told = 0;
        while told < 200 {
            let mailbox = hub.mailbox(capacity);
            let mut at = attach(&hub, queue(1), &mailbox)[0].1.0;
            for _ in 0..20 {
                let (hints, lagging) = take(&mailbox);
                told += hints.len() + lagging.len();
                at = lagging.iter().fold(at, |at, (_, upto)| at.max(upto.0));
                for (stamp, _) in hints {
                    assert_eq!(stamp, at - at % 10 + 10, "after {at}");
                    at = stamp;
                }
                std::thread::yield_now();
            }
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = [1, 8, 1000].into_iter().map(|capacity| scope.spawn(move || read(capacity))).collect();
        let mut from = 0;
        while !readers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let stamps = (from + 10..=from + 100).step_by(10);
            let notices: Vec<(u64, &[u8])> = stamps.map(|stamp| (stamp, &[1][..])).collect();
            deliver(&hub, frame(0, from, from + 100, &notices));
            from += 100;
        }
    });
    assert!(hub.shards[0].table.lock().is_empty());
}

#[test]
fn an_idle_mailbox_is_small() {
    let hub = hub(1);
    let mailbox = hub.mailbox(2048);
    attach(&hub, queue(1), &mailbox);
    let attached = mailbox.attached.lock().capacity() * size_of::<QueueId>();
    // The handle, what dispatchers write to with its two counters, and its place in the table of one shard.
    let bytes = size_of::<Mailbox>() + attached + size_of::<Shared>() + 16 + Table::SLOT_BYTES;
    assert!(bytes < 300, "{bytes}");
    // A reader that gives its buffer away leaves the mailbox without one.
    deliver(&hub, frame(0, 0, 10, &[(5, &[1])]));
    assert_eq!(stamps(&mailbox), [5]);
    assert_eq!(mailbox.shared.buffer(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_dispatcher_hands_out_frames_in_order_and_ends_when_the_process_closes() {
    let (broker, process) = (Double::new(2), process());
    let hub = Hub::start(broker.clone(), &process.tasks, process.metrics.notify.clone());
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    assert!(broker.send(frame(1, 0, 10, &[(5, &[1])])));
    mailbox.ready().await;
    assert_eq!(stamps(&mailbox), [5]);
    assert!(broker.send(frame(1, 10, 20, &[(15, &[1])])));
    mailbox.ready().await;
    assert_eq!(stamps(&mailbox), [15]);
    process.finish(Duration::from_secs(1)).await;
    assert_eq!(process.tasks.count(), 0);
    assert_eq!(*process.tasks.failure().borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_applied_between_two_streams_is_a_gap() {
    let (broker, process) = (Double::new(1), process());
    let hub = Hub::start(broker.clone(), &process.tasks, process.metrics.notify.clone());
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    broker.set_applied(0, 70);
    let begun = tokio::time::Instant::now();
    broker.end_streams(0);
    mailbox.ready().await;
    assert_eq!(begun.elapsed(), AGAIN, "found when the stream began anew, not by a later check");
    assert_eq!(take(&mailbox), (vec![], vec![(SHARD, Position(70))]));
    while !broker.has_stream(0) {
        tokio::task::yield_now().await;
    }
    assert!(broker.send(frame(0, 60, 80, &[(65, &[1]), (75, &[1])])));
    mailbox.ready().await;
    assert_eq!(stamps(&mailbox), [75]);
    assert!(hub.dispatched(SHARD) >= Position(70));
}

#[tokio::test(start_paused = true)]
async fn frames_that_were_dropped_at_the_end_of_a_stream_are_missed_within_two_checks() {
    let (broker, process) = (Double::new(1), process());
    let hub = Hub::start(broker.clone(), &process.tasks, process.metrics.notify.clone());
    let mailbox = hub.mailbox(8);
    attach(&hub, queue(1), &mailbox);
    let mut ready = std::pin::pin!(mailbox.ready());
    assert!(poll!(ready.as_mut()).is_pending());
    // Applied moves on and the stream, whose reader was too slow, stays silent.
    broker.set_applied(0, 90);
    let begun = tokio::time::Instant::now();
    ready.await;
    assert!(begun.elapsed() <= 2 * CHECK);
    assert_eq!(take(&mailbox), (vec![], vec![(SHARD, Position(90))]));
}
