//! Topics that are addressed to one client: who may subscribe, and who gets what.

use causeway_compute::port::Command;
use causeway_model::{Filter, Qos};

use super::broker::Broker;
use super::connect::{connect, online, persistent};
use super::deliver::{at, deliveries, message, subscribe, topics};
use super::peer::Peer;
use super::publish::publish;
use crate::Settings;
use crate::codec::{FilterOptions, Packet, PacketId, Properties, Reason, Unsubscribe, Version};
use crate::session::Cause;

/// Of what was proposed: the filters that were logged, as interest or subscription.
fn logged(peer: &Peer) -> Vec<&str> {
    let filters = peer.proposed.iter().filter_map(|command| match command {
        Command::Interest(interest) => Some(&interest.filter),
        Command::Subscribe(subscribe) => Some(&subscribe.filter),
        _ => None,
    });
    filters.map(Filter::as_str).collect()
}

#[test]
fn below_p2p_a_client_is_granted_its_own_topic_and_of_others_nothing_is_attached_or_logged() {
    let others = ["$p2p", "$p2p/", "$p2p/other", "$p2p/c/", "$p2p/+", "$p2p/#", "$p2p/c/#"].map(|name| (name, at(1)));
    for (packet, refused) in [
        (persistent("c"), Reason::NotAuthorized),
        (connect(Version::V5, "c"), Reason::NotAuthorized),
        (connect(Version::V311, "c"), Reason::UnspecifiedError),
    ] {
        let broker = &mut Broker::new(2);
        let (mut peer, _) = online(broker, Settings::default(), packet.clone());
        peer.proposed.clear();
        assert_eq!(subscribe(&mut peer, broker, None, &others), [refused; 7]);
        assert!(!peer.mail.is_attached() && peer.proposed.is_empty(), "{packet:?}");
        let mixed = [others[2], ("$p2p/c", at(1)), others[5]];
        assert_eq!(subscribe(&mut peer, broker, None, &mixed), [refused, Reason::GrantedQos1, refused]);
        assert!(logged(&peer).iter().all(|filter| *filter == "$p2p/c"), "{packet:?}");
        broker.publish(message("$p2p/other", 1));
        broker.publish(message("$p2p/c", 1));
        broker.publish(message("$p2p/c/d", 1));
        assert_eq!(topics(&deliveries(&mut peer, broker)), ["$p2p/c"], "{packet:?}");
    }
}

#[test]
fn an_identifier_that_looks_like_a_wildcard_opens_nothing_and_slashes_are_part_of_it() {
    for (client, expected) in [("+", Reason::NotAuthorized), ("#", Reason::NotAuthorized), ("a/b", Reason::GrantedQos1)]
    {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, client));
        let own = format!("$p2p/{client}");
        assert_eq!(subscribe(&mut peer, broker, None, &[(&own, at(1))]), [expected]);
    }
}

#[test]
fn a_client_without_an_identifier_is_addressed_by_the_one_it_was_given() {
    let broker = &mut Broker::new(1);
    let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, ""));
    let own = format!("$p2p/{}", peer.client().0);
    assert_eq!(subscribe(&mut peer, broker, None, &[(&own, at(1))]), [Reason::GrantedQos1]);
    broker.publish(message(&own, 1));
    assert_eq!(topics(&deliveries(&mut peer, broker)), [own]);
}

#[test]
fn what_is_addressed_to_a_client_comes_through_that_subscription_alone_and_only_if_there_is_one() {
    let broker = &mut Broker::new(1);
    let (mut phone, _) = online(broker, Settings::default(), connect(Version::V5, "phone"));
    let (mut other, _) = online(broker, Settings::default(), connect(Version::V5, "other"));
    for peer in [&mut phone, &mut other] {
        subscribe(peer, broker, Some(1), &[("#", at(1)), ("+/+", at(1)), ("+/phone", at(1))]);
    }
    broker.publish(message("$p2p/phone", 1));
    assert_eq!(deliveries(&mut phone, broker), [], "nobody has asked for it");
    subscribe(&mut phone, broker, Some(2), &[("$p2p/phone", at(0))]);
    broker.publish(message("$p2p/phone", 1));
    broker.publish(message("in/clear", 1));
    let got = deliveries(&mut phone, broker);
    let got: Vec<_> = got.iter().map(|d| (d.message.topic.as_str(), d.ids.to_vec(), d.qos.number())).collect();
    assert_eq!(got, [("$p2p/phone", vec![2], 0), ("in/clear", vec![1, 1], 1)]);
    assert_eq!(topics(&deliveries(&mut other, broker)), ["in/clear"]);
}

#[test]
fn a_client_that_is_away_gets_it_on_resume_until_it_unsubscribes() {
    let broker = &mut Broker::new(4);
    let (mut peer, _) = online(broker, Settings::default(), persistent("c"));
    subscribe(&mut peer, broker, None, &[("$p2p/c", at(1))]);
    peer.end(broker, Cause::Lost);
    broker.publish(message("$p2p/c", 1));
    let (mut peer, present) = online(broker, Settings::default(), persistent("c"));
    assert!(present);
    assert_eq!(topics(&deliveries(&mut peer, broker)), ["$p2p/c"]);
    let filters = ["$p2p/c", "$p2p/other"];
    let packet = Unsubscribe::new(PacketId::new(6).unwrap(), Properties::EMPTY, filters).unwrap();
    peer.packet(broker, Packet::Unsubscribe(packet));
    peer.answer_all(broker);
    let Packet::UnsubAck(ack) = peer.take_packet() else { panic!("no UNSUBACK") };
    assert_eq!(ack.reasons, [Reason::Success, Reason::NoSubscriptionExisted]);
    broker.publish(message("$p2p/c", 1));
    assert_eq!(deliveries(&mut peer, broker), []);
}

#[test]
fn no_local_holds_for_what_a_client_sends_to_itself() {
    for (no_local, expected) in [(true, 1), (false, 2)] {
        let broker = &mut Broker::new(1);
        let (mut peer, _) = online(broker, Settings::default(), connect(Version::V5, "c"));
        subscribe(&mut peer, broker, None, &[("$p2p/c", FilterOptions { no_local, ..at(1) })]);
        peer.packet(broker, Packet::Publish(publish("$p2p/c", Qos::AtLeastOnce, 1)));
        peer.answer_all(broker);
        assert_eq!(peer.take_acks(), [(1, Reason::Success)]);
        broker.publish(message("$p2p/c", 1));
        assert_eq!(deliveries(&mut peer, broker).len(), expected);
    }
}

#[test]
fn it_is_written_where_the_clients_session_lives() {
    let broker = &mut Broker::new(8);
    for number in 0..20 {
        let client = format!("client-{number}");
        let (peer, _) = online(broker, Settings::default(), persistent(&client));
        let (sid, _) = peer.session.opened_as().unwrap();
        let (shard, _) = broker.publish(message(&format!("$p2p/{client}"), 1));
        assert_eq!(shard, sid.home, "{client}");
    }
}
