//! Who came and who went since somebody last looked: for whoever keeps a copy of it elsewhere.
//!
//! Bounded: over the bound it is forgotten, and whoever looks is told to go through everybody. Off until somebody
//! follows, so that a gateway that is alone pays for one atomic load a connection.

use std::sync::atomic::{AtomicBool, Ordering};

use causeway_model::{Epoch, QueueId, QueueIdMap};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The latest that happened to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The session's opening.
    pub epoch: Epoch,
    /// Its connection is there, or has ended.
    pub online: bool,
}

/// A client each, its latest change.
#[derive(Debug)]
pub struct Changes {
    list: QueueIdMap<Change>,
    lost: bool,
    bound: usize,
}

/// What was taken at once.
#[derive(Debug, Default)]
pub struct Taken {
    /// In no order; a client once.
    pub list: Vec<(QueueId, Change)>,
    /// More happened than was remembered: what is not listed may have changed too.
    pub lost: bool,
}

impl Changes {
    /// None yet; remembers up to `bound` clients.
    pub fn new(bound: usize) -> Self {
        Self { list: QueueIdMap::default(), lost: false, bound }
    }

    /// Remembers a change. The order of calls does not matter: a later opening counts, and of one opening its end.
    pub fn note(&mut self, client: QueueId, change: Change) {
        if self.list.len() >= self.bound && !self.list.contains_key(&client) {
            (self.list, self.lost) = (QueueIdMap::default(), true);
        }
        if self.lost {
            return;
        }
        let known = self.list.entry(client).or_insert(change);
        let newer = change.epoch > known.epoch || (change.epoch == known.epoch && !change.online);
        if newer {
            *known = change;
        }
    }

    /// Takes up to `limit` clients' changes.
    pub fn take(&mut self, limit: usize) -> Taken {
        let lost = std::mem::take(&mut self.lost);
        if self.list.len() <= limit {
            return Taken { list: std::mem::take(&mut self.list).into_iter().collect(), lost };
        }
        let some: Vec<_> = self.list.keys().take(limit).copied().collect();
        Taken { list: some.iter().filter_map(|client| self.list.remove_entry(client)).collect(), lost }
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.lost
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.list, self.lost) = (QueueIdMap::default(), false);
    }
}

/// The changes of a registry, and who waits for them.
#[derive(Debug)]
pub(super) struct Feed {
    followed: AtomicBool,
    changes: Mutex<Changes>,
    changed: Notify,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self { followed: AtomicBool::new(false), changes: Mutex::new(Changes::new(BOUND)), changed: Notify::new() }
    }

    pub(super) fn note(&self, client: QueueId, change: Change) {
        if !self.followed.load(Ordering::SeqCst) {
            return;
        }
        let first = {
            let mut changes = self.changes.lock();
            let first = changes.is_empty();
            changes.note(client, change);
            first
        };
        if first {
            self.changed.notify_one();
        }
    }

    /// Whoever opened a session before this is in the registry's pages, whoever does after it is in the changes.
    pub(super) fn follow(&self, followed: bool) {
        self.followed.store(followed, Ordering::SeqCst);
        if !followed {
            self.changes.lock().clear();
        }
    }

    pub(super) fn take(&self, limit: usize) -> Taken {
        self.changes.lock().take(limit)
    }

    pub(super) async fn changed(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.changes.lock().is_empty() {
                return;
            }
            changed.await;
        }
    }
}

/// Clients whose changes are remembered: some 4 MiB.
const BOUND: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(epoch: u64, online: bool) -> Change {
        Change { epoch: Epoch(causeway_model::Position(epoch)), online }
    }

    fn client(number: u8) -> QueueId {
        QueueId([number; 16])
    }

    #[test]
    fn in_any_order_the_latest_opening_counts_and_of_one_opening_its_end() {
        let happened = [change(1, true), change(1, false), change(5, true), change(5, false), change(7, true)];
        for rotate in 0..happened.len() {
            for upto in 1..=happened.len() {
                let mut order = happened;
                order.rotate_left(rotate);
                let mut changes = Changes::new(10);
                for change in &order[..upto] {
                    changes.note(client(1), *change);
                }
                let latest = *order[..upto].iter().max_by_key(|change| (change.epoch, !change.online)).unwrap();
                let taken = changes.take(10);
                assert_eq!((taken.list, taken.lost), (vec![(client(1), latest)], false));
                assert!(changes.is_empty());
            }
        }
    }

    #[test]
    fn over_the_bound_all_is_forgotten_and_said_so_once() {
        let mut changes = Changes::new(3);
        for number in 0..3 {
            changes.note(client(number), change(1, true));
        }
        changes.note(client(0), change(2, true));
        assert_eq!(changes.take(2).list.len(), 2);
        for number in 3..9 {
            changes.note(client(number), change(1, true));
        }
        assert!(!changes.is_empty());
        let taken = changes.take(10);
        assert!(taken.lost && taken.list.is_empty());
        assert!(changes.is_empty());
        changes.note(client(1), change(1, true));
        assert!(!changes.take(10).lost);
    }

    #[tokio::test]
    async fn nothing_is_remembered_until_somebody_follows() {
        let feed = Feed::new();
        feed.note(client(1), change(1, true));
        feed.follow(true);
        assert!(feed.take(9).list.is_empty());
        feed.note(client(1), change(2, true));
        tokio::time::timeout(std::time::Duration::from_secs(20), feed.changed()).await.unwrap();
        assert_eq!(feed.take(9).list, [(client(1), change(2, true))]);
        feed.note(client(1), change(3, true));
        feed.follow(false);
        assert!(feed.take(9).list.is_empty());
    }
}
