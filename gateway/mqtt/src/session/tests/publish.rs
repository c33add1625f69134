//! Publishes in: grouped, acknowledged in order, refused with the right code.

use std::time::Duration;

use causeway_compute::port::Command;
use causeway_model::{Kind, Qos};

use super::broker::Broker;
use super::connect::{connect, online};
use super::peer::Peer;
use crate::Settings;
use crate::codec::{Ack, Disconnect, Holder, Packet, PacketId, Properties, Property, Publish, Reason, Version};
use crate::session::Ticket;

pub(super) fn publish(topic: &str, qos: Qos, pid: u16) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.to_owned().into(),
        pid: PacketId::new(pid),
        properties: Properties::EMPTY,
        payload: "payload".into(),
    }
}

fn qos1(topic: &str, pid: u16) -> Packet {
    Packet::Publish(publish(topic, Qos::AtLeastOnce, pid))
}

fn client(broker: &mut Broker, version: Version) -> Peer {
    online(broker, Settings::default(), connect(version, "c")).0
}

fn goodbye(peer: &mut Peer) -> Option<Reason> {
    assert!(peer.closed);
    peer.take_packets().pop().map(|packet| match packet {
        Packet::Disconnect(goodbye) => goodbye.reason,
        other => panic!("{other:?}"),
    })
}

#[test]
fn the_publishes_of_one_read_are_one_proposal_and_are_acknowledged_once_it_is_applied() {
    let broker = &mut Broker::new(1);
    let mut peer = client(broker, Version::V311);
    let qos0 = Packet::Publish(publish("a", Qos::AtMostOnce, 0));
    peer.packets(broker, [qos1("a", 1), qos0, qos1("b", 2)]);
    peer.packets(broker, [qos1("a", 3)]);
    assert_eq!(peer.pending.len(), 2);
    assert_eq!(peer.take_acks(), []);
    peer.answer(broker, 0);
    assert_eq!(peer.take_acks(), [(1, Reason::Success), (2, Reason::Success)]);
    peer.answer(broker, 0);
    assert_eq!(peer.take_acks(), [(3, Reason::Success)]);
    assert_eq!(broker.logs[0].entries.len(), 4);
}

