//! SUBSCRIBE, and deliveries of what it asks for.

use std::time::Duration;

use causeway_compute::port::Command;
use causeway_model::{ClientId, Kind, Message, Millis, Properties as Block, Publisher, Qos, RetainHandling, Topic};

use super::broker::{Broker, namespace};
use super::connect::{connect, online, persistent};
use super::peer::Peer;
use super::publish::publish;
use crate::Settings;
use crate::codec::{
    Ack, Connect, FilterOptions, Holder, Packet, PacketId, Properties, Property, Reason, Subscribe, Unsubscribe,
    Version,
};
use crate::session::{Cause, Delivery};

pub(super) fn message(topic: &str, qos: u8) -> Message {
    Message {
        namespace: namespace(),
        topic: Topic::new(topic.to_owned().into()).unwrap(),
        qos: super::broker::qos(qos),
        retain: false,
        expiry: None,
        born: Millis(1_000_000),
        publisher: Publisher { client: ClientId("somebody".into()), session: None, pid: None },
        properties: Block::default(),
        body: "body".into(),
    }
}

pub(super) fn at(qos: u8) -> FilterOptions {
    FilterOptions::at(super::broker::qos(qos))
}

/// Subscribes and gives SUBACK's reasons.
pub(super) fn subscribe(
    peer: &mut Peer,
    broker: &mut Broker,
    id: Option<u32>,
    filters: &[(&str, FilterOptions)],
) -> Vec<Reason> {
    let properties = Properties::new(Holder::Subscribe, id.map(Property::SubscriptionIdentifier)).unwrap();
    let packet = Subscribe::new(PacketId::new(5).unwrap(), properties, filters.iter().copied()).unwrap();
    peer.packet(broker, Packet::Subscribe(packet));
    peer.answer_all(broker);
    let Packet::SubAck(ack) = peer.take_packet() else { panic!("no SUBACK") };
    ack.reasons
}

pub(super) fn deliveries(peer: &mut Peer, broker: &mut Broker) -> Vec<Delivery> {
    peer.catch_up(broker);
    peer.take_deliveries()
}

pub(super) fn topics(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.topic.as_str()).collect()
}

fn puback(peer: &mut Peer, broker: &mut Broker, pid: PacketId) {
    peer.packet(broker, Packet::PubAck(Ack::success(pid)));
}

#[test]
fn overlapping_subscriptions_deliver_once_with_all_identifiers_at_the_highest_qos() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    subscribe(&mut peer, broker, Some(1), &[("a/b", at(0))]);
    subscribe(&mut peer, broker, Some(200), &[("a/+", at(1))]);
    subscribe(&mut peer, broker, Some(3), &[("#", at(0))]);
    broker.publish(message("a/b", 1));
    broker.publish(message("a/c", 0));
    broker.publish(message("x", 1));
    let got = deliveries(&mut peer, broker);
    assert_eq!(topics(&got), ["a/b", "a/c", "x"]);
    let ids: Vec<Vec<u32>> = got
        .iter()
        .map(|delivery| {
            let mut ids = delivery.ids.to_vec();
            ids.sort_unstable();
            ids
        })
        .collect();
    assert_eq!(ids, [vec![1, 3, 200], vec![3, 200], vec![3]]);
    let qos: Vec<u8> = got.iter().map(|delivery| delivery.qos.number()).collect();
    assert_eq!(qos, [1, 0, 0]);
}

#[test]
fn suback_grants_at_most_qos_1_and_refuses_what_is_not_built_filter_by_filter() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings { filters: 3, ..Settings::default() }, connect(Version::V5, "c"));
    let deep = "+/".repeat(16);
    let filters =
        [("a", at(0)), ("a/+", at(2)), ("$share/g/a", at(1)), (deep.as_str(), at(1)), ("b", at(1)), ("c", at(1))];
    let expected = [
        Reason::Success,
        Reason::GrantedQos1,
        Reason::SharedSubscriptionsNotSupported,
        Reason::QuotaExceeded,
        Reason::GrantedQos1,
        Reason::QuotaExceeded,
    ];
    assert_eq!(subscribe(&mut peer, broker, None, &filters), expected);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V311, "d"));
    let reasons = subscribe(&mut peer, broker, None, &[("$share/g/a", at(1)), ("a", at(2))]);
    assert_eq!(reasons, [Reason::UnspecifiedError, Reason::GrantedQos1]);
}

