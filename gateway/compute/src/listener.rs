//! Accepting connections: one loop an address, a task a connection.
//!
//! - No error of `accept` ends the loop. One that is the peer's own (it went away again) is passed over; any other (out
//!   of file descriptors, out of memory) pauses it shortly, since the next call would fail as well.
//! - Over the limit of connections a newcomer is closed at once, before a byte is read: reading its CONNECT to refuse
//!   it politely would be the work that the limit is there to prevent.
//! - When drain begins nothing more is accepted, even if connections wait.

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use prometheus::IntGauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::ListenerMetrics;
use crate::task::{Kind, Tasks, Wave};

/// Connections that the kernel may hold until they are accepted: a burst of a tenth of a second at 10 k a second.
const BACKLOG: u32 = 1024;

/// Pause after an error that the next call would meet again.
const PAUSE: Duration = Duration::from_millis(50);

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}: {source}")]
pub struct Error {
    /// Which.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// A bound address that does not accept yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// How many connections may be open at once, over all listeners that share it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Semaphore>);

/// One open connection's share of the limit.
#[derive(Debug)]
struct Admission {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Limit {
    /// At most `connections`.
    pub fn new(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))))
    }
}

impl Listener {
    /// Binds with `SO_REUSEADDR`, so that a restart need not wait for old connections to time out. Port 0 takes a free
    /// one. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The address is in use, not this machine's, or not allowed.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let socket = socket.listen(BACKLOG)?;
            Ok(Self { address: socket.local_addr()?, socket })
        };
        bind().map_err(|source| Error { address, source })
    }

    /// The address that it is bound to, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, for a protocol whose library accepts by itself: limits and the end are then its own.
    pub fn into_socket(self) -> TcpListener {
        self.socket
    }

    /// Accepts until drain begins; `connection` makes the future that serves a client.
    pub fn serve<F>(
        self,
        limit: Limit,
        metrics: ListenerMetrics,
        tasks: &Tasks,
        connection: impl Fn(TcpStream, SocketAddr) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let accept = Accept { wave: Wave::Front, limit, metrics, tasks: tasks.clone(), connection };
        tasks.spawn(Kind::Accept, async move { accept.run(&self.socket).await });
    }

    /// The same for admin HTTP, which accepts until the drain closes: probes are answered to the end.
    pub(crate) fn serve_admin<F>(
        self,
        limit: Limit,
        metrics: ListenerMetrics,
        tasks: &Tasks,
        connection: impl Fn(TcpStream, SocketAddr) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let accept = Accept { wave: Wave::Back, limit, metrics, tasks: tasks.clone(), connection };
        tasks.spawn(Kind::Admin, async move { accept.run(&self.socket).await });
    }
}

/// Where connections come from: a socket, or a test's script.
trait Source: Sync {
    type Stream;
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Source for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.accept().await?;
        // Small packets are the rule and every write is whole packets: waiting to fill a segment only adds latency.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

struct Accept<C> {
    /// When it ends in a drain, and its connections.
    wave: Wave,
    limit: Limit,
    metrics: ListenerMetrics,
    tasks: Tasks,
    connection: C,
}

impl<C> Accept<C> {
    async fn run<S: Source, F>(&self, source: &S)
    where
        C: Fn(S::Stream, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut end = std::pin::pin!(self.end());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut end => return,
                accepted = source.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) if is_peers(&error) => self.metrics.errors.inc(),
                Err(error) => {
                    self.metrics.errors.inc();
                    tracing::warn!(%error, "accept failed, trying again");
                    tokio::select! {
                        () = &mut end => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn end(&self) {
        match self.wave {
            Wave::Front => self.tasks.drain().begun().await,
            Wave::Back => self.tasks.drain().closing().await,
        }
    }

    fn admit<T, F>(&self, stream: T, peer: SocketAddr)
    where
        C: Fn(T, SocketAddr) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.limit.0).try_acquire_owned() else {
            self.metrics.refused.inc();
            return;
        };
        self.metrics.accepted.inc();
        self.metrics.open.inc();
        let admission = Admission { _permit: permit, open: self.metrics.open.clone() };
        let kind = match self.wave {
            Wave::Front => Kind::Connection,
            Wave::Back => Kind::AdminConnection,
        };
        self.tasks.spawn(kind, (self.connection)(stream, peer).map(move |()| drop(admission)));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Errors that concern the one connection that was about to be accepted.
fn is_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    // InvalidInput: setting TCP_NODELAY on a connection that is gone already, on some systems.
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted | NotConnected | InvalidInput
    )
}