#[test]
fn acknowledgements_keep_the_order_of_publishes_whichever_shard_answers_first() {
    let broker = &mut Broker::new(2);
    let mut peer = client(broker, Version::V5);
    let topics: Vec<String> = (0..8).map(|number| format!("t/{number}")).collect();
    peer.packets(broker, (1..).zip(&topics).map(|(pid, topic)| qos1(topic, pid)));
    assert_eq!(peer.pending.len(), 2, "both shards have some of them");
    peer.answer(broker, 1);
    let early = peer.take_acks();
    peer.answer(broker, 0);
    let all: Vec<_> = early.into_iter().chain(peer.take_acks()).map(|(pid, _)| pid).collect();
    assert_eq!(all, (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_publish_that_came_with_disconnect_is_logged() {
    let broker = &mut Broker::new(1);
    let mut peer = client(broker, Version::V311);
    let last = Packet::Disconnect(Disconnect::NORMAL);
    peer.packets(broker, [Packet::Publish(publish("a", Qos::AtMostOnce, 0)), last]);
    assert_eq!(broker.logs[0].entries.len(), 1);
    assert!(matches!(peer.proposed.last(), Some(Command::SessionClose { .. })), "before the session was closed");
}

#[test]
fn a_publish_becomes_a_message_with_all_that_describes_it() {
    let broker = &mut Broker::new(1);
    let mut peer = client(broker, Version::V5);
    let list = [Property::MessageExpiryInterval(9), Property::user("k", "v"), Property::ContentType("t".into())];
    let properties = Properties::new(Holder::Publish, list).unwrap();
    peer.packet(broker, Packet::Publish(Publish { properties, ..publish("a/b", Qos::AtLeastOnce, 7) }));
    let message = &broker.logs[0].entries[0].message;
    assert_eq!((message.topic.as_str(), &*message.body), ("a/b", &b"payload"[..]));
    assert_eq!((message.qos, message.expiry), (Qos::AtLeastOnce, Some(Duration::from_secs(9))));
    assert_eq!((message.born, &*message.publisher.client.0), (peer.now.wall, "c"));
    assert_eq!(message.properties.iter().count(), 2);
}

#[test]
fn what_is_not_built_ends_the_connection_with_the_code_for_it() {
    let alias = Properties::new(Holder::Publish, [Property::TopicAlias(1)]).unwrap();
    let cases = [
        (publish("a", Qos::ExactlyOnce, 1), Reason::QosNotSupported),
        (Publish { retain: true, ..publish("a", Qos::AtMostOnce, 0) }, Reason::RetainNotSupported),
        (Publish { properties: alias, ..publish("a", Qos::AtMostOnce, 0) }, Reason::TopicAliasInvalid),
    ];
    for (packet, expected) in cases {
        let broker = &mut Broker::new(1);
        let mut peer = client(broker, Version::V5);
        peer.packet(broker, Packet::Publish(packet));
        assert_eq!(goodbye(&mut peer), Some(expected));
        assert_eq!(broker.logs[0].entries.len(), 0);
    }
    let broker = &mut Broker::new(1);
    let mut peer = client(broker, Version::V311);
    peer.packet(broker, Packet::Publish(publish("a", Qos::ExactlyOnce, 1)));
    assert_eq!(goodbye(&mut peer), None, "3.1.1 has no DISCONNECT of a server");
}

#[test]
fn failures_are_told_in_5_and_end_the_connection_in_3_and_qos_0_is_dropped() {
    let busy = Kind::Busy { retry_after: Duration::from_millis(1) };
    for (kind, expected) in [
        (busy, Reason::QuotaExceeded),
        (Kind::DiskFull, Reason::QuotaExceeded),
        (Kind::Denied, Reason::NotAuthorized),
        (Kind::Invalid, Reason::ImplementationSpecificError),
    ] {
        for version in [Version::V5, Version::V311] {
            let broker = &mut Broker::new(1);
            let mut peer = client(broker, version);
            broker.refuse = Some(kind.clone());
            peer.packet(broker, Packet::Publish(publish("a", Qos::AtMostOnce, 0)));
            peer.answer_all(broker);
            assert!(!peer.closed);
            peer.packet(broker, qos1("a", 1));
            peer.answer_all(broker);
            if version.is_v5() {
                assert_eq!(peer.take_acks(), [(1, expected)]);
                broker.refuse = None;
                peer.packet(broker, qos1("a", 2));
                peer.answer_all(broker);
                assert_eq!(peer.take_acks(), [(2, Reason::Success)], "it goes on");
            } else {
                assert_eq!((peer.take_acks(), goodbye(&mut peer)), (Vec::new(), None));
            }
        }
    }
}

#[test]
fn an_unknown_outcome_is_no_answer_at_all() {
    for (kind, expected) in [
        (Kind::Unknown, Reason::ImplementationSpecificError),
        (Kind::TooLarge, Reason::PacketTooLarge),
        (Kind::Unavailable, Reason::ServerBusy),
    ] {
        let broker = &mut Broker::new(1);
        let mut peer = client(broker, Version::V5);
        broker.refuse = Some(kind);
        peer.packet(broker, qos1("a", 1));
        peer.answer_all(broker);
        assert_eq!((peer.take_acks(), goodbye(&mut peer)), (Vec::new(), Some(expected)));
    }
}

#[test]
fn a_topic_that_is_none_here_is_refused_and_later_publishes_are_not_held_up() {
    for topic in [&"/".repeat(16), "$p2p", "$p2p/"] {
        let broker = &mut Broker::new(1);
        let mut peer = client(broker, Version::V5);
        peer.packets(broker, [qos1("a", 1), qos1(topic, 2), qos1("a", 3)]);
        peer.answer_all(broker);
        let expected = [(1, Reason::Success), (2, Reason::TopicNameInvalid), (3, Reason::Success)];
        assert_eq!(peer.take_acks(), expected, "{topic}");
    }
}

#[test]
fn more_than_receive_maximum_is_an_error_in_5_and_makes_a_client_of_3_wait() {
    let settings = Settings { receive_maximum: 2, ..Settings::default() };
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, settings.clone(), connect(Version::V5, "c"));
    peer.packets(broker, [qos1("a", 1), qos1("a", 2), qos1("a", 3)]);
    assert_eq!(goodbye(&mut peer), Some(Reason::ReceiveMaximumExceeded));
    let (mut peer, _) = online(broker, settings, connect(Version::V311, "c"));
    peer.packets(broker, [qos1("a", 1), qos1("a", 2)]);
    assert!(!peer.session.takes_packets());
    peer.answer_all(broker);
    assert!(peer.session.takes_packets());
}

#[test]
fn bytes_that_wait_to_be_durable_are_bounded() {
    let settings = Settings { inbound_bytes: 1000, ..Settings::default() };
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, settings, connect(Version::V5, "c"));
    let mut taken = 0;
    while peer.session.takes_packets() {
        peer.packet(broker, Packet::Publish(publish("a", Qos::AtMostOnce, 0)));
        taken += 1;
        assert!(taken < 100);
    }
    assert!(peer.pending.iter().all(|(ticket, _)| matches!(ticket, Ticket::Publish(_))));
    peer.tick(broker, Duration::from_hours(1));
    assert!(!peer.closed, "a client that is not read is not silent");
    peer.answer_all(broker);
    assert!(peer.session.takes_packets());
}

#[test]
fn ids_of_qos_2_that_nobody_knows_are_answered_as_such() {
    let pid = PacketId::new(9).unwrap();
    for (version, reason) in [(Version::V5, Reason::PacketIdentifierNotFound), (Version::V311, Reason::Success)] {
        let broker = &mut Broker::new(1);
        let mut peer = client(broker, version);
        peer.packets(broker, [Packet::PubRel(Ack::success(pid)), Packet::PubRec(Ack::success(pid))]);
        peer.packets(broker, [Packet::PubComp(Ack::success(pid)), Packet::PubAck(Ack::success(pid))]);
        let ack = Ack::new(pid, reason);
        assert_eq!(peer.take_packets(), [Packet::PubComp(ack.clone()), Packet::PubRel(ack)]);
        assert!(!peer.closed);
    }
}
