//! Leaving without losing: stop accepting, say goodbye, wait up to a deadline, drop the rest.
//!
//! ```text
//! begin ──► listeners stop, /readyz says no, connections are told to go ──► all gone, or deadline: abort them
//!       ──► close: what connections stood on stops ──► ended
//! ```

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::task::{Tasks, Wave};

/// Where a process stands on its way out. Cheap to clone; every clone sees the same.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    begun: CancellationToken,
    closing: CancellationToken,
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

    /// Ends what connections stand on.
    pub fn close(&self) {
        self.begun.cancel();
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

    /// Begins, waits for clients' tasks up to `deadline`, aborts those that are left, then ends the rest.
    pub async fn finish(&self, tasks: &Tasks, deadline: Duration) -> Drained {
        self.begin();
        let mut aborted = 0;
        if tokio::time::timeout(deadline, tasks.ended(Wave::Front)).await.is_err() {
            aborted = tasks.abort(Wave::Front);
            tracing::warn!(aborted, deadline_ms = deadline.as_millis(), "drain deadline passed, dropping what is left");
            tasks.ended(Wave::Front).await;
        }
        self.close();
        if tokio::time::timeout(CLOSE, tasks.ended(Wave::Back)).await.is_err() {
            tasks.abort(Wave::Back);
            tasks.ended(Wave::Back).await;
        }
        Drained { aborted }
    }
}

/// Tasks of the back wave wait on nobody but themselves: this only bounds a bug, or an admin client that never reads.
const CLOSE: Duration = Duration::from_secs(2);
