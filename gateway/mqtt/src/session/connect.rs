//! From CONNECT to an open session.
//!
//! ```text
//!  CONNECT ─check─► Entering ──old connection gone──► Opening ──SessionOpen applied──► CONNACK ─► Online
//!                                                        └ resumed: CONNACK ─► Loading ─rows, attach─► Online
//! ```
//!
//! Refused for now, each with the code that the specification has for it: a will of QoS 2 (0x9B), a retained will
//! (0x9A), any other will (0x83), an authentication method (0x8C). In 3.x a will is refused with return code 3.

use std::time::Duration;

use causeway_compute::port::{Command, Error, Opened, Owner, Reply, Session as Rows, SessionOpen};
use causeway_model::{ClientId, Epoch, Kind, Position, Qos, ShardId, Sid, Text};
use smallvec::SmallVec;

use super::effect::{Call, Effect, Now, Output, Ticket};
use super::end::End;
use super::subscription::queue_of;
use super::{Phase, Session, Shared};
use crate::codec::{ConnAck, Connect, Holder, Packet, Properties, Property, Reason, Version, Will};

/// How long a session that is to be kept for ever is asked to live; the broker grants what it can keep.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

/// What CONNECT asked for, until the session is open.
#[derive(Debug)]
pub(super) struct Opening {
    clean_start: bool,
    expiry: Duration,
    /// The server made the client identifier up.
    assigned: bool,
    /// The server chose the keep alive.
    keep_alive: Option<u16>,
}

/// The session of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) sid: Sid,
    pub(super) epoch: Epoch,
    pub(super) persistent: bool,
}

impl Identity {
    /// On whose behalf a persistent session's wildcards are indexed.
    pub(super) fn owner(self) -> Owner {
        let Self { sid, epoch, .. } = self;
        Owner::Session { sid, epoch }
    }
}

impl Session {
    pub(super) fn connect(&mut self, connect: &Connect, now: Now, out: &mut Output) {
        self.version = connect.version;
        if let Err((reason, why)) = check(&self.shared, connect) {
            return self.end(End::refused(reason, why), out);
        }
        let version = connect.version;
        let assigned = connect.client_id.is_empty();
        // A copy: the identifier is a slice of the buffer that the packet came in.
        let id = if assigned { self.shared.assigned_id(self.number) } else { Text::from(&*connect.client_id) };
        self.client = ClientId(id);
        let keep_alive = self.shared.settings.keep_alive.filter(|most| {
            // Before 5.0 a server cannot say that it wants another one.
            version.is_v5() && (connect.keep_alive == 0 || connect.keep_alive > *most)
        });
        self.alive.start(keep_alive.unwrap_or(connect.keep_alive), now);
        let properties = &connect.properties;
        self.outbound.limit(properties.receive_maximum(), properties.maximum_packet_size());
        // A reason string must not make a packet too large for the client ([MQTT-3.14.2-3]).
        let room = properties.maximum_packet_size().is_none_or(|most| most >= 256);
        self.problems = room && properties.request_problem_information().unwrap_or(true);
        self.client_set_expiry = version.is_v5() && properties.session_expiry_interval().unwrap_or(0) > 0;
        let resume = !connect.clean_start;
        let opening = Opening { clean_start: connect.clean_start, expiry: expiry(connect), assigned, keep_alive };
        self.phase = Phase::Entering(Box::new(opening));
        out.call(Ticket::Enter, Call::Enter { client: self.client.clone(), resume });
    }

    /// The client has no other connection here any more.
    pub(super) fn entered(&mut self, out: &mut Output) {
        let Phase::Entering(opening) = std::mem::replace(&mut self.phase, Phase::Fresh) else { return };
        let open = SessionOpen {
            namespace: self.shared.namespace.clone(),
            client: self.client.clone(),
            clean_start: opening.clean_start,
            expiry: opening.expiry,
            owner: self.shared.incarnation,
            attempt: self.number,
            will: None,
        };
        self.phase = Phase::Opening(opening);
        out.call(Ticket::Open, Call::Propose(self.home(), vec![Command::SessionOpen(open)]));
    }

    pub(super) fn home(&self) -> ShardId {
        self.shared.cluster.home(&self.shared.namespace, &self.client.0)
    }

    /// `SessionOpen` is applied, or not.
    pub(super) fn opened(&mut self, replies: Result<Vec<Reply>, Error>, now: Now, out: &mut Output) {
        let Phase::Opening(opening) = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        let opened = match replies.map(|replies| replies.into_iter().next()) {
            Ok(Some(Reply::Opened(opened))) => opened,
            Ok(Some(Reply::Rejected(_))) => {
                self.phase = Phase::Entering(opening);
                return self.end(End::refused(Reason::QuotaExceeded, "session refused"), out);
            }
            Err(error) if error.kind != Kind::Unknown => {
                self.phase = Phase::Entering(opening);
                return self.end(End::unopened(&error), out);
            }
            // It may have been opened: the end of this phase abandons it.
            Err(_) | Ok(_) => {
                self.phase = Phase::Opening(opening);
                return self.end(End::refused(Reason::ServerUnavailable, "the brokers do not answer"), out);
            }
        };
        self.identity = Some(Identity { sid: opened.sid, epoch: opened.epoch, persistent: opened.persistent });
        (self.progressed, self.ticked) = (now.elapsed, now.elapsed);
        if let Some(owner) = opened.old_owner.filter(|owner| *owner != self.shared.incarnation) {
            out.effect(Effect::TakenFrom { owner, epoch: opened.epoch });
        }
        out.packet(Packet::ConnAck(self.connack(&opening, &opened)));
        if !opened.present {
            self.phase = Phase::Online;
            return;
        }
        self.phase = Phase::Loading(Loading { rows: self.shared.cluster.shards().map(|_| None).collect() });
        for shard in self.shared.cluster.shards() {
            out.call(Ticket::Rows(shard), Call::Rows(shard, opened.sid));
        }
    }

