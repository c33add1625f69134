//! One client's session on this gateway: a pure state machine.
//!
//! ```text
//!  packets ─────────────┐                    ┌─► writes   (packets, deliveries)
//!  hints, answers ──────┼─►    Session    ───┼─► calls    (propose, read, fetch, attach …; each answered once)
//!  time, end of socket ─┘                    └─► effects  (detach, progress, close …)
//!
//!  connect   CONNECT to an open session          subscribe, unsubscribe   one at a time
//!  inbound   publishes, acknowledged in order    outbound + lane + catchup   deliveries, a lane a shard
//!  end       last packet, last progress          keepalive
//! ```
//!
//! It touches no socket, no broker and no clock, so every order of events can be tried. What design §5 promises is kept
//! here: one delivery a stamp, stamp order on each shard, nothing between hints and pages lost or doubled, packet ids
//! that survive a reconnect, a cursor that is never ahead of what is finished.
//!
//! Refused for now, with the protocol's own code: publishes and wills of QoS 2 (0x9B) or with RETAIN (0x9A), other
//! wills (0x83), topic aliases (0x94), shared subscriptions (0x9E), AUTH (0x8C, 0x82). QoS 2 subscriptions are granted
//! QoS 1. Where 3.x has no code for it, its connection is closed.

mod connect;
mod effect;
mod end;
mod inbound;
mod job;
mod outbound;
mod properties;
mod subscribe;
mod subscription;
mod time;
mod unsubscribe;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::notify::{Hint, Taken};
use causeway_compute::port::{Cluster, Error};
use causeway_model::{ClientId, Incarnation, Kind, Namespace, Position, Text};

pub use effect::{Answer, Call, Effect, Now, Output, Step, Tally, Ticket, Write};
pub use end::Cause;
pub use outbound::Delivery;

use self::connect::{Identity, Loading, Opening};
use self::end::End;
use self::inbound::{Fatal, Inbound};
use self::job::{Job, Request, Requests};
use self::outbound::{Candidate, Outbound, Stuck, View};
use self::subscription::Subscriptions;
use self::time::KeepAlive;
use crate::Settings;
use crate::codec::{Ack, Disconnect, Error as Malformed, Packet, Reason, Version};

/// What all sessions of a gateway share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The cluster's constants.
    pub cluster: Cluster,
    /// The tenant that this listener serves.
    pub namespace: Namespace,
    /// This run of this gateway.
    pub incarnation: Incarnation,
    /// What an operator set.
    pub settings: Settings,
}

impl Shared {
    /// A client identifier that no other connection of any gateway has.
    fn assigned_id(&self, number: u64) -> Text {
        Text::from(format!("auto-{:016x}-{number:x}", self.incarnation.0 >> 64))
    }
}

#[derive(Debug)]
enum Phase {
    /// No CONNECT yet.
    Fresh,
    /// Waits for the end of the client's old connection.
    Entering(Box<Opening>),
    /// Waits for `SessionOpen`.
    Opening(Box<Opening>),
    /// Resumed: waits for its rows, then for its queues to be attached.
    Loading(Loading),
    Online,
    Ended,
}

/// A client's session. See the module.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    /// The connection's number on this gateway.
    number: u64,
    phase: Phase,
    version: Version,
    client: ClientId,
    identity: Option<Identity>,
    /// The client wants reason strings.
    problems: bool,
    /// CONNECT gave an expiry above zero, so DISCONNECT may change it (§3.14.2.2.2).
    client_set_expiry: bool,
    alive: KeepAlive,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    job: Option<Job>,
    requests: Requests,
    /// When cursors were last handed to the log.
    progressed: Duration,
    /// Something was acknowledged since.
    moved: bool,
    ticked: Duration,
}

impl Session {
    /// A connection that has sent nothing yet; `number` is unique on this gateway.
    pub fn new(shared: Arc<Shared>, number: u64, now: Now) -> Self {
        let outbound = Outbound::new(&shared);
        Self {
            shared,
            number,
            phase: Phase::Fresh,
            version: Version::V311,
            client: ClientId(Text::new()),
            identity: None,
            problems: true,
            client_set_expiry: false,
            alive: KeepAlive::default(),
            inbound: Inbound::default(),
            outbound,
            subscriptions: Subscriptions::default(),
            job: None,
            requests: Requests::default(),
            progressed: now.elapsed,
            moved: false,
            ticked: now.elapsed,
        }
    }

