//! The end of a connection, whatever ends it: the last packet, the last progress, the close of the session.
//!
//! The last words are ordered at once, in one group a shard: `Progress` with cursor, finished-ahead and in-flight packet
//! ids, then `SessionClose` on the home shard. Whoever takes the session over waits until they are logged, at most
//! 200 ms, so its `SessionOpen` comes after them.

use std::time::Duration;

use causeway_compute::drain::{Goodbye, Reason as Parting};
use causeway_compute::port::{CloseReason, Command, Error};
use causeway_model::Kind;

use super::effect::{Call, Effect, Output, Ticket};
use super::job::Job;
use super::subscription::may_overflow;
use super::{Phase, Session};
use crate::codec::{
    ConnAck, Disconnect, Error as Malformed, Holder, Packet, PacketType, Properties, Property, Reason, Sender,
};

/// Why and how a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// What 5.0 is told, in CONNACK or DISCONNECT; `None`: there is nobody to tell.
    say: Option<(Reason, &'static str)>,
    /// 5.0 is told where to go instead, too.
    refer: bool,
    reason: CloseReason,
    expiry: Option<Duration>,
}

/// What ended a connection from outside of its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer closed the connection, or the network failed.
    Lost,
    /// The same client connected again.
    TakenOver,
    /// An administrator asked for it.
    Administrator,
    /// The server is going down.
    Drain,
    /// No CONNECT came in time.
    ConnectTimeout,
}

impl End {
    /// The server ends the connection, and says why.
    pub(super) fn server(reason: Reason, why: &'static str) -> Self {
        Self { say: Some((reason, why)), refer: false, reason: CloseReason::Server, expiry: None }
    }

    /// CONNECT is refused.
    pub(super) fn refused(reason: Reason, why: &'static str) -> Self {
        Self::server(reason, why)
    }

    /// A newer epoch owns the session: another gateway has the client.
    pub(super) fn fenced() -> Self {
        Self::server(Reason::SessionTakenOver, "another gateway owns the session")
    }

    /// The broker does not do what the session cannot do without.
    pub(super) fn unavailable(error: &Error) -> Self {
        match &error.kind {
            Kind::Busy { .. } | Kind::NotLeader { .. } => Self::server(Reason::ServerBusy, "busy, try again"),
            Kind::DiskFull | Kind::Quota => Self::server(Reason::QuotaExceeded, "out of space"),
            Kind::Fenced => Self::fenced(),
            Kind::Corrupt => {
                Self::server(Reason::ImplementationSpecificError, "stored data is damaged, see the server's log")
            }
            Kind::Invalid
            | Kind::TooLarge
            | Kind::Denied
            | Kind::NotFound
            | Kind::Unavailable
            | Kind::Unknown
            | Kind::Unsupported => Self::server(Reason::ImplementationSpecificError, "the broker is out of reach"),
        }
    }

    /// The session was not opened.
    pub(super) fn unopened(error: &Error) -> Self {
        if error.kind == Kind::Unavailable {
            return Self::refused(Reason::ServerUnavailable, "the brokers do not answer");
        }
        Self::unavailable(error)
    }

    /// DISCONNECT came.
    pub(super) fn orderly(with_will: bool, expiry: Option<Duration>) -> Self {
        let reason = if with_will { CloseReason::OrderlyWithWill } else { CloseReason::Orderly };
        Self { say: None, refer: false, reason, expiry }
    }

    fn lost() -> Self {
        Self { say: None, refer: false, reason: CloseReason::ConnectionLost, expiry: None }
    }

    /// The client was silent for too long: for the session the same as a lost connection.
    pub(super) fn silent() -> Self {
        Self { reason: CloseReason::ConnectionLost, ..Self::server(Reason::KeepAliveTimeout, "keep alive timeout") }
    }

    /// What ended the connection from outside of its packets.
    pub(super) fn of(cause: Cause, goodbye: &Goodbye) -> Self {
        match cause {
            Cause::Lost => Self::lost(),
            Cause::TakenOver => Self::server(Reason::SessionTakenOver, "the client connected again"),
            Cause::Administrator => Self::server(Reason::AdministrativeAction, "disconnected by an administrator"),
            Cause::Drain => Self::drained(goodbye),
            Cause::ConnectTimeout => Self { say: None, ..Self::lost() },
        }
    }

    fn drained(goodbye: &Goodbye) -> Self {
        let (reason, why) = match goodbye.reason {
            Parting::UseAnotherServer => (Reason::UseAnotherServer, "use another server"),
            Parting::ServerMoved => (Reason::ServerMoved, "the server has moved"),
            Parting::ShuttingDown => (Reason::ServerShuttingDown, "the server is going down"),
        };
        // Only the first two may be followed by a reference (§4.11).
        let refer = goodbye.reference.is_some() && goodbye.reason != Parting::ShuttingDown;
        Self { refer, ..Self::server(reason, why) }
    }
}

