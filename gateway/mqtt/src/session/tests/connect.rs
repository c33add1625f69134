//! CONNECT and what ends a connection.

use std::time::Duration;

use causeway_compute::drain::{Goodbye, Reason as Parting};
use causeway_compute::port::{CloseReason, Command};
use causeway_model::{Kind, Qos};

use super::broker::Broker;
use super::peer::Peer;
use crate::Settings;
use crate::codec::{
    Auth, Connect, Disconnect, Error, Holder, Packet, PacketType, Properties, Property, Reason, Version, Will,
};
use crate::session::{Cause, Ticket};

pub(super) fn connect(version: Version, client: &str) -> Connect {
    Connect::new(version, client.to_owned())
}

/// Connects and checks that it worked; the CONNACK's Session Present.
pub(super) fn online(broker: &mut Broker, settings: Settings, packet: Connect) -> (Peer, bool) {
    let mut peer = Peer::new(broker, settings, 64);
    peer.packet(broker, Packet::Connect(Box::new(packet)));
    peer.answer_all(broker);
    let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
    assert_eq!(ack.reason, Reason::Success);
    assert!(peer.session.is_online());
    (peer, ack.session_present)
}

pub(super) fn persistent(client: &str) -> Connect {
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(600)]).unwrap();
    Connect { clean_start: false, properties, ..connect(Version::V5, client) }
}

fn refusal(packet: Connect) -> (Reason, Option<String>) {
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings::default(), 8);
    peer.packet(broker, Packet::Connect(Box::new(packet)));
    assert!(peer.closed && peer.proposed.is_empty(), "nothing was opened");
    let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
    (ack.reason, ack.properties.reason_string().map(|text| text.to_string()))
}

#[test]
fn connack_says_what_is_not_supported_and_what_was_chosen() {
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings { keep_alive: Some(60), ..Settings::default() }, 8);
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(u32::MAX)]).unwrap();
    peer.packet(broker, Packet::Connect(Box::new(Connect { properties, ..connect(Version::V5, "") })));
    peer.answer_all(broker);
    let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
    let said = ack.properties;
    assert_eq!((said.maximum_qos(), said.retain_available()), (Some(1), Some(false)));
    assert_eq!((said.receive_maximum(), said.topic_alias_maximum()), (Some(1024), Some(0)));
    assert_eq!(said.maximum_packet_size(), Some((4 << 20) + (64 << 10)));
    assert_eq!(said.shared_subscription_available(), Some(false));
    assert_eq!(said.wildcard_subscription_available(), Some(true));
    assert_eq!(said.session_expiry_interval(), Some(3600), "capped by the broker");
    assert_eq!(said.server_keep_alive(), Some(60));
    let assigned = said.assigned_client_identifier().unwrap();
    assert_eq!(&assigned, &peer.client().0);
    assert!(assigned.len() > 8);
}

#[test]
fn in_version_3_a_session_that_is_not_clean_lives_as_long_as_the_broker_lets_it() {
    for (clean, persistent) in [(true, false), (false, true)] {
        let broker = &mut Broker::new(1);
        let packet = Connect { clean_start: clean, ..connect(Version::V311, "c") };
        let (peer, present) = online(broker, Settings::default(), packet.clone());
        assert!(!present);
        let Command::SessionOpen(open) = &peer.proposed[0] else { panic!("no SessionOpen") };
        assert_eq!(open.expiry, if persistent { Duration::from_secs(u64::from(u32::MAX)) } else { Duration::ZERO });
        let (_, present) = online(broker, Settings::default(), packet);
        assert_eq!(present, persistent);
    }
}

#[test]
fn what_is_not_built_is_refused_with_the_code_that_the_specification_has_for_it() {
    let will = |qos, retain| {
        let (topic, payload, properties) = ("t".into(), "gone".into(), Properties::EMPTY);
        Some(Will { qos, retain, topic, payload, properties })
    };
    let v5 = connect(Version::V5, "c");
    let method = Property::AuthenticationMethod("SCRAM-SHA-1".into());
    let properties = Properties::new(Holder::Connect, [method]).unwrap();
    for (packet, expected) in [
        (Connect { will: will(Qos::ExactlyOnce, true), ..v5.clone() }, Reason::QosNotSupported),
        (Connect { will: will(Qos::AtLeastOnce, true), ..v5.clone() }, Reason::RetainNotSupported),
        (Connect { will: will(Qos::AtMostOnce, false), ..v5.clone() }, Reason::ImplementationSpecificError),
        (Connect { properties, ..v5.clone() }, Reason::BadAuthenticationMethod),
        (connect(Version::V5, &"c".repeat(1025)), Reason::ClientIdentifierNotValid),
    ] {
        let (reason, text) = refusal(packet);
        assert_eq!(reason, expected);
        assert!(text.is_some_and(|text| !text.is_empty()));
    }
    for version in [Version::V31, Version::V311] {
        let packet = Connect { will: will(Qos::AtMostOnce, false), ..connect(version, "c") };
        assert_eq!(refusal(packet), (Reason::ServerUnavailable, None));
    }
}

