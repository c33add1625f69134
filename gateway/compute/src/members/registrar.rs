//! The leader's side: leases in memory, joined and lost in the log of shard 0.
//!
//! One task ticks; another one, which may have to wait for the log, declares who is lost until the log has it. A gateway
//! is answered *fenced* from the moment it is found silent, not from the moment that the log has it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, Kind, ShardId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::leases::{Entry, Leases, Refused};
use crate::drain::Drain;
use crate::metrics::MembersMetrics;
use crate::port::{
    self, Broker, Command, GatewayEvent, GatewayState, Lease, Map, Member, Members, Overview, Rejected, Reply,
};
use crate::task::{self, Tasks};

#[cfg(test)]
mod tests;

/// The shard whose log says which gateways joined.
const SHARD: ShardId = ShardId(0);

/// Lost gateways of one proposal.
const PAGE: usize = 256;

/// Ticks in a lease.
const TICKS: u32 = 10;

/// Gives leases and declares lost. One per cluster: on the leader of shard 0.
pub struct Registrar(Arc<Inner>);

struct Inner {
    broker: Arc<dyn Broker>,
    length: Duration,
    leases: Mutex<Leases>,
    /// Somebody is lost.
    lost: Notify,
    /// The log says of somebody that it is lost.
    declared: Notify,
    drain: Drain,
    metrics: MembersMetrics,
}

impl Registrar {
    /// Begins with those who had joined, each with one lease of grace, in the term of this broker's leadership.
    ///
    /// # Errors
    /// The brokers did not say who had joined, or in which term.
    pub async fn start(
        broker: Arc<dyn Broker>,
        overview: Arc<dyn Overview>,
        lease: Duration,
        metrics: MembersMetrics,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, super::Error> {
        let load = |source| super::Error::Load { source };
        let term = overview.status(SHARD).await.map_err(load)?.term;
        let known = overview.gateways().await.map_err(load)?;
        let joined = known.into_iter().filter(|(_, state)| *state == GatewayState::Joined);
        let joined = joined.map(|(incarnation, _)| incarnation);
        let period = (lease / TICKS).max(Duration::from_millis(1));
        let leases = Leases::new(term, lease, period, joined, Instant::now());
        metrics.members(&leases.map());
        let inner = Arc::new(Inner {
            broker,
            length: lease,
            leases: Mutex::new(leases),
            lost: Notify::new(),
            declared: Notify::new(),
            drain: tasks.drain().clone(),
            metrics,
        });
        let working = Arc::clone(&inner);
        tasks.spawn(task::Kind::Lease, async move {
            tokio::select! {
                () = working.drain.closing() => {}
                () = working.tick(period) => {}
                () = working.declare(period) => {}
            }
        });
        Ok(Arc::new(Self(inner)))
    }

    /// Who serves now.
    pub fn map(&self) -> Arc<Map> {
        self.0.leases.lock().map()
    }
}

impl Members for Registrar {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, port::Error>> {
        let inner = Arc::clone(&self.0);
        let entry = {
            let mut leases = inner.leases.lock();
            // Proposed under the lock: the log has joined and lost in the order in which the leases had them.
            leases.join(&member, Instant::now()).map(|entry| match entry {
                Entry::Known(map) => Ok(map),
                Entry::New => Err(inner.propose(&[member.incarnation], GatewayEvent::Joined)),
            })
        };
        async move {
            let map = match entry {
                Ok(Ok(map)) => Ok(map),
                Ok(Err(reply)) => inner.settle_join(member, &reply.await),
                Err(refused) => Err(fail("join", refused)),
            }?;
            Ok(inner.lease(map))
        }
        .boxed()
    }

    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, port::Error>> {
        let beat = self.0.leases.lock().beat(incarnation, Instant::now());
        let lease = beat.map(|map| self.0.lease(map)).map_err(|refused| fail("beat", refused));
        std::future::ready(lease).boxed()
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), port::Error>> {
        let inner = Arc::clone(&self.0);
        inner.leases.lock().leave(incarnation);
        inner.lost.notify_one();
        async move {
            tokio::select! {
                () = inner.drain.closing() => {
                    Err(port::Error { operation: "leave", shard: SHARD, kind: Kind::Unavailable })
                }
                () = inner.until_declared(incarnation) => Ok(()),
            }
        }
        .boxed()
    }
}

impl Inner {
    fn propose(
        &self,
        incarnations: &[Incarnation],
        event: GatewayEvent,
    ) -> BoxFuture<'static, Result<Vec<Reply>, port::Error>> {
        let command = |incarnation: &Incarnation| Command::Gateway { incarnation: *incarnation, event };
        self.broker.propose(SHARD, incarnations.iter().map(command).collect())
    }

    fn settle_join(&self, member: Member, replies: &Result<Vec<Reply>, port::Error>) -> Result<Arc<Map>, port::Error> {
        let incarnation = member.incarnation;
        let failed = |kind| port::Error { operation: "join", shard: SHARD, kind };
        let mut leases = self.leases.lock();
        let error = match replies.as_deref() {
            Ok([Reply::Done]) => {
                return leases.joined(member, Instant::now()).map_err(|refused| fail("join", refused));
            }
            Ok([Reply::Rejected(Rejected::Fenced)]) => {
                leases.fenced(incarnation);
                failed(Kind::Fenced)
            }
            Ok([Reply::Rejected(why)]) => {
                leases.not_joined(incarnation, true);
                failed(why.kind())
            }
            Ok(_) => {
                leases.not_joined(incarnation, false);
                failed(Kind::Unknown)
            }
            Err(error) => {
                leases.not_joined(incarnation, error.kind != Kind::Unknown);
                error.clone()
            }
        };
        Err(error)
    }

    fn lease(&self, map: Arc<Map>) -> Lease {
        self.metrics.members(&map);
        Lease { length: self.length, map }
    }

    async fn tick(&self, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            let (lost, map) = {
                let mut leases = self.leases.lock();
                (leases.tick(Instant::now()), leases.map())
            };
            self.metrics.members(&map);
            for incarnation in &lost {
                tracing::warn!(%incarnation, "gateway silent for a whole lease: declared lost");
            }
            if !lost.is_empty() {
                self.lost.notify_one();
            }
        }
    }

    /// Proposes until the log has it: whoever is lost here stays lost, so there is no way back.
    async fn declare(&self, pause: Duration) {
        loop {
            let lost = self.leases.lock().undeclared(PAGE);
            if lost.is_empty() {
                self.lost.notified().await;
                continue;
            }
            match self.propose(&lost, GatewayEvent::Lost).await {
                // No reply to `lost` says that the gateway may live on.
                Ok(_) => {
                    self.leases.lock().declared(&lost);
                    self.metrics.declared_lost.inc_by(u64::try_from(lost.len()).unwrap_or(u64::MAX));
                    self.declared.notify_waiters();
                }
                Err(error) => {
                    tracing::warn!(%error, gateways = lost.len(), "declare gateways lost: trying again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn until_declared(&self, incarnation: Incarnation) {
        loop {
            let declared = self.declared.notified();
            let mut declared = std::pin::pin!(declared);
            declared.as_mut().enable();
            if !self.leases.lock().is_undeclared(incarnation) {
                return;
            }
            declared.await;
        }
    }
}

fn fail(operation: &'static str, refused: Refused) -> port::Error {
    let kind = match refused {
        Refused::Fenced => Kind::Fenced,
        Refused::Unknown => Kind::NotFound,
    };
    port::Error { operation, shard: SHARD, kind }
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("map", &self.map()).finish_non_exhaustive()
    }
}