#[test]
fn what_was_published_before_suback_is_not_promised_and_what_comes_after_it_is() {
    for first in ["a/b", "a/+", "#"] {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
        broker.publish(message("a/b", 1));
        subscribe(&mut peer, broker, None, &[(first, at(1))]);
        assert_eq!(deliveries(&mut peer, broker), [], "{first}");
        broker.publish(message("a/b", 1));
        assert_eq!(deliveries(&mut peer, broker).len(), 1, "{first}");
    }
}

#[test]
fn interest_and_subscription_of_a_persistent_session_are_logged_and_of_a_volatile_one_acquired() {
    let broker = &mut Broker::new(2);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.proposed.clear();
    subscribe(&mut peer, broker, None, &[("a/+", at(1)), ("x", at(1)), ("#", at(1))]);
    let interest = peer.proposed.iter().filter(|command| matches!(command, Command::Interest(_))).count();
    let logged = peer.proposed.iter().filter(|command| matches!(command, Command::Subscribe(_))).count();
    assert_eq!((interest, logged), (2, 3), "one interest a shard: neither `x` nor `#` needs any");
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "d"));
    peer.proposed.clear();
    subscribe(&mut peer, broker, None, &[("a/+", at(1)), ("x", at(1)), ("#", at(1))]);
    assert_eq!(peer.proposed, [], "the gateway's interest is shared");
    let packet = Unsubscribe::new(PacketId::new(6).unwrap(), Properties::EMPTY, ["a/+", "x", "nothing"]).unwrap();
    peer.packet(broker, Packet::Unsubscribe(packet));
    let Packet::UnsubAck(ack) = peer.take_packet() else { panic!("no UNSUBACK") };
    assert_eq!(ack.reasons, [Reason::Success, Reason::Success, Reason::NoSubscriptionExisted]);
    assert_eq!(peer.released, ["a/+"]);
    broker.publish(message("a/b", 1));
    assert_eq!(deliveries(&mut peer, broker).len(), 1, "`#` is left");
}

#[test]
fn a_subscription_that_fails_is_taken_back() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    broker.refuse = Some(Kind::DiskFull);
    let reasons = subscribe(&mut peer, broker, None, &[("a/+", at(1)), ("x", at(1))]);
    assert_eq!(reasons, [Reason::QuotaExceeded, Reason::QuotaExceeded]);
    broker.refuse = None;
    broker.publish(message("x", 1));
    assert_eq!(deliveries(&mut peer, broker), []);
    assert_eq!(subscribe(&mut peer, broker, None, &[("a/+", at(1))]), [Reason::GrantedQos1]);
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    let no_local = FilterOptions { no_local: true, ..at(1) };
    subscribe(&mut peer, broker, Some(1), &[("a/+", no_local)]);
    subscribe(&mut peer, broker, Some(2), &[("a/b", at(0))]);
    for topic in ["a/b", "a/c"] {
        peer.packet(broker, Packet::Publish(publish(topic, Qos::AtLeastOnce, 1)));
    }
    broker.publish(message("a/c", 1));
    let got = deliveries(&mut peer, broker);
    let got: Vec<_> = got.iter().map(|d| (d.message.topic.as_str(), d.ids.to_vec(), d.qos.number())).collect();
    assert_eq!(got, [("a/b", vec![2], 0), ("a/c", vec![1], 1)]);
}

