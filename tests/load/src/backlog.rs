//! What one publisher has sent and its subscribers have not yet received: the other half of the closed loop.
//!
//! A server may acknowledge faster than it delivers. Without this bound its queues would grow for as long as the run
//! lasts, and a server that drops what it cannot queue would look fast.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// For how long nothing may arrive before what is outstanding is taken for lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Deliveries that are owed. Counters only: the order of their updates does not matter.
#[derive(Debug)]
pub(crate) struct Backlog {
    /// Subscribers that each message goes to.
    copies: u64,
    /// Most deliveries outstanding.
    limit: u64,
    owed: AtomicU64,
    arrived: AtomicU64,
    written_off: AtomicU64,
    room: Notify,
}

impl Backlog {
    /// A bound of `messages` messages, each of which goes to `copies` subscribers.
    pub(crate) fn new(messages: u64, copies: u64) -> Self {
        Self {
            copies,
            limit: messages * copies,
            owed: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            written_off: AtomicU64::new(0),
            room: Notify::new(),
        }
    }

    /// Takes room for one more message. `false`: wait for [`Backlog::room`].
    pub(crate) fn owe(&self) -> bool {
        if self.outstanding() + self.copies > self.limit {
            return false;
        }
        self.owed.fetch_add(self.copies, Relaxed);
        true
    }

    /// Deliveries have arrived.
    pub(crate) fn arrived(&self, deliveries: u64) {
        self.arrived.fetch_add(deliveries, Relaxed);
        self.room.notify_one();
    }

    /// Returns when there may be room again. One waiter: the publisher.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// Deliveries that are still awaited.
    pub(crate) fn outstanding(&self) -> u64 {
        let settled = self.arrived.load(Relaxed) + self.written_off.load(Relaxed);
        // What was written off may arrive after all.
        self.owed.load(Relaxed).saturating_sub(settled)
    }

    /// Deliveries that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.owed.load(Relaxed).saturating_sub(self.arrived.load(Relaxed))
    }
}

/// Notices a backlog on which nothing happens, and writes off what is outstanding so that the run goes on.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What was owed and what had arrived when something last happened.
    seen: (u64, u64),
    since: Instant,
}

impl Watch {
    /// Starts to watch.
    pub(crate) fn new(now: Instant) -> Self {
        Self { seen: (0, 0), since: now }
    }

    /// Looks at the backlog; writes off what is outstanding if nothing has been sent or has arrived for long.
    pub(crate) fn look(&mut self, backlog: &Backlog, now: Instant) {
        let seen = (backlog.owed.load(Relaxed), backlog.arrived.load(Relaxed));
        let outstanding = backlog.outstanding();
        if seen != self.seen || outstanding == 0 {
            *self = Self { seen, since: now };
        } else if now.duration_since(self.since) >= PATIENCE {
            backlog.written_off.fetch_add(outstanding, Relaxed);
            backlog.room.notify_one();
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_by_whole_messages_and_given_back_by_deliveries() {
        let backlog = Backlog::new(2, 3);
        assert!(backlog.owe() && backlog.owe() && !backlog.owe());
        backlog.arrived(2);
        assert!(!backlog.owe(), "one copy of the first is still missing");
        backlog.arrived(1);
        assert!(backlog.owe());
        assert_eq!(backlog.outstanding(), 6);
    }

    #[test]
    fn what_does_not_come_for_long_is_written_off_and_counted_as_lost() {
        let backlog = Backlog::new(2, 1);
        let start = Instant::now();
        let mut watch = Watch::new(start);
        assert!(backlog.owe() && backlog.owe());
        backlog.arrived(1);
        watch.look(&backlog, start);
        watch.look(&backlog, start + PATIENCE / 2);
        assert_eq!(backlog.outstanding(), 1);
        watch.look(&backlog, start + PATIENCE);
        assert_eq!((backlog.outstanding(), backlog.lost()), (0, 1));
        assert!(backlog.owe() && backlog.owe(), "the whole window is there again");
    }

    #[test]
    fn an_idle_loop_loses_nothing() {
        let backlog = Backlog::new(1, 1);
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for wait in 0..10 {
            watch.look(&backlog, start + PATIENCE * wait);
        }
        assert!(backlog.owe());
        watch.look(&backlog, start + PATIENCE * 10);
        assert_eq!(backlog.outstanding(), 1, "it has only just been sent");
    }
}
