//! The socket's way in: bytes to packets, as long as there is room for them.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::super::buffers;
use super::Connection;
use crate::session::{Cause, Now, Output};

/// Packets written by one read; then they go to the outbox, whose length decides whether reading goes on.
const BURST: usize = 512;
/// Bytes that are read of a client whose CONNECT waits for the brokers. They wait too; reading shows whether it has gone,
/// since its session must not be opened then.
const EARLY: usize = 4096;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Whether there is room for another packet and for what it is answered.
    fn listens(&self) -> bool {
        self.session.takes_packets() && self.outbox.len() < self.server.shared.settings.outbound_bytes
    }

    /// Decodes what is there, then reads once and decodes that.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let listens = self.listens();
        let deaf = std::mem::replace(&mut self.deaf, !listens);
        if !listens {
            return self.session.is_entering() && self.input.len() < EARLY && self.read(context, now, out).is_some();
        }
        if deaf {
            self.session.not_listening(now);
        }
        if !self.input.is_empty() && self.decode(now, out) {
            return true;
        }
        let Some(bytes) = self.read(context, now, out) else { return false };
        if bytes > 0 {
            self.decode(now, out);
        }
        true
    }

    /// Reads once; how many bytes came: 0 when the client has gone, `None` when there is nothing yet.
    fn read(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> Option<usize> {
        let socket = self.socket.as_mut()?;
        buffers::make_room(&mut self.input);
        match poll_read_buf(Pin::new(socket), context, &mut self.input) {
            Poll::Pending => {
                buffers::settle(&mut self.input);
                None
            }
            Poll::Ready(Ok(0) | Err(_)) => {
                self.end(Cause::Lost, now, out);
                Some(0)
            }
            Poll::Ready(Ok(bytes)) => {
                self.server.metrics.received_bytes.inc_by(bytes as u64);
                Some(bytes)
            }
        }
    }

    /// Hands packets to the session while it takes them; whether there was one.
    fn decode(&mut self, now: Now, out: &mut Output) -> bool {
        let mut moved = false;
        while self.listens() && out.writes.len() < BURST {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(packet)) => self.session.packet(packet, now, out),
                Ok(None) => break,
                Err(error) => {
                    self.server.metrics.malformed.inc();
                    tracing::debug!(peer = %self.peer, %error, "undecodable packet");
                    self.session.undecodable(&error, self.decoder.version(), out);
                    self.input.clear();
                }
            }
            moved = true;
        }
        self.session.flush(out);
        moved
    }
}
