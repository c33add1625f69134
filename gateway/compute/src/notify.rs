//! Notify: from frames of a shard to hints in the mailboxes of those who wait for the queues.
//!
//! ```text
//! Broker::notify_of ─ Frame ─► dispatcher (a task a shard) ─► table: queue → mailboxes ─► Mailbox ─► session
//!        ▲                     gap or collapsed frame: every mailbox of the shard is marked lagging
//!        └─ Wants ◄── attach: a queue's first mailbox; detach: its last
//! ```
//!
//! Invariants, each tested:
//! - After `attach` named (shard, P), every entry of the queue on the shard with a stamp above P is either hinted
//!   or covered by a lagging mark, however attach and a frame interleave, and whether frames name all queues or those
//!   only that have a mailbox.
//! - A mailbox holds at most its capacity of hints; full, it forgets them and keeps one position a shard.
//! - Hints of a shard come in stamp order, one a stamp with all its attached queues.
//!
//! It does not read the index, fetch bodies or know filters: a hint says that it is worth looking.

mod attached;
mod mailbox;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use causeway_model::{Position, QueueId, ShardId};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::MissedTickBehavior;

use self::mailbox::Shared;
use self::table::{Delivery, STEP, Step, Table};
use crate::metrics::NotifyMetrics;
use crate::port::{Broker, Frames, Wants};
use crate::task::{Kind, Tasks};

pub use self::attached::Attached;
pub use self::mailbox::{Hint, Mailbox, Matched, Taken};

/// How often a silent stream is compared with what the broker has applied.
const CHECK: Duration = Duration::from_secs(1);

/// Pause before a stream that ended is asked for again.
const AGAIN: Duration = Duration::from_millis(100);

/// All mailboxes of a gateway.
pub struct Hub {
    broker: Arc<dyn Broker>,
    shards: Box<[Shard]>,
    numbers: Mutex<Numbers>,
    metrics: NotifyMetrics,
}

struct Shard {
    id: ShardId,
    table: Mutex<Table>,
    /// Queues with a mailbox: changed under the table's lock, so that changes are in its order.
    wants: Arc<Wants>,
    dispatched: AtomicU64,
}

impl Shard {
    /// One step under the lock, which then goes to whoever waits for it; readers are woken after that.
    fn step(&self, delivery: &mut Delivery) -> Step {
        let mut table = self.table.lock();
        let step = table.step(delivery);
        MutexGuard::unlock_fair(table);
        delivery.wakers.drain(..).for_each(Waker::wake);
        step
    }

    /// Adds a mailbox to a queue, unless it is there; above which position it hears of it, if that is known already.
    fn attach(&self, queue: QueueId, mailbox: &Mailbox, new: bool) -> (Position, bool) {
        let mut table = self.table.lock();
        let above = if new { table.attach(queue, mailbox.slot, &mailbox.shared) } else { table.dispatched() };
        let named = self.wants.add(queue);
        (named.map_or(above, |from| from.max(above)), named.is_some())
    }

    fn detach(&self, queue: QueueId, slot: u32) {
        let mut table = self.table.lock();
        if table.detach(queue, slot) {
            self.wants.remove(queue);
        }
    }
}

/// Slot numbers of mailboxes, used again.
#[derive(Default)]
struct Numbers {
    next: u32,
    free: Vec<u32>,
}

impl Hub {
    /// Asks for the frames of every shard and starts a dispatcher for each.
    pub fn start(broker: Arc<dyn Broker>, tasks: &Tasks, metrics: NotifyMetrics) -> Arc<Self> {
        let begin = |shard| {
            let wants = Arc::default();
            (shard, broker.notify_of(shard, &wants), wants)
        };
        let streams: Vec<_> = broker.cluster().shards().map(begin).collect();
        let wants = streams.iter().map(|(_, _, wants)| Arc::clone(wants)).collect();
        // Applied is read after the streams began: what is above it comes as a frame.
        let hub = Arc::new(Self::new(broker, wants, metrics));
        for (shard, frames, _) in streams {
            let (hub, drain) = (Arc::clone(&hub), tasks.drain().clone());
            tasks.spawn(Kind::Dispatch, async move {
                tokio::select! {
                    () = drain.closing() => {}
                    () = hub.run(shard, frames) => {}
                }
            });
        }
        hub
    }

    fn new(broker: Arc<dyn Broker>, wants: Vec<Arc<Wants>>, metrics: NotifyMetrics) -> Self {
        let shard = |(id, wants)| {
            let applied = broker.applied(id);
            Shard { id, table: Mutex::new(Table::new(id, applied, STEP)), wants, dispatched: AtomicU64::new(applied.0) }
        };
        let shards = broker.cluster().shards().zip(wants).map(shard).collect();
        Self { broker, shards, numbers: Mutex::default(), metrics }
    }