impl Session {
    /// Ends the connection. Calling it again changes nothing.
    pub(super) fn end(&mut self, end: End, out: &mut Output) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        match phase {
            Phase::Ended => return,
            Phase::Opening(_) => self.abandon(out),
            // What came in one read with the end counts.
            Phase::Online => self.inbound.flush(out),
            Phase::Fresh | Phase::Entering(_) | Phase::Loading(_) => {}
        }
        if let Some((reason, why)) = end.say {
            self.say(&end, reason, why, out);
        }
        if self.identity.is_some() {
            self.release_all(out);
            self.last_words(&end, out);
        }
        out.effect(Effect::Close);
    }

    /// An undecodable packet. 3.x is told only of an unsupported level and a refused client identifier.
    pub(super) fn malformed(&mut self, error: &Malformed, out: &mut Output) {
        let fresh = matches!(self.phase, Phase::Fresh);
        if fresh && !self.version.is_v5() && !error.answered_before_v5() {
            return self.end(End::lost(), out);
        }
        let reason = error.reason();
        let why = match error {
            Malformed::FixedHeader { rule }
            | Malformed::Malformed { rule, .. }
            | Malformed::Protocol { rule, .. }
            | Malformed::ClientId { rule }
            | Malformed::TopicName { rule, .. }
            | Malformed::TopicFilter { rule, .. }
            | Malformed::NotInVersion { rule, .. } => *rule,
            Malformed::ProtocolName | Malformed::UnsupportedVersion { .. } => "protocol version not supported",
            Malformed::TooLarge { .. } | Malformed::TooLong { .. } => "packet too large",
            Malformed::TopicAlias { .. } => "topic alias 0",
        };
        let end = End { reason: CloseReason::ConnectionLost, ..End::server(reason, why) };
        self.end(end, out);
    }

    fn say(&self, end: &End, reason: Reason, why: &'static str, out: &mut Output) {
        let properties = |holder| {
            let text = self.problems.then(|| Property::ReasonString(why.into()));
            let reference = self.shared.settings.goodbye.reference.as_ref().filter(|_| end.refer);
            let reference = reference.map(|server| Property::ServerReference(server.clone()));
            Properties::new(holder, reference.into_iter().chain(text)).unwrap_or_default()
        };
        let fits = |packet, otherwise| if reason.fits(packet, Sender::Server) { reason } else { otherwise };
        match (self.identity.is_some(), self.version.is_v5()) {
            (true, true) => {
                let reason = fits(PacketType::Disconnect, Reason::UnspecifiedError);
                let full = Packet::Disconnect(Disconnect { reason, properties: properties(Holder::Disconnect) });
                out.packet(self.within(full, || Packet::Disconnect(Disconnect::new(reason))));
            }
            (true, false) => {}
            (false, v5) => {
                let reason = fits(PacketType::ConnAck, Reason::ServerUnavailable);
                let bare = ConnAck::refused(self.version, reason);
                let properties = if v5 { properties(Holder::ConnAck) } else { Properties::EMPTY };
                let full = Packet::ConnAck(ConnAck { properties, ..bare.clone() });
                out.packet(self.within(full, || Packet::ConnAck(bare)));
            }
        }
    }

    /// What says less where the client takes no packet as large as the one that says all ([MQTT-3.1.2-24]).
    fn within(&self, full: Packet, bare: impl FnOnce() -> Packet) -> Packet {
        let fits = full.encoded_len(self.version).is_ok_and(|bytes| self.outbound.takes_packet(bytes));
        if fits { full } else { bare() }
    }

    /// Gives back what a volatile session held and what was being prepared; the mailbox goes with the connection.
    fn release_all(&mut self, out: &mut Output) {
        if let Some(Job::Subscribe(job)) = self.job.take() {
            self.give_up(job, out);
        }
        if self.identity.is_some_and(|identity| identity.persistent) {
            return;
        }
        let held = self.subscriptions.iter().map(|(_, subscription)| &subscription.filter);
        for filter in held.filter(|filter| may_overflow(filter)) {
            out.effect(Effect::Release(filter.clone()));
        }
    }

    fn last_words(&mut self, end: &End, out: &mut Output) {
        let Some(identity) = self.identity else { return };
        let (sid, epoch) = (identity.sid, identity.epoch);
        for lane in &self.outbound.lanes {
            let progress = if identity.persistent { lane.last_progress(sid, epoch) } else { None };
            let mut words: Vec<_> = progress.map(|progress| Command::Progress(vec![progress])).into_iter().collect();
            if lane.shard == sid.home {
                words.push(Command::SessionClose { sid, epoch, reason: end.reason, expiry: end.expiry });
            }
            if !words.is_empty() {
                out.call(Ticket::Close(lane.shard), Call::Propose(lane.shard, words));
            }
        }
    }

    /// Nobody waits any more for the session that was to be opened. Where that is under way it is closed right after;
    /// where it waits for a broker it is not made: its client has gone elsewhere by then.
    fn abandon(&self, out: &mut Output) {
        let abandon = Command::SessionAbandon {
            namespace: self.shared.namespace.clone(),
            client: self.client.clone(),
            owner: self.shared.incarnation,
            attempt: self.number,
        };
        out.call(Ticket::Close(self.home()), Call::Propose(self.home(), vec![abandon]));
    }
}
