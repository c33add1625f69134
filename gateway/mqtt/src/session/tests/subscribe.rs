//! What a SUBSCRIBE leaves behind when a step of it fails, repeats itself, or is its last.

use std::time::Duration;

use causeway_compute::port::{Command, Rejected, Reply};
use causeway_model::{Kind, Message, Millis, Properties as Pairs, Publisher, Topic};

use super::broker::{Broker, namespace, qos};
use super::connect::{connect, online, persistent};
use super::peer::Peer;
use crate::Settings;
use crate::codec::{FilterOptions, Packet, PacketId, Properties, Reason, Subscribe, Version};
use crate::session::{Answer, Cause};

fn packet(filters: &[(&str, u8)]) -> Packet {
    let filters = filters.iter().map(|(filter, number)| (*filter, FilterOptions::at(qos(*number))));
    Packet::Subscribe(Subscribe::new(PacketId::new(9).unwrap(), Properties::EMPTY, filters).unwrap())
}

fn subscribe(peer: &mut Peer, broker: &mut Broker, filters: &[(&str, u8)]) -> Vec<Reason> {
    peer.packet(broker, packet(filters));
    peer.answer_all(broker);
    suback(peer)
}

fn suback(peer: &mut Peer) -> Vec<Reason> {
    match peer.take_packet() {
        Packet::SubAck(ack) => ack.reasons,
        other => panic!("{other:?}"),
    }
}

fn publish(broker: &mut Broker, topic: &str) {
    broker.publish(Message {
        namespace: namespace(),
        topic: Topic::new(topic.into()).unwrap(),
        qos: qos(1),
        retain: false,
        expiry: None,
        born: Millis(1_000_000),
        publisher: Publisher { client: causeway_model::ClientId("publisher".into()), session: None, pid: None },
        properties: Pairs::default(),
        body: "x".into(),
    });
}

/// Of what was proposed: each interest added (true) or removed.
fn interests(peer: &Peer) -> Vec<bool> {
    let interest = |command: &Command| match command {
        Command::Interest(interest) => Some(interest.add),
        _ => None,
    };
    peer.proposed.iter().filter_map(interest).collect()
}

#[test]
fn a_wildcard_and_its_interest_are_one_group_on_the_home_shard() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.packet(broker, packet(&[("a/+", 1), ("x", 1)]));
    peer.answer(broker, 0);
    let [(_, Ok(Answer::Replies(Ok(replies))))] = peer.pending.make_contiguous() else { panic!("one proposal") };
    assert!(matches!(replies[..], [Reply::Interest { .. }, Reply::Subscribed { .. }, Reply::Subscribed { .. }]));
}

#[test]
fn what_a_busy_broker_refused_is_not_removed_so_that_subscribing_again_brings_messages() {
    for kind in [Kind::Busy { retry_after: Duration::from_millis(5) }, Kind::DiskFull] {
        let broker = &mut Broker::new(2);
        let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
        broker.refuse = Some(kind);
        peer.proposed.clear();
        assert_eq!(subscribe(&mut peer, broker, &[("a/+", 1)]), [Reason::QuotaExceeded]);
        assert!(interests(&peer).iter().all(|add| *add), "nothing was added, so nothing is removed");
        broker.refuse = None;
        assert_eq!(subscribe(&mut peer, broker, &[("a/+", 1)]), [Reason::GrantedQos1]);
        publish(broker, "a/b");
        peer.catch_up(broker);
        assert_eq!(peer.take_deliveries().len(), 1);
    }
}

/// Replaces the replies of the one proposal that waits.
fn reply(peer: &mut Peer, replies: Result<Vec<Reply>, Kind>) {
    let shard = causeway_model::ShardId(0);
    let error = |kind| causeway_compute::port::Error { operation: "propose", shard, kind };
    let Some((_, answer)) = peer.pending.back_mut() else { panic!("nothing waits") };
    *answer = Ok(Answer::Replies(replies.map_err(error)));
}

#[test]
fn of_a_group_that_took_effect_in_part_the_rest_is_removed_once_and_before_suback() {
    let added = || Reply::Interest { position: causeway_model::Position(5000) };
    let subscribed = || Reply::Subscribed { existed: false, from: Vec::new() };
    let full = || Reply::Rejected(Rejected::Quota);
    for (replies, removed) in [
        (Ok(vec![full(), subscribed()]), &["unsubscribe"][..]),
        (Ok(vec![added(), full()]), &["interest"]),
        (Ok(vec![full(), full()]), &[]),
        (Err(Kind::Unknown), &["unsubscribe", "interest"]),
        (Err(Kind::TooLarge), &[]),
    ] {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
        peer.packet(broker, packet(&[("a/+", 1)]));
        peer.answer(broker, 0);
        peer.proposed.clear();
        reply(&mut peer, replies);
        peer.answer(broker, 0);
        assert!(suback(&mut peer)[0].is_failure());
        let name = |command: &Command| match command {
            Command::Unsubscribe { .. } => "unsubscribe",
            Command::Interest(interest) if !interest.add => "interest",
            other => panic!("{other:?}"),
        };
        assert_eq!(peer.proposed.iter().map(name).collect::<Vec<_>>(), removed);
        peer.answer_all(broker);
        assert_eq!(subscribe(&mut peer, broker, &[("a/+", 1)]), [Reason::GrantedQos1]);
        publish(broker, "a/b");
        peer.catch_up(broker);
        assert_eq!(peer.take_deliveries().len(), 1);
    }
}