    /// Everything at or below was handed to the mailboxes attached then. An unknown shard is at zero.
    pub fn dispatched(&self, shard: ShardId) -> Position {
        Position(self.shard(shard).map_or(0, |shard| shard.dispatched.load(Ordering::Acquire)))
    }

    /// A mailbox for one connection that holds at most `capacity` hints (at least 1).
    pub fn mailbox(self: &Arc<Self>, capacity: usize) -> Mailbox {
        let slot = {
            let mut numbers = self.numbers.lock();
            numbers.free.pop().unwrap_or_else(|| {
                numbers.next += 1;
                numbers.next - 1
            })
        };
        Mailbox { hub: Arc::clone(self), slot, shared: Arc::new(Shared::new(capacity)), attached: Mutex::default() }
    }

    /// From now on the mailbox hears of the queues: every entry above the positions of the answer, one position a shard,
    /// is hinted or covered by a lagging mark. Attaching again changes nothing and says where the shards are now.
    pub fn attach(&self, queues: &[QueueId], mailbox: &Mailbox) -> Attached {
        let mut attached = mailbox.attached.lock();
        let mut answer = Attached::new(self.shards.iter().map(|shard| shard.id));
        for queue in queues {
            let place = attached.binary_search(queue);
            if let Err(at) = place {
                attached.insert(at, *queue);
            }
            for (at, shard) in self.shards.iter().enumerate() {
                let (above, named) = shard.attach(*queue, mailbox, place.is_err());
                answer.add(at, above, (!named).then(|| (Arc::clone(&shard.wants), *queue)));
            }
        }
        answer
    }

    /// The mailbox hears no more of the queue. Hints that it holds already stay.
    pub fn detach(&self, queue: QueueId, mailbox: &Mailbox) {
        let mut attached = mailbox.attached.lock();
        if let Ok(at) = attached.binary_search(&queue) {
            attached.remove(at);
            self.shards.iter().for_each(|shard| shard.detach(queue, mailbox.slot));
        }
    }

    fn leave(&self, slot: u32, attached: &[QueueId]) {
        for shard in &self.shards {
            for queue in attached {
                shard.detach(*queue, slot);
            }
        }
        // Only now: another mailbox may get the number at once.
        self.numbers.lock().free.push(slot);
    }

    fn shard(&self, id: ShardId) -> Option<&Shard> {
        self.shards.get(id.0 as usize)
    }

    async fn run(&self, shard: ShardId, mut frames: Frames) {
        let Some(shard) = self.shard(shard) else { return };
        loop {
            self.follow(shard, &mut frames).await;
            tracing::debug!(shard = shard.id.0, "notify stream ended, asking again");
            tokio::time::sleep(AGAIN).await;
            frames = self.broker.notify_of(shard.id, &shard.wants);
            // What was applied between the streams comes in no frame.
            self.dispatch(shard, Delivery::gap(self.broker.applied(shard.id))).await;
        }
    }

    /// Until the stream ends.
    async fn follow(&self, shard: &Shard, frames: &mut Frames) {
        let mut check = tokio::time::interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                biased;
                frame = frames.recv() => match frame {
                    Some(frame) => {
                        self.metrics.notices.inc_by(frame.notices.len() as u64);
                        self.dispatch(shard, Delivery::frame(frame)).await;
                        self.metrics.frames.inc();
                    },
                    None => return,
                },
                _ = check.tick() => {
                    // A reader that fell behind sees a gap with the next frame. When there is no next frame, this
                    // finds it: applied a whole period ago, and the stream is silent.
                    let applied = self.broker.applied(shard.id);
                    if let Some(upto) = seen.filter(|seen| *seen > self.dispatched(shard.id)) {
                        self.dispatch(shard, Delivery::gap(upto)).await;
                    }
                    seen = Some(applied);
                }
            }
        }
    }

    async fn dispatch(&self, shard: &Shard, mut delivery: Delivery) {
        let timer = self.metrics.dispatch.start_timer();
        loop {
            let step = shard.step(&mut delivery);
            self.metrics.gaps.inc_by(u64::from(step.gap));
            self.metrics.hints.inc_by(step.hints);
            self.metrics.overflows.inc_by(step.overflows);
            if step.done {
                break;
            }
            tokio::task::yield_now().await;
        }
        shard.dispatched.fetch_max(delivery.to.0, Ordering::Release);
        timer.observe_duration();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
