//! Courtesies that nobody waits for: telling an old owner to let go, taking back a hint that was wrong. One task runs
//! them, batch by batch; over the bound they are dropped, since nothing depends on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId};
use futures_util::future::join_all;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};

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
        while self.inbox.recv_many(&mut batch, BATCH).await > 0 {
            let mut kicks: BTreeMap<Incarnation, Vec<Ask>> = BTreeMap::new();
            let mut stale = Vec::new();
            for errand in batch.drain(..) {
                match errand {
                    Errand::Kick { gateway, client, upto, why } => {
                        let ask = Ask::Kick { client, why, upto: Some(upto), wait: Duration::ZERO };
                        kicks.entry(gateway).or_default().push(ask);
                    }
                    Errand::Stale(entry) => stale.push(entry),
                }
            }
            let map = Arc::clone(&self.map.borrow());
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