#[test]
fn a_subscription_that_is_held_survives_a_group_of_unknown_outcome() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    assert_eq!(subscribe(&mut peer, broker, &[("a/+", 1)]), [Reason::GrantedQos1]);
    peer.proposed.clear();
    peer.packet(broker, packet(&[("a/+", 0)]));
    reply(&mut peer, Err(Kind::Unknown));
    peer.answer_all(broker);
    assert!(suback(&mut peer)[0].is_failure());
    assert_eq!(peer.proposed.len(), 1, "nothing is removed");
    publish(broker, "a/b");
    peer.catch_up(broker);
    assert_eq!(peer.take_deliveries().len(), 1);
}

#[test]
fn a_filter_that_comes_twice_in_a_packet_is_one_subscription_with_the_last_options() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings { filters: 1, ..Settings::default() }, persistent("c"));
    peer.proposed.clear();
    let reasons = subscribe(&mut peer, broker, &[("a/+", 0), ("b", 1), ("a/+", 1)]);
    assert_eq!(reasons, [Reason::Success, Reason::QuotaExceeded, Reason::GrantedQos1]);
    assert_eq!(peer.proposed.len(), 2, "one interest, one subscription");
    publish(broker, "a/b");
    peer.catch_up(broker);
    assert_eq!(peer.take_deliveries()[0].qos, qos(1));
}

#[test]
fn of_two_hundred_thousand_filters_in_one_packet_each_has_its_code_and_no_more_are_logged_than_may_be() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.proposed.clear();
    let names: Vec<_> = (0..200_000).map(|number| format!("{number}/+")).collect();
    let filters: Vec<_> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let reasons = subscribe(&mut peer, broker, &filters);
    assert_eq!(reasons.len(), 200_000);
    assert!(reasons[..1024].iter().all(|reason| *reason == Reason::GrantedQos1));
    assert!(reasons[1024..].iter().all(|reason| *reason == Reason::QuotaExceeded));
    assert_eq!(peer.proposed.len(), 2048);
    // One name again and again is no more work.
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "d"));
    let reasons = subscribe(&mut peer, broker, &vec![("a", 1); 200_000]);
    assert_eq!((reasons.len(), reasons[2047], reasons[2048]), (200_000, Reason::GrantedQos1, Reason::QuotaExceeded));
}

#[test]
fn requests_that_wait_are_bounded_in_bytes() {
    let broker = &mut Broker::new(1);
    let settings = Settings { inbound_bytes: 4096, ..Settings::default() };
    let (mut peer, _) = online(broker, settings, persistent("c"));
    let long = "x".repeat(3000);
    for expected in [true, true, false] {
        peer.packet(broker, packet(&[(&long, 1)]));
        assert_eq!(peer.session.takes_packets(), expected);
    }
    peer.answer_all(broker);
    assert!(peer.session.takes_packets());
    assert_eq!(peer.take_packets().len(), 3);
}

#[test]
fn what_another_shard_has_indexed_is_removed_there_when_the_home_shard_refuses() {
    let broker = &mut Broker::new(2);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.packet(broker, packet(&[("a/+", 1)]));
    peer.answer(broker, 0);
    broker.refuse = Some(Kind::DiskFull);
    peer.proposed.clear();
    peer.answer(broker, 0);
    peer.answer(broker, 0);
    assert_eq!(suback(&mut peer), [Reason::QuotaExceeded]);
    assert_eq!(interests(&peer), [true, false], "asked for at home, removed elsewhere");
}

#[test]
fn a_connection_that_ends_takes_back_what_is_not_being_logged_and_nothing_else() {
    let broker = &mut Broker::new(2);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    peer.packet(broker, packet(&[("a/+", 1)]));
    peer.answer(broker, 0);
    peer.answer(broker, 0);
    peer.end(broker, Cause::Lost);
    assert_eq!(interests(&peer), [true, true], "the group may be applied yet, and a resume needs both");
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "d"));
    peer.packet(broker, packet(&[("a/+", 1), ("b/+", 1)]));
    peer.answer(broker, 0);
    peer.answer(broker, 0);
    peer.end(broker, Cause::Lost);
    assert_eq!(peer.released, ["a/+"], "the other one was not acquired yet");
}
