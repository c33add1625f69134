//! The gateway's side: joins, beats, follows the map, and knows when its run is over.
//!
//! A beat follows the answer to the last one by a third of the lease. While no beat was answered for a whole lease the
//! gateway serves on (epochs protect the data, and the brokers may just be away), but says that it is not ready: new
//! clients do better elsewhere. A gateway that was *fenced* is over: whoever holds it drops its connections and joins as
//! another incarnation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, Kind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::admin::Health;
use crate::metrics::MembersMetrics;
use crate::port::{self, Lease, Map, MapEpoch, Member, Members};
use crate::task::{self, Tasks};

#[cfg(test)]
mod tests;

/// Not ready: the brokers have not let this run in, or no more.
const NOT_JOINED: &str = "not joined";

/// Not ready: it has not been told for a whole lease that it is alive.
const SILENT: &str = "no answer from the brokers for a whole lease";

/// The first wait after a failed call.
const BACKOFF: Duration = Duration::from_millis(50);

/// The longest.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How long leaving may take: then the lease runs out by itself.
const LEAVE: Duration = Duration::from_secs(2);

/// Silence after which a run is over even if nobody can say so: brokers forget lost incarnations, a day after they
/// closed what those owned at the earliest, and must not mistake one for a newcomer.
const TOO_LONG: Duration = Duration::from_hours(12);

/// One run of this gateway among the others.
pub struct Membership {
    incarnation: Incarnation,
    members: Arc<dyn Members>,
    map: watch::Sender<Arc<Map>>,
    fenced: CancellationToken,
    left: CancellationToken,
    hurry: Notify,
}

