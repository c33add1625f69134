//! Serving MQTT: sockets, broker and clock around the pure session.
//!
//! ```text
//!  listener ─► Server::connection ─► one future a client (connection)
//!                                      ├ buffers: borrowed while bytes move    ├ calls: what it waits for
//!                                      ├ outbox: what waits for its socket     └ apply: what its session wants
//!              one task: progress, cursors of all sessions on their way to the log
//! ```
//!
//! Memory of a connection: its session, and budgets for what it sends, what waits for it, and the hints in its mailbox
//! (see [`Settings`]). A silent client holds no buffer.

mod apply;
mod buffers;
mod calls;
mod connection;
mod metrics;
mod outbox;
mod progress;
mod shared;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_compute::context::Context;
use causeway_compute::port::LaneProgress;
use causeway_compute::task::Kind;
use causeway_model::{Namespace, Position, ShardId};
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::connection::Connection;
use self::metrics::Metrics;
use crate::Settings;
use crate::session::Shared;

/// Bytes of log by which an idle lane's stored cursor may lag, however small the log is.
const LEAST_LAG: u64 = 16 << 20;

/// Serves MQTT clients, whatever their connections are made of. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

/// What all connections share.
struct Inner {
    context: Arc<Context>,
    shared: Arc<Shared>,
    metrics: Metrics,
    progress: mpsc::Sender<(ShardId, LaneProgress)>,
    numbers: AtomicU64,
    start: Instant,
}

impl Server {
    /// Starts what connections stand on: the task that logs cursors, until everybody was asked to go in a drain.
    /// Must be called within a Tokio runtime. `settings` are those that [`Settings::problems`] found nothing wrong with.
    ///
    /// # Errors
    /// The metrics are registered in `registry` already.
    pub fn new(
        context: Arc<Context>,
        settings: Settings,
        registry: &prometheus::Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(registry)?;
        let (progress, inbox) = mpsc::channel(progress::QUEUE);
        let drain = context.tasks.drain().clone();
        // Cursors of those who were not asked yet move on; who was asked says the last one himself.
        let end = async move { drain.evicted().await };
        let broker = Arc::clone(&context.broker);
        let (interval, bytes) = (settings.progress_interval, settings.progress_bytes);
        context.tasks.spawn(Kind::Progress, progress::run(broker, inbox, interval, bytes, end));
        let shared = Arc::new(Shared {
            cluster: context.cluster,
            namespace: Namespace::default(),
            incarnation: context.incarnation,
            settings,
        });
        let (numbers, start) = (AtomicU64::new(1), Instant::now());
        Ok(Self(Arc::new(Inner { context, shared, metrics, progress, numbers, start })))
    }

    /// Serves one client until its connection has ended and its session's last words are logged.
    pub fn connection<S>(&self, socket: S, peer: SocketAddr) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Connection::new(Arc::clone(&self.0), socket, peer)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.0.shared.settings).finish_non_exhaustive()
    }
}

impl Inner {
    /// A number for a new connection.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Per shard: everything at or below is in the mailboxes.
    fn dispatched(&self) -> SmallVec<[Position; 4]> {
        self.context.cluster.shards().map(|shard| self.context.hub.dispatched(shard)).collect()
    }

    /// A quarter of what the fullest log holds: an online session's cursor must not be what is trimmed first.
    fn lag(&self) -> u64 {
        let broker = &self.context.broker;
        let held = |shard| broker.applied(shard).0.saturating_sub(broker.first(shard).0);
        let most = self.context.cluster.shards().map(held).max().unwrap_or(0);
        (most / 4).max(LEAST_LAG)
    }
}
