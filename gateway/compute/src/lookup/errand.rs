//! Courtesies that nobody waits for: telling an old owner to let go, taking back a hint that was wrong. One task runs
//! them, batch by batch; over the bound they are dropped, since nothing depends on them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId};
use futures_util::future::join_all;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::reach::Reach;
use crate::port::{Ask, Lookup, Map, Whereabout};
use crate::registry::Kick;

/// Errands that wait.
const BOUND: usize = 4096;
/// Errands that are run at once.
const BATCH: usize = 256;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errand {
    /// The gateway's connection of the client, opened here or earlier, is to go.
    Kick { gateway: Incarnation, client: QueueId, upto: Epoch, why: Kick },
    /// The gateway has no such connection.
    Stale(Whereabout),
}

/// Where errands are left.
#[derive(Clone, Debug)]
pub(super) struct Errands {
    sender: mpsc::Sender<Errand>,
    dropped: IntCounter,
}

/// Runs them.
pub(super) struct Courier {
    inbox: mpsc::Receiver<Errand>,
    map: watch::Receiver<Arc<Map>>,
    lookup: Arc<dyn Lookup>,
    reach: Arc<Reach>,
}

pub(super) fn errands(
    map: watch::Receiver<Arc<Map>>,
    lookup: Arc<dyn Lookup>,
    reach: Arc<Reach>,
    dropped: IntCounter,
) -> (Errands, Courier) {
    let (sender, inbox) = mpsc::channel(BOUND);
    (Errands { sender, dropped }, Courier { inbox, map, lookup, reach })
}

impl Errands {
    pub(super) fn leave(&self, errand: Errand) {
        if self.sender.try_send(errand).is_err() {
            self.dropped.inc();
        }
    }
}

impl Courier {
    /// Until nobody leaves errands any more.
    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut waiting = Waiting::default();
        loop {
            tokio::select! {
                came = self.inbox.recv_many(&mut batch, BATCH) => if came == 0 { return },
                // Of a gateway that is not known yet: its clients may come here before its name does.
                moved = self.map.changed(), if !waiting.0.is_empty() => {
                    if moved.is_err() { return }
                    waiting.retake(Instant::now(), &mut batch);
                }
            }
            let map = Arc::clone(&self.map.borrow_and_update());
            let (mut kicks, mut stale) = (BTreeMap::<Incarnation, Vec<Ask>>::new(), Vec::new());
            for errand in batch.drain(..) {
                match errand {
                    Errand::Kick { gateway, .. } if map.member(gateway).is_none() => {
                        waiting.put(Instant::now(), errand);
                    }
                    Errand::Kick { gateway, client, upto, why } => {
                        let ask = Ask::Kick { client, why, upto: Some(upto), wait: Duration::ZERO };
                        kicks.entry(gateway).or_default().push(ask);
                    }
                    Errand::Stale(entry) => stale.push(entry),
                }
            }
            let reach = &self.reach;
            let kicks = kicks.into_iter().filter_map(|(gateway, asks)| {
                let to = map.member(gateway).filter(|_| !reach.is_silent(gateway))?;
                Some(reach.ask(to, asks))
            });
            let kicks: Vec<_> = kicks.collect();
            let remove = async {
                if !stale.is_empty() {
                    self.lookup.remove(stale).await;
                }
            };
            tokio::join!(join_all(kicks), remove);
        }
    }
}

/// Errands that wait for the map, each with when it came. A gateway that is gone never comes: they are given up.
#[derive(Debug, Default)]
struct Waiting(VecDeque<(Instant, Errand)>);

/// How long an errand waits for the map: a few beats.
const WAIT: Duration = Duration::from_secs(30);

impl Waiting {
    fn put(&mut self, now: Instant, errand: Errand) {
        if self.0.len() == BATCH {
            self.0.pop_front();
        }
        self.0.push_back((now, errand));
    }

    /// All that have not waited for too long: those whose gateway is still unknown come back with their age lost, but the
    /// map moves rarely.
    fn retake(&mut self, now: Instant, batch: &mut Vec<Errand>) {
        let young = self.0.drain(..).filter(|(came, _)| now.saturating_duration_since(*came) < WAIT);
        batch.extend(young.map(|(_, errand)| errand));
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Position;

    use super::*;

    fn kick(client: u8) -> Errand {
        let (gateway, upto) = (Incarnation(9), Epoch(Position(1)));
        Errand::Kick { gateway, client: QueueId([client; 16]), upto, why: Kick::TakenOver }
    }

    #[test]
    fn what_waits_for_the_map_is_bounded_in_number_and_time() {
        let (mut waiting, mut batch, start) = (Waiting::default(), Vec::new(), Instant::now());
        waiting.put(start, kick(1));
        waiting.put(start + WAIT / 2, kick(2));
        waiting.retake(start + WAIT, &mut batch);
        assert!(matches!(batch[..], [Errand::Kick { client: QueueId([2, ..]), .. }]), "{batch:?}");
        for _ in 0..=BATCH {
            waiting.put(start, kick(3));
        }
        assert_eq!(waiting.0.len(), BATCH);
    }
}