#[test]
fn a_client_that_wants_no_reason_strings_gets_none() {
    let properties = Properties::new(Holder::Connect, [Property::RequestProblemInformation(false)]).unwrap();
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), Connect { properties, ..connect(Version::V5, "c") });
    peer.end(broker, Cause::Drain);
    assert_eq!(peer.take_packet(), Packet::Disconnect(Disconnect::new(Reason::ServerShuttingDown)));
}

#[test]
fn who_is_asked_to_go_in_a_drain_is_told_where_to_as_far_as_its_version_and_limits_let_it() {
    let server = || Property::ServerReference("eu-2.example:1883".into());
    let elsewhere = |reason| Goodbye { reason, reference: Some("eu-2.example:1883".into()) };
    let limited = |bytes| Properties::new(Holder::Connect, [Property::MaximumPacketSize(bytes)]).unwrap();
    let (full, v5) = (Properties::EMPTY, Version::V5);
    let (other, moved) = (Parting::UseAnotherServer, Parting::ServerMoved);
    for (goodbye, properties, expected, reference) in [
        (elsewhere(other), full.clone(), Reason::UseAnotherServer, true),
        (elsewhere(moved), full.clone(), Reason::ServerMoved, true),
        (elsewhere(Parting::ShuttingDown), full.clone(), Reason::ServerShuttingDown, false),
        (Goodbye { reason: other, reference: None }, full, Reason::UseAnotherServer, false),
        (elsewhere(other), limited(40), Reason::UseAnotherServer, true),
        (elsewhere(other), limited(20), Reason::UseAnotherServer, false),
    ] {
        let broker = &mut Broker::new(1);
        let settings = Settings { goodbye, ..Settings::default() };
        let (mut peer, _) = online(broker, settings.clone(), Connect { properties, ..connect(v5, "c") });
        peer.end(broker, Cause::Drain);
        let Packet::Disconnect(said) = peer.take_packet() else { panic!("no DISCONNECT") };
        assert_eq!(said.reason, expected);
        assert_eq!(said.properties.server_reference(), reference.then(|| "eu-2.example:1883".into()));
        // Before 5.0 a connection that has been accepted is closed without a word.
        let (mut peer, _) = online(broker, settings, connect(Version::V311, "d"));
        peer.end(broker, Cause::Drain);
        assert_eq!(peer.take_packets(), []);
        assert!(peer.closed);
    }
    assert!(Properties::new(Holder::ConnAck, [server()]).is_ok());
}

#[test]
fn a_connect_that_is_under_way_at_a_drain_is_refused_with_where_to_go_and_its_opening_is_abandoned() {
    let goodbye = Goodbye { reason: Parting::UseAnotherServer, reference: Some("b:1883".into()) };
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings { goodbye, ..Settings::default() }, 8);
    peer.packet(broker, Packet::Connect(Box::new(connect(Version::V5, "c"))));
    // The registry has let it in; the answer to its SessionOpen is on its way.
    peer.answer(broker, 0);
    peer.end(broker, Cause::Drain);
    let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
    assert_eq!((ack.reason, ack.session_present), (Reason::UseAnotherServer, false));
    assert_eq!(ack.properties.server_reference(), Some("b:1883".into()));
    peer.answer_all(broker);
    assert!(matches!(peer.proposed.last(), Some(Command::SessionAbandon { .. })), "{:?}", peer.proposed);
    assert!(peer.closed);
}

