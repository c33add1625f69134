//! Leaving without losing: stop accepting, ask clients to go at a pace, wait up to a deadline, drop the rest.
//!
//! ```text
//! begin ──► listeners stop, /readyz says no, who is still connecting is refused
//!       ──► evict: clients are asked to go in the order of their ids, so many a second ──► evicted
//!       ──► all gone, or deadline: abort them ──► last words ──► close: what connections stood on stops ──► ended
//! ```
//!
//! Whoever was not asked yet is served as before: a drain that asked everybody at once would be a storm of reconnects
//! on the gateways that are left. What is said to a client, and how, is its protocol's.

mod pace;

use std::sync::Arc;
use std::time::Duration;

use causeway_model::Text;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::pace::{Evictions, Next, Pace};
use crate::registry::{Kick, Registry};
use crate::task::{Kind, Tasks, Wave};

/// Why clients are asked to go in a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// For now, clients are better served elsewhere.
    UseAnotherServer,
    /// This server will not come back.
    ServerMoved,
    /// This server is going down; nothing is said of others.
    #[default]
    ShuttingDown,
}

/// What clients are told that are asked to go in a drain, where their protocol has words for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub reason: Reason,
    /// Where to go instead; only with a reason that speaks of another server.
    pub reference: Option<Text>,
}

/// Where a process stands on its way out. Cheap to clone; every clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    evicted: CancellationToken,
    closing: CancellationToken,
    progress: Arc<Mutex<Progress>>,
}

/// How far the eviction of clients has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Clients that were connected as the drain began.
    pub clients: usize,
    /// How many have been asked to go.
    pub asked: usize,
    /// How many are asked each second, at most: what was set, or more so that everybody is asked in time.
    pub rate: u64,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Tasks that serve clients and had to be dropped at the deadline.
    pub aborted: usize,
}

impl Drain {
    /// Serving.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the drain: nothing new is accepted from here on. Calling it again changes nothing.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Whether [`Drain::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Resolves when the drain begins; cancel safe. For listeners, handshakes and long-lived tasks: a connection with
    /// a session is told by a kick through the registry and need not wait on this too.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Resolves when every client has been asked to go; cancel safe. What serves sessions from the side must go on
    /// until then.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// How far the eviction has come; all zero before it begins.
    pub fn progress(&self) -> Progress {
        *self.progress.lock()
    }

    /// Ends what connections stand on.
    pub fn close(&self) {
        self.begun.cancel();
        self.evicted.cancel();
        self.closing.cancel();
    }

    /// Whether [`Drain::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when the tasks of the back wave are to end; cancel safe.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Begins, waits for clients' tasks, aborts those that are left, awaits `last`, then ends the rest: all within
    /// `deadline`.
    pub async fn finish(&self, tasks: &Tasks, deadline: Duration, last: impl Future<Output = ()>) -> Drained {
        self.begin();
        let close = (deadline / 10).clamp(LEAST_CLOSE, MOST_CLOSE);
        let mut aborted = 0;
        if tokio::time::timeout(deadline.saturating_sub(close), tasks.ended(Wave::Front)).await.is_err() {
            aborted = tasks.abort(Wave::Front);
            tracing::warn!(aborted, deadline_ms = deadline.as_millis(), "drain deadline passed, dropping what is left");
            tasks.ended(Wave::Front).await;
        }
        if tokio::time::timeout(close / 2, last).await.is_err() {
            tracing::warn!("the last words of this process were not answered in time");
        }
        self.close();
        if tokio::time::timeout(close / 2, tasks.ended(Wave::Back)).await.is_err() {
            tasks.abort(Wave::Back);
            tasks.ended(Wave::Back).await;
        }
        Drained { aborted }
    }
}

/// What of the deadline is for last words and the back wave. Its tasks wait on nobody but themselves: this only bounds a bug, or an
/// admin client that never reads.
const MOST_CLOSE: Duration = Duration::from_secs(2);
const LEAST_CLOSE: Duration = Duration::from_millis(400);

/// Starts what asks clients to go once the drain begins. Must be called within a Tokio runtime.
pub fn evict(registry: Arc<Registry>, pace: Pace, tasks: &Tasks) {
    let drain = tasks.drain().clone();
    tasks.spawn(Kind::Evict, async move {
        drain.begun().await;
        let start = Instant::now();
        // A client that is not served yet loses nothing by going at once.
        registry.kick_entering(Kick::Drain);
        let mut evictions = Evictions::new(pace, registry.len());
        loop {
            *drain.progress.lock() = evictions.progress();
            match evictions.next(start.elapsed()) {
                Next::Ask { after, count } => {
                    let (asked, last) = registry.kick_page(after, count, Kick::Drain);
                    evictions.asked(asked, last);
                    // Those who were asked have their turn before more are.
                    tokio::task::yield_now().await;
                }
                Next::Wait { until } => tokio::time::sleep_until(start + until).await,
                Next::Done => break,
            }
        }
        drain.evicted.cancel();
    });
}
