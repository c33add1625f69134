//! Connections that end at a bad moment, or while the broker is busy.

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::Command;
use causeway_mqtt::codec::{
    Connect, FilterOptions, Holder, Packet, PacketId, Properties, Property, Qos, Reason, Subscribe, Unsubscribe,
    Version,
};
use tokio::sync::Notify;

use crate::broker::Gateway;
use crate::client::Client;
use crate::gate::Verdict;

fn persistent(name: &str) -> Connect {
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(600)]).unwrap();
    Connect { clean_start: false, properties, ..Connect::new(Version::V5, name.to_owned()) }
}

fn subscribes(commands: &[Command]) -> bool {
    commands.iter().any(|command| matches!(command, Command::Interest(_) | Command::Subscribe(_)))
}

async fn ask(client: &mut Client, filters: &[&str]) {
    let filters = filters.iter().map(|filter| (*filter, FilterOptions::at(Qos::AtLeastOnce)));
    let packet = Subscribe::new(PacketId::MIN, Properties::EMPTY, filters).unwrap();
    client.send(Packet::Subscribe(packet)).await;
}

/// Asks, and waits until the proposal numbered `step` is ordered (its answer never comes) or SUBACK is there.
async fn ask_upto(gateway: &Gateway, client: &mut Client, step: u32) {
    let reached = Arc::new(Notify::new());
    let (mut count, notify) = (0, Arc::clone(&reached));
    gateway.gate.judge(move |commands| {
        count += u32::from(subscribes(commands));
        if !subscribes(commands) || count != step {
            return Verdict::Pass;
        }
        notify.notify_one();
        Verdict::Mute
    });
    ask(client, &["a/+", "b/#", "x"]).await;
    if step > 0 {
        tokio::select! {
            () = reached.notified() => {}
            packet = client.receive() => assert!(matches!(packet, Packet::SubAck(_)), "{packet:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_a_connection_ends_within_subscribe_nothing_is_left_once_its_session_has_expired() {
    let gateway = Gateway::start().await;
    let mut left = Vec::new();
    for step in 0..=2 {
        for taken_over in [false, true] {
            let mut client = gateway.connect(persistent("dash")).await;
            ask_upto(&gateway, &mut client, step).await;
            if taken_over {
                let successor = gateway.connect(persistent("dash")).await;
                successor.leave().await;
            }
            drop(client);
            while !gateway.context.registry.is_empty() {
                tokio::task::yield_now().await;
            }
            gateway.settled().await;
            left.push(gateway.interest());
            gateway.later(Duration::from_secs(601)).await;
            assert_eq!(gateway.interest(), 0, "step {step}, taken over: {taken_over}");
        }
    }
    assert!(left.contains(&2), "some ended after their wildcards were indexed: {left:?}");
    gateway.gate.judge(|_| Verdict::Pass);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_subscribes_again_after_a_refusal_gets_what_is_published() {
    let gateway = Gateway::start().await;
    let mut client = gateway.connect(persistent("dash")).await;
    let mut refusals = 3;
    // Whatever would undo the refused subscription is refused, too, and must not come later.
    gateway.gate.judge(move |commands| {
        if refusals == 0 || !subscribes(commands) {
            return Verdict::Pass;
        }
        refusals -= 1;
        Verdict::Busy
    });
    let filters = [("a/+", FilterOptions::at(Qos::AtLeastOnce))];
    while client.try_subscribe(Properties::EMPTY, &filters).await == [Reason::QuotaExceeded] {}
    assert_eq!(gateway.interest(), 1);
    let mut publisher = gateway.clean("pub").await;
    publisher.publish("a/b", b"1").await;
    assert_eq!(&*client.message().await.payload, b"1");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_waits_for_last_words_that_a_busy_broker_refused_at_first() {
    let gateway = Gateway::start().await;
    let mut first = gateway.connect(persistent("dash")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    let mut publisher = gateway.clean("pub").await;
    publisher.publish("a", b"1").await;
    publisher.publish("a", b"2").await;
    let one = first.message().await;
    let two = first.message().await;
    first.acknowledge(&one).await;
    first.send(Packet::PingReq).await;
    assert_eq!(first.receive().await, Packet::PingResp);
    // The next attempt is ordered before the newcomer is let in, however slow the machine is.
    let mut refusals = 1;
    gateway.gate.judge(move |commands| {
        if refusals == 0 || !commands.iter().any(|command| matches!(command, Command::SessionClose { .. })) {
            return Verdict::Pass;
        }
        refusals -= 1;
        Verdict::Busy
    });
    let mut second = gateway.connect(persistent("dash")).await;
    assert_eq!(first.goodbye().await, Some(Reason::SessionTakenOver));
    let again = second.message().await;
    assert_eq!((&*again.payload, again.dup, again.pid), (&b"2"[..], true, two.pid), "ids and acks are kept");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_does_not_wait_for_ever() {
    let gateway = Gateway::start().await;
    let first = gateway.connect(persistent("dash")).await;
    let mut opens = 0;
    // Closes are refused until the newcomer has opened the session.
    gateway.gate.judge(move |commands| {
        opens += u32::from(commands.iter().any(|command| matches!(command, Command::SessionOpen(_))));
        let closes = commands.iter().any(|command| matches!(command, Command::SessionClose { .. }));
        if closes && opens == 0 { Verdict::Busy } else { Verdict::Pass }
    });
    let second = gateway.connect(persistent("dash")).await;
    drop(first);
    second.leave().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_unsubscribes_and_subscribes_again_in_one_breath_is_subscribed() {
    let gateway = Gateway::start().await;
    let mut publisher = gateway.clean("pub").await;
    for connect in [Connect::new(Version::V311, "clean".to_owned()), persistent("kept")] {
        let version = connect.version;
        let mut client = gateway.connect(connect).await;
        for (round, filter) in ["a/b", "a/+", "#"].into_iter().enumerate() {
            client.subscribe(filter, Qos::AtLeastOnce).await;
            let filters = [(filter, FilterOptions::at(Qos::AtLeastOnce))];
            let unsubscribe = Unsubscribe::new(PacketId::MIN, Properties::EMPTY, [filter]).unwrap();
            let subscribe = Subscribe::new(PacketId::MAX, Properties::EMPTY, filters).unwrap();
            let mut bytes = bytes::BytesMut::new();
            Packet::Unsubscribe(unsubscribe).encode(version, &mut bytes).unwrap();
            Packet::Subscribe(subscribe).encode(version, &mut bytes).unwrap();
            client.raw(&bytes).await;
            assert!(matches!(client.receive().await, Packet::UnsubAck(_)));
            assert!(matches!(client.receive().await, Packet::SubAck(_)));
            let body = round.to_string();
            publisher.publish("a/b", body.as_bytes()).await;
            let message = client.message().await;
            assert_eq!(&*message.payload, body.as_bytes(), "{filter}");
            client.acknowledge(&message).await;
            client.unsubscribe(filter).await;
        }
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_while_its_connect_waits_is_noticed_and_its_opening_abandoned() {
    let gateway = Gateway::start().await;
    let (opens, abandons) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (opened, abandoned) = (Arc::clone(&opens), Arc::clone(&abandons));
    gateway.gate.judge(move |commands| match commands {
        [Command::SessionOpen(_)] => {
            opened.notify_one();
            Verdict::Mute
        }
        [Command::SessionAbandon { .. }] => {
            abandoned.notify_one();
            Verdict::Pass
        }
        _ => Verdict::Pass,
    });
    // What it sends behind its CONNECT hides nothing.
    for early in [false, true] {
        let mut client = gateway.dial(4096);
        client.send(Packet::Connect(Box::new(persistent("dash")))).await;
        if early {
            client.send(Packet::PingReq).await;
        }
        opens.notified().await;
        drop(client);
        tokio::time::timeout(Duration::from_secs(30), abandons.notified()).await.expect("it is noticed");
    }
    gateway.stop().await;
}