#[test]
fn a_connect_that_the_brokers_leave_unanswered_is_refused_in_time_and_its_opening_is_abandoned() {
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings::default(), 8);
    peer.packet(broker, Packet::Connect(Box::new(connect(Version::V5, "c"))));
    peer.answer(broker, 0);
    let limit = Settings::default().connect_timeout;
    peer.tick(broker, limit / 2);
    assert_eq!(peer.take_packets(), []);
    peer.tick(broker, limit / 2);
    let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
    assert_eq!(ack.reason, Reason::ServerUnavailable);
    assert!(peer.closed);
    peer.answer_all(broker);
    assert!(matches!(peer.proposed.last(), Some(Command::SessionAbandon { .. })), "{:?}", peer.proposed);
}

#[test]
fn a_broker_that_is_busy_refuses_the_connection_with_a_code_to_try_again() {
    for (kind, expected) in [
        (Kind::Busy { retry_after: Duration::from_secs(1) }, Reason::ServerBusy),
        (Kind::DiskFull, Reason::QuotaExceeded),
    ] {
        let broker = &mut Broker::new(1);
        broker.refuse = Some(kind);
        let mut peer = Peer::new(broker, Settings::default(), 8);
        peer.packet(broker, Packet::Connect(Box::new(connect(Version::V5, "c"))));
        peer.answer_all(broker);
        let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
        assert_eq!(ack.reason, expected);
        assert!(peer.closed);
    }
}

#[test]
fn packets_that_a_client_may_not_send_end_the_connection() {
    let auth = Properties::new(Holder::Auth, [Property::AuthenticationMethod("x".into())]).unwrap();
    let auth = Packet::Auth(Auth { reason: Reason::ReAuthenticate, properties: auth });
    for packet in [Packet::Connect(Box::new(connect(Version::V5, "c"))), Packet::PingResp, auth] {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
        peer.packet(broker, packet);
        let Packet::Disconnect(goodbye) = peer.take_packet() else { panic!("no DISCONNECT") };
        assert_eq!(goodbye.reason, Reason::ProtocolError);
        assert!(peer.closed);
    }
}

#[test]
fn undecodable_bytes_are_answered_as_the_version_allows() {
    let malformed = Error::Malformed { packet: PacketType::Publish, rule: "rule" };
    let cases = [
        (Some(Version::V5), malformed, Some(Reason::MalformedPacket)),
        (Some(Version::V311), malformed, None),
        (Some(Version::V311), Error::UnsupportedVersion { level: 2 }, Some(Reason::UnsupportedProtocolVersion)),
        (Some(Version::V31), Error::ClientId { rule: "rule" }, Some(Reason::ClientIdentifierNotValid)),
        (None, Error::ProtocolName, None),
    ];
    for (version, error, expected) in cases {
        let broker = &mut Broker::new(1);
        let mut peer = Peer::new(broker, Settings::default(), 8);
        peer.undecodable(broker, error, version);
        assert!(peer.closed);
        let said = peer.take_packets().into_iter().map(|packet| match packet {
            Packet::ConnAck(ack) => ack.reason,
            other => panic!("{other:?}"),
        });
        assert_eq!(said.collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
    }
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    peer.undecodable(broker, malformed, Some(Version::V5));
    let Packet::Disconnect(goodbye) = peer.take_packet() else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, Reason::MalformedPacket);
}

#[test]
fn a_client_that_is_silent_for_one_and_a_half_intervals_is_gone() {
    let broker = &mut Broker::new(1);
    let packet = Connect { keep_alive: 10, ..connect(Version::V5, "c") };
    let (mut peer, _) = online(broker, Settings::default(), packet);
    peer.tick(broker, Duration::from_secs(14));
    peer.packet(broker, Packet::PingReq);
    assert_eq!(peer.take_packet(), Packet::PingResp);
    assert_eq!(peer.session.deadline(), Some(peer.now.elapsed + Duration::from_secs(15)));
    peer.tick(broker, Duration::from_millis(14_999));
    assert!(!peer.closed);
    // Timers may be ahead of packets that wait in the socket: a moment more, and it is heard again.
    peer.tick(broker, Duration::from_millis(1));
    assert!(!peer.closed);
    peer.packet(broker, Packet::PingReq);
    assert_eq!(peer.take_packet(), Packet::PingResp);
    peer.tick(broker, Duration::from_secs(15));
    assert!(!peer.closed);
    peer.tick(broker, Duration::from_millis(250));
    let Packet::Disconnect(goodbye) = peer.take_packet() else { panic!("no DISCONNECT") };
    assert_eq!((goodbye.reason, peer.closed), (Reason::KeepAliveTimeout, true));
    let Some(Command::SessionClose { reason, .. }) = peer.proposed.last() else { panic!("no SessionClose") };
    assert_eq!(*reason, CloseReason::ConnectionLost);
}

