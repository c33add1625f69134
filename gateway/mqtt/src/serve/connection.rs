//! One client's connection: a future that moves bytes, packets, calls and hints between a socket and its session.
//!
//! ```text
//!  socket ─read─► decoder ─► ┌─────────┐ ─► calls ─► broker, registry, hub, interest
//!                            │ Session │ ◄─ answers, hints, time
//!  socket ◄write─ outbox  ◄─ └─────────┘
//! ```
//!
//! Each turn: answers, hints, one read, what is to be delivered, one write. So a read's publishes are one proposal, many
//! packets are one write, and neither direction can starve the other. It waits only when nothing moved.
//!
//! At the end the socket is closed as soon as the last packet is out; the session's last words are awaited after that.

mod reading;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use causeway_compute::notify::Mailbox;
use causeway_compute::registry::Presence;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

use super::calls::Calls;
use super::outbox::Outbox;
use super::{Inner, buffers};
use crate::codec::{Decoder, Limits};
use crate::session::{Cause, Now, Output, Session};

/// Turns of one poll; then other connections have theirs.
const TURNS: usize = 16;
/// Answers that are there at once and are taken into one write.
const AT_ONCE: usize = 16;
/// How long a client may take to close its end after we have closed ours. Closing with bytes unread would reset the
/// connection, and the client might never read why it was disconnected.
const LINGER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Connection<S> {
    pub(super) server: Arc<Inner>,
    pub(super) peer: SocketAddr,
    /// `None`: closed.
    socket: Option<S>,
    pub(super) session: Session,
    decoder: Decoder,
    input: BytesMut,
    pub(super) outbox: Outbox,
    pub(super) calls: Calls,
    pub(super) mailbox: Option<Box<Mailbox>>,
    pub(super) presence: Option<Arc<Presence>>,
    /// Somebody wants the connection to end.
    pub(super) leave: Option<BoxFuture<'static, Cause>>,
    /// Why; it goes as soon as it may.
    asked: Option<Cause>,
    timer: Option<Pin<Box<Sleep>>>,
    closing: Closing,
    connected: bool,
    /// The socket is not read, for want of room: its client is not silent.
    deaf: bool,
}