impl Membership {
    /// Joins, and tries again while that may help; then beats until it leaves, is fenced, or the drain closes.
    ///
    /// # Errors
    /// The brokers refuse it for good, or the process began to drain.
    pub async fn join(
        members: Arc<dyn Members>,
        member: Member,
        health: Health,
        metrics: MembersMetrics,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, Error> {
        health.hold(NOT_JOINED);
        let incarnation = member.incarnation;
        let mut backoff = Backoff::default();
        let lease = loop {
            let answer = tokio::select! {
                biased;
                () = tasks.drain().begun() => return Err(Error::Draining { incarnation }),
                answer = members.join(member.clone()) => answer,
            };
            match answer {
                Ok(lease) => break lease,
                Err(error) if !passes(&error.kind) => return Err(Error::Join { incarnation, source: error }),
                Err(error) => {
                    let pause = backoff.next(&error.kind);
                    tracing::warn!(%incarnation, %error, pause_ms = pause.as_millis(), "join: trying again");
                    tokio::select! {
                        () = tasks.drain().begun() => return Err(Error::Draining { incarnation }),
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        };
        tracing::info!(%incarnation, name = &*member.name, gateways = lease.map.members.len(), "joined");
        let this = Arc::new(Self {
            incarnation,
            members,
            map: watch::Sender::new(Arc::clone(&lease.map)),
            fenced: CancellationToken::new(),
            left: CancellationToken::new(),
            hurry: Notify::new(),
        });
        let beats = Beats::new(Arc::clone(&this), member, lease, health, metrics);
        let (left, drain) = (this.left.clone(), tasks.drain().clone());
        tasks.spawn(task::Kind::Lease, async move {
            tokio::select! {
                biased;
                () = left.cancelled() => {}
                () = drain.closing() => {}
                () = beats.run() => {}
            }
        });
        Ok(this)
    }

    /// Asks for the map at once, not with the next beat, whenever somebody speaks of a newer one: a newcomer says so
    /// before it lets a client in. Must be called within a Tokio runtime.
    pub fn follow(self: &Arc<Self>, mut heard: watch::Receiver<MapEpoch>, tasks: &Tasks) {
        let (this, drain) = (Arc::clone(self), tasks.drain().clone());
        let follow = async move {
            while heard.changed().await.is_ok() {
                if *heard.borrow_and_update() > this.map.borrow().epoch {
                    this.hurry.notify_one();
                }
            }
            // Nobody speaks any more; the beats go on.
            std::future::pending::<()>().await;
        };
        let left = self.left.clone();
        tasks.spawn(task::Kind::Lease, async move {
            tokio::select! {
                biased;
                () = left.cancelled() => {}
                () = drain.closing() => {}
                () = follow => {}
            }
        });
    }

    /// This run.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The newest map that this gateway was told of.
    pub fn map(&self) -> watch::Receiver<Arc<Map>> {
        self.map.subscribe()
    }

    /// Resolves when this run was declared lost; cancel safe.
    pub fn fenced(&self) -> impl Future<Output = ()> + Send + use<> {
        self.fenced.clone().cancelled_owned()
    }

    /// Whether this run was declared lost.
    pub fn is_fenced(&self) -> bool {
        self.fenced.is_cancelled()
    }

    /// Ends the lease: for a gateway that has no clients any more. Takes a moment at most; a lease that could not be
    /// ended runs out.
    pub async fn leave(&self) {
        self.left.cancel();
        match tokio::time::timeout(LEAVE, self.members.leave(self.incarnation)).await {
            Ok(Ok(())) => tracing::info!(incarnation = %self.incarnation, "left"),
            Ok(Err(error)) => tracing::warn!(incarnation = %self.incarnation, %error, "leave: the lease runs out"),
            Err(_) => tracing::warn!(incarnation = %self.incarnation, "leave: no answer, the lease runs out"),
        }
    }
}

/// The task that keeps the lease.
struct Beats {
    membership: Arc<Membership>,
    member: Member,
    /// When the last lease was given.
    answered: Instant,
    length: Duration,
    /// That lease has run out, and this was said.
    silent: bool,
    health: Health,
    metrics: MembersMetrics,
}

impl Beats {
    fn new(membership: Arc<Membership>, member: Member, lease: Lease, health: Health, metrics: MembersMetrics) -> Self {
        let (answered, length) = (Instant::now(), lease.length);
        let mut this = Self { membership, member, answered, length, silent: false, health, metrics };
        this.renewed(lease);
        this
    }

    async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut introduce = false;
        let mut pause = self.length / 3;
        loop {
            let membership = Arc::clone(&self.membership);
            // The next beat is due, or there is a newer map.
            let due = async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = membership.hurry.notified() => {}
                }
            };
            self.watched(due).await;
            let members = &membership.members;
            let call =
                if introduce { members.join(self.member.clone()) } else { members.beat(self.membership.incarnation) };
            let error = match self.watched(call).await {
                Ok(lease) => {
                    self.renewed(lease);
                    (backoff, introduce, pause) = (Backoff::default(), false, self.length / 3);
                    continue;
                }
                Err(error) => error,
            };
            self.metrics.beats_failed.inc();
            let forgotten = error.kind == Kind::NotFound && self.answered.elapsed() > TOO_LONG;
            if error.kind == Kind::Fenced || forgotten {
                return self.fence(&error);
            }
            // Unknown to the leader: introduce itself at once. Anything else may pass.
            let unknown = error.kind == Kind::NotFound && !introduce;
            introduce |= unknown;
            pause = if unknown { Duration::ZERO } else { backoff.next(&error.kind).min(self.length / 3) };
            tracing::warn!(incarnation = %self.member.incarnation, %error, "beat failed");
        }
    }

    /// Waits, and says meanwhile when the last lease has run out.
    async fn watched<R>(&mut self, future: impl Future<Output = R>) -> R {
        let mut future = std::pin::pin!(future);
        if !self.silent {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(self.answered + self.length) => {}
                done = &mut future => return done,
            }
            tracing::warn!(incarnation = %self.member.incarnation, "{SILENT}");
            self.health.hold(SILENT);
            self.silent = true;
        }
        future.await
    }

    fn renewed(&mut self, lease: Lease) {
        (self.answered, self.length, self.silent) = (Instant::now(), lease.length, false);
        self.metrics.members(&lease.map);
        self.membership.map.send_if_modified(|map| {
            let newer = lease.map.epoch > map.epoch;
            if newer {
                *map = lease.map;
            }
            newer
        });
        self.health.release(SILENT);
        self.health.release(NOT_JOINED);
    }

    fn fence(&self, error: &port::Error) {
        tracing::error!(incarnation = %self.member.incarnation, %error, "declared lost: this run of the gateway is over");
        self.health.hold(NOT_JOINED);
        self.health.release(SILENT);
        self.membership.fenced.cancel();
    }
}

/// Whether a call is made again: what is refused for good is not; a lost answer is, since joining twice is joining once.
fn passes(kind: &Kind) -> bool {
    kind.retryable() || *kind == Kind::Unknown
}

/// Waits that double.
#[derive(Debug)]
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF)
    }
}

impl Backoff {
    fn next(&mut self, kind: &Kind) -> Duration {
        let asked = if let Kind::Busy { retry_after } = kind { *retry_after } else { Duration::ZERO };
        let pause = self.0.max(asked.min(MAX_BACKOFF));
        self.0 = (self.0 * 2).min(MAX_BACKOFF);
        pause
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}