#[test]
fn without_a_connect_in_time_the_connection_ends_without_a_word() {
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings::default(), 8);
    assert_eq!(peer.session.deadline(), Some(peer.now.elapsed + Duration::from_secs(10)));
    peer.tick(broker, Duration::from_millis(9999));
    assert!(!peer.closed);
    peer.tick(broker, Duration::from_millis(1));
    assert!(peer.closed && peer.written.is_empty() && peer.proposed.is_empty());
}

#[test]
fn disconnect_closes_the_session_and_may_change_its_expiry_but_not_from_zero() {
    let ends = |packet: Connect, properties: &[Property], reason| {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), packet);
        let properties = Properties::new(Holder::Disconnect, properties.to_vec()).unwrap();
        peer.packet(broker, Packet::Disconnect(Disconnect { reason, properties }));
        let last = peer.proposed.last().cloned();
        (peer.take_packets().pop(), last)
    };
    let closed = |reason, expiry| {
        move |command: Option<Command>| match command {
            Some(Command::SessionClose { reason: why, expiry: at, .. }) => (why, at) == (reason, expiry),
            _ => false,
        }
    };
    let (said, last) = ends(persistent("c"), &[], Reason::Success);
    assert!(said.is_none() && closed(CloseReason::Orderly, None)(last));
    let (_, last) = ends(persistent("c"), &[], Reason::DisconnectWithWill);
    assert!(closed(CloseReason::OrderlyWithWill, None)(last));
    let (_, last) = ends(persistent("c"), &[Property::SessionExpiryInterval(5)], Reason::Success);
    assert!(closed(CloseReason::Orderly, Some(Duration::from_secs(5)))(last));
    let (said, _) = ends(connect(Version::V5, "c"), &[Property::SessionExpiryInterval(5)], Reason::Success);
    assert!(matches!(said, Some(Packet::Disconnect(goodbye)) if goodbye.reason == Reason::ProtocolError));
}

#[test]
fn an_opening_whose_connection_has_gone_is_abandoned_by_its_name_right_behind_it() {
    let broker = &mut Broker::new(1);
    let mut peer = Peer::new(broker, Settings::default(), 8);
    peer.packet(broker, Packet::Connect(Box::new(persistent("c"))));
    peer.answer(broker, 0);
    peer.end(broker, Cause::Lost);
    assert!(peer.closed && peer.session.is_ended());
    let [Command::SessionOpen(open), Command::SessionAbandon { namespace, client, owner, attempt }] =
        &peer.proposed[..]
    else {
        panic!("{:?}", peer.proposed)
    };
    assert!(*attempt > 0);
    assert_eq!((namespace, client, *owner, *attempt), (&open.namespace, &open.client, open.owner, open.attempt));
    peer.answer_all(broker);
    assert_eq!(peer.proposed.len(), 2);
}

#[test]
fn an_opening_is_abandoned_if_nobody_knows_what_came_of_it_and_not_if_nothing_did() {
    for (kind, abandoned, reason) in [
        (Kind::Unknown, true, Reason::ServerUnavailable),
        (Kind::Unavailable, false, Reason::ServerUnavailable),
        (Kind::Busy { retry_after: Duration::ZERO }, false, Reason::ServerBusy),
    ] {
        let broker = &mut Broker::new(1);
        broker.refuse = Some(kind);
        let mut peer = Peer::new(broker, Settings::default(), 8);
        peer.packet(broker, Packet::Connect(Box::new(persistent("c"))));
        peer.answer_all(broker);
        let Packet::ConnAck(ack) = peer.take_packet() else { panic!("no CONNACK") };
        assert_eq!(ack.reason, reason);
        let last = peer.proposed.last();
        assert_eq!(matches!(last, Some(Command::SessionAbandon { .. })), abandoned, "{last:?}");
    }
}

#[test]
fn a_taken_over_client_is_told_and_its_last_words_come_in_one_group_with_the_close() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.end(broker, Cause::TakenOver);
    let Packet::Disconnect(goodbye) = peer.take_packet() else { panic!("no DISCONNECT") };
    assert_eq!(goodbye.reason, Reason::SessionTakenOver);
    let closes: Vec<_> = peer.pending.iter().filter(|(ticket, _)| matches!(ticket, Ticket::Close(_))).collect();
    assert_eq!(closes.len(), 1);
}