/// How far the end of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    No,
    /// The last packets are being written.
    Writing,
    /// Our end is closed; the client's is awaited.
    Lingering,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(server: Arc<Inner>, socket: S, peer: SocketAddr) -> Self {
        let settings = &server.shared.settings;
        let limits = Limits { packet: settings.packet_bytes, connect: settings.connect_bytes };
        let drain = server.context.tasks.drain().clone();
        let session = Session::new(Arc::clone(&server.shared), server.number(), server.now());
        Self {
            server,
            peer,
            socket: Some(socket),
            session,
            decoder: Decoder::server(limits),
            input: BytesMut::new(),
            outbox: Outbox::default(),
            calls: Calls::default(),
            mailbox: None,
            presence: None,
            leave: Some(Box::pin(async move {
                drain.begun().await;
                Cause::Drain
            })),
            asked: None,
            timer: None,
            closing: Closing::No,
            connected: false,
            deaf: false,
        }
    }

    /// One turn; whether anything moved.
    fn turn(&mut self, context: &mut Context<'_>, out: &mut Output) -> bool {
        let now = self.server.now();
        let mut moved = self.poll_leave(context, now, out) && self.apply(out);
        moved |= self.poll_calls(context, now, out);
        moved |= self.poll_hints(context, now, out);
        if !out.writes.is_empty() {
            // The outbox must know of them before it is asked for room.
            self.apply(out);
        }
        if self.closing == Closing::No {
            moved |= self.poll_read(context, now, out);
        }
        self.pump(now, out);
        moved |= self.apply(out);
        // What can be answered at once (the log's tail is in memory) goes into the same write.
        for _ in 0..AT_ONCE {
            if !self.poll_calls(context, now, out) {
                break;
            }
            moved = true;
            self.pump(now, out);
            self.apply(out);
        }
        moved |= self.poll_write(context, now, out);
        moved |= self.poll_timer(context, now, out);
        moved |= self.apply(out);
        moved
    }

    fn poll_leave(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        if let Some(leave) = &mut self.leave
            && let Poll::Ready(cause) = leave.as_mut().poll(context)
        {
            (self.leave, self.asked) = (None, Some(cause));
        }
        // Who asks this one to go waits until it has had its answer: clients that share an id and keep coming would
        // otherwise take each other's place before anybody is let in. In a drain the answer is where to go instead.
        let waits = |cause: &Cause| self.session.is_entering() && *cause != Cause::Drain;
        let Some(cause) = self.asked.take_if(|cause| !waits(cause)) else { return false };
        self.end(cause, now, out);
        true
    }

    fn end(&mut self, cause: Cause, now: Now, out: &mut Output) {
        self.take_hints(now, out);
        self.session.ended(cause, out);
    }

    fn poll_calls(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let mut moved = false;
        while let Poll::Ready((ticket, answer)) = self.calls.poll_next(context) {
            moved = true;
            self.session.answer(ticket, answer, now, out);
            if self.session.is_ended() {
                // Before the next answer: what is of no more use is dropped and gives back what it holds.
                self.apply(out);
            }
        }
        moved
    }

    fn poll_hints(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        if !self.session.takes_hints() {
            return false;
        }
        let Some(mailbox) = &self.mailbox else { return false };
        if std::pin::pin!(mailbox.ready()).poll(context).is_pending() {
            return false;
        }
        self.take_hints(now, out);
        true
    }

    fn take_hints(&mut self, now: Now, out: &mut Output) {
        if let Some(mailbox) = self.mailbox.as_ref().filter(|_| self.session.takes_hints()) {
            // Read before the hints are taken: whatever lies at or below is among them.
            let dispatched = self.server.dispatched();
            let mut hints = Vec::new();
            let taken = mailbox.take(&mut hints);
            self.session.hints(hints, taken, &dispatched, now, out);
        }
    }

    fn pump(&mut self, now: Now, out: &mut Output) {
        let budget = self.server.shared.settings.outbound_bytes;
        self.session.pump(budget.saturating_sub(self.outbox.len()), now, out);
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let failed = match self.outbox.poll_write(socket, context) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) => return self.poll_close(context),
            Poll::Ready(Ok(bytes)) => {
                self.server.metrics.sent_bytes.inc_by(bytes as u64);
                return true;
            }
            Poll::Ready(Err(error)) => error,
        };
        tracing::debug!(peer = %self.peer, error = %failed, "write failed");
        self.drop_socket();
        self.end(Cause::Lost, now, out);
        true
    }

    /// Everything is written: closes our end, then waits for the client's.
    fn poll_close(&mut self, context: &mut Context<'_>) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        match self.closing {
            Closing::No => return false,
            Closing::Writing => match Pin::new(socket).poll_shutdown(context) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) => {
                    self.closing = Closing::Lingering;
                    self.timer = Some(Box::pin(tokio::time::sleep(LINGER)));
                }
                Poll::Ready(Err(_)) => self.drop_socket(),
            },
            Closing::Lingering => {
                self.input.clear();
                buffers::make_room(&mut self.input);
                let read = poll_read_buf(Pin::new(socket), context, &mut self.input);
                self.input.clear();
                buffers::settle(&mut self.input);
                match read {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                    Poll::Ready(_) => self.drop_socket(),
                }
            }
        }
        true
    }

    fn poll_timer(&mut self, context: &mut Context<'_>, now: Now, out: &mut Output) -> bool {
        if self.closing == Closing::No {
            let Some(deadline) = self.session.deadline() else { return false };
            let at = self.server.start + deadline;
            match &mut self.timer {
                // A timer that fires too early only looks: most deadlines move on with each packet.
                Some(timer) if timer.deadline() <= at => {}
                Some(timer) => timer.as_mut().reset(at),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        let Some(timer) = &mut self.timer else { return false };
        if timer.as_mut().poll(context).is_pending() {
            return false;
        }
        self.timer = None;
        if self.closing == Closing::No {
            self.take_hints(now, out);
            if self.deaf {
                self.session.not_listening(now);
            }
            self.session.tick(now, self.server.lag(), out);
        } else {
            self.drop_socket();
        }
        true
    }

    /// The session has ended: nothing is read or taken any more.
    pub(super) fn close(&mut self) {
        self.closing = Closing::Writing;
        let limit = self.server.shared.settings.close_timeout;
        self.timer = Some(Box::pin(tokio::time::sleep(limit)));
        self.calls.keep_last();
        (self.mailbox, self.leave) = (None, None);
        self.input.clear();
        buffers::settle(&mut self.input);
    }

    fn drop_socket(&mut self) {
        self.socket = None;
        self.outbox.clear();
        if self.closing != Closing::No {
            self.timer = None;
        }
    }

    /// Counts the session once it is open, and says who it is.
    pub(super) fn note_opened(&mut self) {
        if self.connected {
            return;
        }
        if let Some((sid, epoch)) = self.session.opened_as() {
            self.connected = true;
            self.server.metrics.connected(self.session.version());
            if let Some(presence) = &self.presence {
                presence.opened(sid, epoch);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.socket.is_none() && self.session.is_ended() && self.calls.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut out = super::apply::scratch();
        let mut turns = 0;
        let poll = loop {
            let moved = this.turn(context, &mut out);
            if this.is_over() {
                break Poll::Ready(());
            }
            if !moved {
                break Poll::Pending;
            }
            turns += 1;
            if turns == TURNS {
                context.waker().wake_by_ref();
                break Poll::Pending;
            }
        };
        super::apply::keep(out);
        poll
    }
}

impl Inner {
    /// The time now on both clocks.
    fn now(&self) -> Now {
        Now { elapsed: Instant::now().saturating_duration_since(self.start), wall: self.context.clock.now() }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn what_an_idle_client_costs_beside_its_subscriptions_is_small() {
        // Its task holds the future once; mailbox, presence and timer are some 600 bytes more.
        let bytes = size_of::<Connection<TcpStream>>();
        println!("connection {bytes}, session {}", size_of::<Session>());
        assert!(bytes <= 1280, "{bytes}");
    }
}