#[test]
fn retain_is_kept_for_who_asked_for_it() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    let keep = FilterOptions { retain_as_published: true, retain_handling: RetainHandling::Skip, ..at(1) };
    subscribe(&mut peer, broker, None, &[("a/b", keep), ("a/c", at(1))]);
    broker.publish(Message { retain: true, ..message("a/b", 1) });
    broker.publish(Message { retain: true, ..message("a/c", 1) });
    broker.publish(message("a/b", 1));
    let retain: Vec<_> = deliveries(&mut peer, broker).iter().map(|delivery| delivery.retain).collect();
    assert_eq!(retain, [true, false, false]);
}

#[test]
fn what_expired_is_skipped_and_what_is_left_of_the_expiry_is_told() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    for seconds in [10, 60] {
        broker.publish(Message { expiry: Some(Duration::from_secs(seconds)), ..message("a", 1) });
    }
    peer.tick(broker, Duration::from_millis(10_500));
    let left: Vec<_> = deliveries(&mut peer, broker).iter().map(|delivery| delivery.expiry).collect();
    assert_eq!(left, [Some(50)]);
}

#[test]
fn the_window_is_the_clients_and_qos_0_does_not_overtake() {
    let broker = &mut Broker::new(1);
    let properties = Properties::new(Holder::Connect, [Property::ReceiveMaximum(2)]).unwrap();
    let packet = Connect { properties, ..connect(Version::V5, "c") };
    let (mut peer, _) = online(broker, Settings::default(), packet);
    subscribe(&mut peer, broker, None, &[("#", at(1))]);
    for (topic, qos) in [("1", 1), ("2", 0), ("3", 1), ("4", 1), ("5", 0)] {
        broker.publish(message(topic, qos));
    }
    let got = deliveries(&mut peer, broker);
    assert_eq!(topics(&got), ["1", "2", "3"]);
    puback(&mut peer, broker, got[2].pid.unwrap());
    let got = deliveries(&mut peer, broker);
    assert_eq!(topics(&got), ["4", "5"]);
}

#[test]
fn a_packet_over_the_clients_maximum_is_not_sent_and_counts_as_finished() {
    let broker = &mut Broker::new(1);
    let properties = Properties::new(Holder::Connect, [Property::MaximumPacketSize(20)]).unwrap();
    let packet = Connect { properties, ..connect(Version::V5, "c") };
    let (mut peer, _) = online(broker, Settings::default(), packet);
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    // Fixed header 2, topic 3, packet id 2, properties 1: 12 bytes of payload fit.
    broker.publish(Message { body: vec![0; 13].into(), ..message("a", 1) });
    broker.publish(Message { body: vec![0; 12].into(), ..message("a", 1) });
    let got = deliveries(&mut peer, broker);
    assert_eq!(got.iter().map(|delivery| delivery.message.body.len()).collect::<Vec<_>>(), [12]);
}

#[test]
fn a_socket_without_room_is_given_nothing_and_hints_are_left_where_they_are() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
    subscribe(&mut peer, broker, None, &[("a", at(0))]);
    peer.room = 0;
    for _ in 0..600 {
        broker.publish(message("a", 0));
    }
    peer.mail.capacity = 300;
    peer.mail.dispatch(broker, causeway_model::ShardId(0), 290, false);
    peer.take_hints(broker);
    assert!(peer.pending.is_empty(), "nothing is fetched");
    assert!(!peer.session.takes_hints(), "it has enough to do");
    peer.mail.dispatch(broker, causeway_model::ShardId(0), 1000, false);
    assert!(!peer.mail.lagging.is_empty(), "the mailbox forgot");
    peer.room = 1 << 20;
    peer.pump(broker);
    peer.answer_all(broker);
    let mut got = peer.take_deliveries();
    got.extend(deliveries(&mut peer, broker));
    assert_eq!(got.len(), 600, "and it reads what was forgotten");
}