    fn connack(&self, opening: &Opening, opened: &Opened) -> ConnAck {
        let properties = if self.version.is_v5() { self.announce(opening, opened) } else { Properties::EMPTY };
        ConnAck { session_present: opened.present, reason: Reason::Success, properties }
    }

    fn announce(&self, opening: &Opening, opened: &Opened) -> Properties {
        let settings = &self.shared.settings;
        let mut list = vec![
            Property::ReceiveMaximum(settings.receive_maximum),
            Property::MaximumQos(Qos::AtLeastOnce.number()),
            Property::RetainAvailable(false),
            Property::MaximumPacketSize(u32::try_from(settings.packet_bytes).unwrap_or(u32::MAX)),
            Property::TopicAliasMaximum(0),
            Property::WildcardSubscriptionAvailable(true),
            Property::SharedSubscriptionAvailable(false),
        ];
        if opened.expiry < opening.expiry {
            let seconds = u32::try_from(opened.expiry.as_secs()).unwrap_or(u32::MAX);
            list.push(Property::SessionExpiryInterval(seconds));
        }
        if opening.assigned {
            list.push(Property::AssignedClientIdentifier(self.client.0.clone()));
        }
        list.extend(opening.keep_alive.map(Property::ServerKeepAlive));
        // Values that are checked with the settings: the block cannot fail.
        Properties::new(Holder::ConnAck, list).unwrap_or_default()
    }

    /// The rows of a resumed session on one shard.
    pub(super) fn rows(&mut self, shard: ShardId, rows: Result<Rows, Error>, first: Position, out: &mut Output) {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => return self.end(End::unavailable(&error), out),
        };
        let Phase::Loading(loading) = &mut self.phase else { return };
        let place = usize::try_from(shard.0).ok().and_then(|at| loading.rows.get_mut(at));
        if let Some(place) = place {
            *place = Some((rows, first));
        }
        if loading.rows.iter().any(Option::is_none) {
            return;
        }
        let all: Vec<_> = loading.rows.iter_mut().filter_map(Option::take).collect();
        self.restore(all, out);
    }

    fn restore(&mut self, rows: Vec<(Rows, Position)>, out: &mut Output) {
        for ((rows, first), lane) in rows.iter().zip(&mut self.outbound.lanes) {
            lane.resume(&rows.lane);
            let bytes = lane.skip_to(*first);
            if bytes > 0 {
                out.effect(Effect::Gap { shard: lane.shard, bytes });
            }
        }
        let shards: Vec<_> = self.shared.cluster.shards().collect();
        for subscription in rows.into_iter().flat_map(|(rows, _)| rows.subscriptions) {
            let start: SmallVec<[Position; 1]> =
                shards.iter().map(|shard| position_on(&subscription.from, *shard)).collect();
            self.subscriptions.add(&self.shared, subscription.filter, subscription.options, start);
        }
        let own = self.subscriptions.iter().map(|(_, subscription)| queue_of(&self.shared, &subscription.filter));
        let queues: Vec<_> = own.chain(self.subscriptions.overflow()).collect();
        if queues.is_empty() {
            // What is in flight is sent again; nothing else can be due.
            self.phase = Phase::Online;
            return;
        }
        out.call(Ticket::Resume, Call::Attach(queues));
    }

    /// All queues of a resumed session are attached: what lies between its cursor and these positions is read.
    pub(super) fn resumed(&mut self, from: &[(ShardId, Position)], now: Now) {
        self.phase = Phase::Online;
        for shard in self.shared.cluster.shards() {
            let upto = position_on(from, shard);
            let (view, outbound) = self.view(now);
            outbound.read_upto(view, shard, upto, true);
        }
    }
}

/// The rows that came so far, one place a shard.
#[derive(Debug)]
pub(super) struct Loading {
    rows: Vec<Option<(Rows, Position)>>,
}

/// The position that a list names for a shard; zero if it names none.
pub(super) fn position_on(list: &[(ShardId, Position)], shard: ShardId) -> Position {
    list.iter().find(|(other, _)| *other == shard).map_or(Position(0), |(_, position)| *position)
}

fn expiry(connect: &Connect) -> Duration {
    match connect.version {
        Version::V5 => connect
            .properties
            .session_expiry_interval()
            .map_or(Duration::ZERO, |seconds| Duration::from_secs(u64::from(seconds))),
        Version::V31 | Version::V311 if connect.clean_start => Duration::ZERO,
        Version::V31 | Version::V311 => FOR_EVER,
    }
}

fn check(shared: &Shared, connect: &Connect) -> Result<(), (Reason, &'static str)> {
    if connect.client_id.len() > shared.settings.client_id_bytes {
        return Err((Reason::ClientIdentifierNotValid, "client identifier too long"));
    }
    if connect.properties.authentication_method().is_some() {
        return Err((Reason::BadAuthenticationMethod, "no authentication method is supported"));
    }
    connect.will.as_ref().map_or(Ok(()), check_will)
}

fn check_will(will: &Will) -> Result<(), (Reason, &'static str)> {
    if will.qos == Qos::ExactlyOnce {
        return Err((Reason::QosNotSupported, "QoS 2 is not supported yet"));
    }
    if will.retain {
        return Err((Reason::RetainNotSupported, "retained messages are not supported yet"));
    }
    Err((Reason::ImplementationSpecificError, "will messages are not supported yet"))
}
