//! Connections before they are anybody's: a limit of them, and a deadline by which each must have a link.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use causeway_compute::listener::Listener;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::server::Connected;

use super::links::{Connection, Links};
use crate::ServerSettings;
use crate::metrics::Refusal;

/// How long a connection may take over TLS and its handshake.
const GREETING: Duration = Duration::from_secs(10);

/// Pause after an error of `accept` that the next call would meet again.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection that counts what it received and takes its link with it when it goes.
pub(crate) struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    links: Arc<Links>,
    deadline: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

/// Accepts for ever. Over the limit a newcomer is closed before a byte is read.
pub(crate) fn incoming(
    listener: Listener,
    settings: &ServerSettings,
    links: &Arc<Links>,
) -> impl Stream<Item = io::Result<Socket>> + Send + use<> {
    let limit = Arc::new(Semaphore::new(settings.max_connections.min(Semaphore::MAX_PERMITS)));
    let listener = listener.into_socket();
    let links = Arc::clone(links);
    stream::unfold((listener, limit, links), async |(listener, limit, links)| {
        let socket = accept(&listener, &limit, &links).await;
        Some((Ok(socket), (listener, limit, links)))
    })
    .boxed()
}

async fn accept(listener: &TcpListener, limit: &Arc<Semaphore>, links: &Arc<Links>) -> Socket {
    loop {
        let accepted = listener.accept().await;
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept of a link failed, trying again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(limit).try_acquire_owned() else {
            links.metrics.refused(Refusal::TooMany);
            if let Some(left_out) = links.crowded.admit() {
                tracing::warn!(%peer, left_out, "link refused: too many connections");
            }
            continue;
        };
        // Of a connection that is gone already: reading finds out.
        let _ = stream.set_nodelay(true);
        let deadline = Some(Box::pin(tokio::time::sleep(GREETING)));
        let (connection, links) = (Arc::new(Connection::new(peer)), Arc::clone(links));
        links.metrics.connections.inc();
        return Socket { stream, connection, links, deadline, _permit: permit };
    }
}

impl Socket {
    /// Whether the deadline has passed without a link.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = &mut self.deadline else { return false };
        if self.connection.link().is_some() {
            self.deadline = None;
            return false;
        }
        deadline.as_mut().poll(cx).is_ready()
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.poll_deadline(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no handshake in time")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.connection.has_received(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Socket {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let connection = &self.connection;
        self.links.metrics.connections.dec();
        let bytes = connection.received.load(std::sync::atomic::Ordering::Relaxed);
        match self.links.leave(connection) {
            Some(link) => {
                let number = format!("{:032x}", link.number);
                tracing::info!(gateway = %link.name, link = number, peer = %connection.peer, "link gone");
            }
            // Somebody looked whether the port is open.
            None if bytes == 0 || connection.was_refused() => {}
            None => {
                self.links.metrics.refused(Refusal::NoHandshake);
                let Some(left_out) = self.links.strange.admit() else { return };
                tracing::warn!(
                    peer = %connection.peer,
                    bytes,
                    left_out,
                    "a connection ended without a handshake: another protocol, or TLS without a trusted certificate"
                );
            }
        }
    }
}