#[test]
fn a_resume_sends_in_flight_again_with_its_ids_then_what_came_meanwhile_but_no_qos_0() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    subscribe(&mut peer, broker, Some(4), &[("a/+", at(1))]);
    for number in 0..4 {
        broker.publish(message(&format!("a/{number}"), 1));
    }
    let first = deliveries(&mut peer, broker);
    let pids: Vec<_> = first.iter().map(|delivery| delivery.pid.unwrap()).collect();
    puback(&mut peer, broker, pids[0]);
    puback(&mut peer, broker, pids[2]);
    peer.end(broker, Cause::Lost);
    broker.publish(message("a/away", 1));
    broker.publish(message("a/away0", 0));
    let (mut peer, present) = online(broker, Settings::default(), persistent("c"));
    assert!(present);
    broker.publish(message("a/live0", 0));
    let got = deliveries(&mut peer, broker);
    assert_eq!(topics(&got), ["a/1", "a/3", "a/away", "a/live0"]);
    assert_eq!(got.iter().map(|delivery| delivery.dup).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!([got[0].pid, got[1].pid], [Some(pids[1]), Some(pids[3])]);
    assert!(got[2].pid.is_some_and(|pid| !pids[1..].contains(&pid)) && got.iter().all(|d| d.ids.as_slice() == [4]));
}

#[test]
fn a_clean_start_forgets_subscriptions() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    peer.end(broker, Cause::Lost);
    let (mut peer, present) = online(broker, Settings::default(), Connect { clean_start: true, ..persistent("c") });
    assert!(!present);
    broker.publish(message("a", 1));
    assert_eq!(deliveries(&mut peer, broker), []);
}

#[test]
fn cursors_are_handed_over_lazily_and_all_of_it_at_the_end() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    for _ in 0..3 {
        broker.publish(message("a", 1));
    }
    let got = deliveries(&mut peer, broker);
    puback(&mut peer, broker, got[0].pid.unwrap());
    puback(&mut peer, broker, got[2].pid.unwrap());
    assert_eq!(peer.progress, []);
    peer.tick(broker, Duration::from_millis(500));
    let (_, progress) = &peer.progress[0];
    let stamps: Vec<u64> = broker.logs[0].entries.iter().map(|logged| logged.stamp.0).collect();
    let cursor = progress.cursor.unwrap().0;
    assert!(cursor >= stamps[0] && cursor < stamps[1] && progress.flights.is_empty());
    peer.end(broker, Cause::Lost);
    let last = peer.proposed.iter().rev().find_map(|command| match command {
        Command::Progress(lanes) => Some(lanes[0].clone()),
        _ => None,
    });
    let rows = last.unwrap().flights;
    assert_eq!(
        rows.iter().map(|row| (row.stamp.0, row.pid)).collect::<Vec<_>>(),
        [(stamps[1], got[1].pid), (stamps[2], got[2].pid)]
    );
}

#[test]
fn a_client_that_leaves_one_out_for_ever_holds_bounded_memory() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings { in_flight: 4, ..Settings::default() }, persistent("c"));
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    for _ in 0..100 {
        broker.publish(message("a", 1));
    }
    let mut sent = 0;
    let mut left_out = None;
    for _ in 0..100 {
        for delivery in deliveries(&mut peer, broker) {
            sent += 1;
            if left_out.is_none() {
                left_out = delivery.pid;
            } else {
                puback(&mut peer, broker, delivery.pid.unwrap());
            }
        }
    }
    assert!((16..=20).contains(&sent), "{sent}: four windows, then it waits");
    puback(&mut peer, broker, left_out.unwrap());
    assert!(!deliveries(&mut peer, broker).is_empty());
}

#[test]
fn a_message_that_the_log_no_longer_has_is_skipped() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    subscribe(&mut peer, broker, None, &[("a", at(1))]);
    broker.publish(message("a", 1));
    broker.publish(message("a", 1));
    peer.mail.dispatch(broker, causeway_model::ShardId(0), 10, false);
    broker.logs[0].entries.remove(0);
    let got = deliveries(&mut peer, broker);
    assert_eq!(got.len(), 1);
}