    /// The version in which to encode.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The session's id and epoch, once it is open.
    pub fn opened_as(&self) -> Option<(causeway_model::Sid, causeway_model::Epoch)> {
        self.identity.map(|identity| (identity.sid, identity.epoch))
    }

    /// The client's name; empty before CONNECT.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// Whether the client has been accepted and not yet left.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online)
    }

    /// Whether it has ended: only answers to calls are of use to it now.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Whether its CONNECT waits for an answer.
    pub fn is_entering(&self) -> bool {
        matches!(self.phase, Phase::Entering(_) | Phase::Opening(_))
    }

    /// Whether there is room for another packet. If not, the socket is not to be read: TCP makes the client wait.
    pub fn takes_packets(&self) -> bool {
        match self.phase {
            Phase::Fresh => true,
            Phase::Online => {
                let room = self.requests.has_room(self.shared.settings.inbound_bytes);
                room && self.inbound.has_room(&self.shared, self.version)
            }
            Phase::Entering(_) | Phase::Opening(_) | Phase::Loading(_) | Phase::Ended => false,
        }
    }

    /// Whether it has a use for hints. If not, the mailbox fills, forgets, and what it forgot is read later.
    pub fn takes_hints(&self) -> bool {
        matches!(self.phase, Phase::Online) && self.outbound.takes_hints()
    }

    /// A packet came.
    pub fn packet(&mut self, packet: Packet, now: Now, out: &mut Output) {
        self.alive.heard(now);
        match (&self.phase, packet) {
            (Phase::Fresh, Packet::Connect(connect)) => self.connect(&connect, now, out),
            (Phase::Fresh, _) => self.ended(Cause::Lost, out),
            (Phase::Online, packet) => self.online(packet, now, out),
            _ => {}
        }
    }

    fn online(&mut self, packet: Packet, now: Now, out: &mut Output) {
        match packet {
            Packet::Publish(publish) => {
                let taken = self.inbound.publish(&self.shared, self.version, &self.client, now, publish, out);
                self.unless_fatal(taken, out);
            }
            Packet::PubAck(ack) => self.acknowledged(&ack, out),
            Packet::PingReq => out.packet(Packet::PingResp),
            Packet::Subscribe(packet) => self.request(Request::Subscribe(packet), out),
            Packet::Unsubscribe(packet) => self.request(Request::Unsubscribe(packet), out),
            Packet::Disconnect(disconnect) => self.disconnect(&disconnect, out),
            // Nothing is sent or taken at QoS 2 yet, so no id of these is known (§4.3.3, §3.6.2.1, §3.7.2.1).
            Packet::PubRel(ack) => out.packet(Packet::PubComp(self.not_found(&ack))),
            Packet::PubRec(ack) if !ack.reason.is_failure() => out.packet(Packet::PubRel(self.not_found(&ack))),
            Packet::PubRec(_) | Packet::PubComp(_) => {}
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.end(End::server(Reason::ProtocolError, "unexpected packet"), out),
        }
    }

    fn unless_fatal(&mut self, outcome: Result<(), Fatal>, out: &mut Output) {
        if let Err(fatal) = outcome {
            self.end(End::server(fatal.reason, fatal.why), out);
        }
    }

    fn not_found(&self, ack: &Ack) -> Ack {
        let v5 = self.version.is_v5();
        Ack::new(ack.pid, if v5 { Reason::PacketIdentifierNotFound } else { Reason::Success })
    }

    fn acknowledged(&mut self, ack: &Ack, out: &mut Output) {
        if self.outbound.acknowledge(ack.pid) {
            out.tally.acknowledged += 1;
            self.moved = true;
        }
    }

    fn disconnect(&mut self, disconnect: &Disconnect, out: &mut Output) {
        let expiry = disconnect.properties.session_expiry_interval();
        if expiry.is_some_and(|seconds| seconds > 0) && !self.client_set_expiry {
            return self.end(End::server(Reason::ProtocolError, "session expiry was 0 in CONNECT"), out);
        }
        let expiry = expiry.map(|seconds| Duration::from_secs(u64::from(seconds)));
        // Any other reason than normal disconnection publishes the will (§3.14.4).
        self.end(End::orderly(disconnect.reason != Reason::Success, expiry), out);
    }

    /// Bytes came that are no packet; `version` is the one in which to answer, if it is known.
    pub fn undecodable(&mut self, error: &Malformed, version: Option<Version>, out: &mut Output) {
        self.version = version.unwrap_or(self.version);
        self.malformed(error, out);
    }

    /// A read of the socket is over: what it brought is proposed.
    pub fn flush(&mut self, out: &mut Output) {
        if self.is_online() {
            self.inbound.flush(out);
        }
    }

    /// Entries came to queues of this session. `dispatched` was read for each shard before the hints were taken:
    /// everything at or below is among what has been taken.
    pub fn hints(&mut self, hints: Vec<Hint>, taken: Taken, dispatched: &[Position], now: Now, out: &mut Output) {
        for (shard, upto) in taken.lagging {
            out.tally.lagged += 1;
            let (view, outbound) = self.view(now);
            outbound.read_upto(view, shard, upto, false);
        }
        for hint in hints {
            let Some(found) = self.subscriptions.found(&hint.queues) else { continue };
            let Hint { shard, stamp, position, length, flags, .. } = hint;
            if let Some(lane) = self.outbound.lane(shard) {
                lane.offer(Candidate {
                    stamp,
                    position,
                    length,
                    qos: flags.qos,
                    found,
                    again: None,
                    away: false,
                    reserved: false,
                });
            }
        }
        for (lane, upto) in self.outbound.lanes.iter_mut().zip(dispatched) {
            lane.scanned(*upto);
        }
    }

    /// Asks for what is to be delivered next; `room` is how many bytes may wait for the socket.
    pub fn pump(&mut self, room: usize, now: Now, out: &mut Output) {
        if self.is_online() && room > 0 {
            let (view, outbound) = self.view(now);
            outbound.pump(view, room, out);
        }
    }

    /// What came of a call.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer, now: Now, out: &mut Output) {
        match (&self.phase, ticket, answer) {
            (Phase::Online, Ticket::Publish(number), Answer::Replies(replies)) => {
                let outcome = self.inbound.replied(self.version, number, replies, out);
                self.unless_fatal(outcome, out);
            }
            (Phase::Online, Ticket::Fetch(shard), Answer::Messages(Ok(messages))) => {
                let (view, outbound) = self.view(now);
                outbound.messages(view, shard, messages, out);
            }
            (Phase::Online, Ticket::Read(shard), Answer::Pages(Ok(pages))) => {
                let read = self.outbound.pages(shard, pages);
                let stuck = read.map_err(|Stuck| Fatal::new(Reason::ImplementationSpecificError, "queue unreadable"));
                self.unless_fatal(stuck, out);
            }
            (Phase::Online, Ticket::Fetch(shard), Answer::Messages(Err(error))) => {
                self.outbound.fetch_failed(shard, &error.kind, now);
                self.unless_worth_again(&error, out);
            }
            (Phase::Online, Ticket::Read(shard), Answer::Pages(Err(error))) => {
                self.outbound.read_failed(shard, &error.kind, now);
                self.unless_worth_again(&error, out);
            }
            (Phase::Online, Ticket::Step(step), answer) => self.step(step, answer, out),
            (Phase::Entering(_), Ticket::Enter, Answer::Entered) => self.entered(out),
            (Phase::Opening(_), Ticket::Open, Answer::Replies(replies)) => self.opened(replies, now, out),
            (Phase::Loading(_), Ticket::Rows(shard), Answer::Rows(rows, first)) => self.rows(shard, rows, first, out),
            (Phase::Loading(_), Ticket::Resume, Answer::Attached(from)) => self.resumed(&from, now),
            // Of a session that has ended, or nobody waits for it.
            _ => {}
        }
    }

    /// Reading again changes nothing about some errors (a corrupt log): the client is told.
    fn unless_worth_again(&mut self, error: &Error, out: &mut Output) {
        if !error.kind.retryable() && error.kind != Kind::Unknown {
            self.end(End::unavailable(error), out);
        }
    }

    /// The connection ends for another reason than a packet.
    pub fn ended(&mut self, cause: Cause, out: &mut Output) {
        // Who has not said CONNECT is told nothing.
        let cause = if matches!(self.phase, Phase::Fresh) { Cause::Lost } else { cause };
        self.end(End::of(cause, &self.shared.settings.goodbye), out);
    }

    fn view(&mut self, now: Now) -> (View<'_>, &mut Outbound) {
        let Self { shared, subscriptions, client, version, outbound, .. } = self;
        (View { shared, subscriptions, client, version: *version, now }, outbound)
    }
}
