//! Courtesies that nobody waits for: telling an old owner to let go, taking back a hint that was wrong. One task runs
//! them, batch by batch; over the bound they are dropped, since nothing depends on them.
//!
//! A kick that cannot be handed over waits for its gateway: without it a connection that was taken over and says nothing
//! would stay until its keep alive. See [`Waiting`].

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::reach::Reach;
use super::waiting::{Order, Waiting};
use crate::port::{Ask, Lookup, Map, Whereabout};
use crate::registry::Kick;

/// Errands that wait to be looked at.
const BOUND: usize = 4096;
/// Errands that are run at once, and kicks that one gateway is asked at once.
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
    waiting: Waiting,
    /// Gateways that are being told; each once at a time, so that a silent one holds nobody else up.
    telling: FuturesUnordered<BoxFuture<'static, Told>>,
}

/// What came of telling a gateway.
struct Told {
    gateway: Incarnation,
    orders: Vec<Order>,
    answered: bool,
}

pub(super) fn errands(
    map: watch::Receiver<Arc<Map>>,
    lookup: Arc<dyn Lookup>,
    reach: Arc<Reach>,
    dropped: IntCounter,
) -> (Errands, Courier) {
    let (sender, inbox) = mpsc::channel(BOUND);
    let waiting = Waiting::new(Arc::clone(&map.borrow()), dropped.clone());
    let telling = FuturesUnordered::new();
    (Errands { sender, dropped }, Courier { inbox, map, lookup, reach, waiting, telling })
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
        loop {
            let due = self.waiting.due(|gateway| self.reach.silent_until(gateway));
            let due = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                came = self.inbox.recv_many(&mut batch, BATCH) => if came == 0 { return },
                moved = self.map.changed() => if moved.is_err() { return },
                Some(told) = self.telling.next() => self.told(told),
                () = due => {}
            }
            self.waiting.follow(&self.map.borrow_and_update(), Instant::now());
            let mut stale = Vec::new();
            for errand in batch.drain(..) {
                match errand {
                    Errand::Kick { gateway, client, upto, why } => {
                        self.waiting.put(gateway, Order { came: Instant::now(), client, upto, why });
                    }
                    Errand::Stale(entry) => stale.push(entry),
                }
            }
            self.tell();
            if !stale.is_empty() {
                self.lookup.remove(stale).await;
            }
        }
    }

    /// Begins to tell every gateway that is not silent, as far as is known.
    fn tell(&mut self) {
        let ready = self.waiting.take(BATCH, |gateway| !self.reach.is_silent(gateway));
        for (member, orders) in ready {
            let reach = Arc::clone(&self.reach);
            let kick = |order: &Order| Ask::Kick {
                client: order.client,
                why: order.why,
                upto: Some(order.upto),
                wait: Duration::ZERO,
            };
            let asks = orders.iter().map(kick).collect();
            self.telling.push(Box::pin(async move {
                let answered = reach.ask(&member, asks).await.is_ok();
                Told { gateway: member.incarnation, orders, answered }
            }));
        }
    }

    fn told(&mut self, told: Told) {
        let again = if told.answered { Vec::new() } else { told.orders };
        self.waiting.settle(told.gateway, again);
    }
}
