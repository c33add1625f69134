//! Sessions over a socket: delivery, resume, takeover, restart.

use causeway_mqtt::codec::{ConnAck, Connect, Holder, Packet, Properties, Property, Qos, Reason, Version};

use crate::broker::Gateway;
use crate::client::Client;

fn persistent(name: &str) -> Connect {
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(600)]).unwrap();
    Connect { clean_start: false, properties, ..Connect::new(Version::V5, name.to_owned()) }
}

async fn resume(gateway: &Gateway, connect: Connect) -> (Client, ConnAck) {
    let mut client = gateway.dial(64 << 10);
    let ack = client.connect(connect).await;
    (client, ack)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_reaches_each_kind_of_subscription_in_each_version() {
    let gateway = Gateway::start().await;
    for version in Version::ALL {
        let name = format!("sub-{}", version.level());
        let mut subscriber = gateway.connect(Connect::new(version, name)).await;
        for filter in ["plant/7/temp", "plant/+/temp", "#"] {
            subscriber.subscribe(filter, Qos::AtLeastOnce).await;
        }
        let mut publisher = gateway.connect(Connect::new(version, "pub")).await;
        for number in 0..50_u8 {
            publisher.publish("plant/7/temp", &[number]).await;
        }
        for number in 0..50_u8 {
            let message = subscriber.message().await;
            assert_eq!((&*message.payload, message.dup, message.retain), (&[number][..], false, false));
            subscriber.acknowledge(&message).await;
        }
        publisher.leave().await;
        subscriber.leave().await;
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_any_size_arrive_whole_and_in_order_through_a_narrow_socket() {
    let gateway = Gateway::start().await;
    let mut subscriber = gateway.dial(1000);
    subscriber.connect(Connect::new(Version::V5, "sub")).await;
    subscriber.subscribe("big", Qos::AtLeastOnce).await;
    let sizes = [0, 1, 2047, 2048, 2049, 65_535, 70_000, 1 << 20, 3, 4 << 20, 5];
    let mut publisher = gateway.clean("pub").await;
    let publish = async {
        for size in sizes {
            publisher.publish("big", &payload(size)).await;
        }
    };
    let receive = async {
        for size in sizes {
            let message = subscriber.message().await;
            assert!(*message.payload == *payload(size), "{size}");
            subscriber.acknowledge(&message).await;
        }
    };
    tokio::join!(publish, receive);
    gateway.stop().await;
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_session_gets_in_flight_with_the_same_ids_then_what_it_missed_and_nothing_acknowledged() {
    let gateway = Gateway::start().await;
    let (mut subscriber, ack) = resume(&gateway, persistent("dash")).await;
    assert!(!ack.session_present);
    subscriber.subscribe("plant/+/temp", Qos::AtLeastOnce).await;
    subscriber.subscribe("exact", Qos::AtLeastOnce).await;
    let mut publisher = gateway.clean("pub").await;
    for number in 0..4_u8 {
        publisher.publish(&format!("plant/{number}/temp"), &[number]).await;
    }
    let mut first = Vec::new();
    for _ in 0..4 {
        first.push(subscriber.message().await);
    }
    subscriber.acknowledge(&first[0]).await;
    subscriber.acknowledge(&first[2]).await;
    // The answer to a ping comes after the acknowledgements were read.
    subscriber.send(Packet::PingReq).await;
    assert_eq!(subscriber.receive().await, Packet::PingResp);
    drop(subscriber);
    publisher.publish("exact", b"missed").await;
    let (mut subscriber, ack) = resume(&gateway, persistent("dash")).await;
    assert!(ack.session_present);
    publisher.publish("plant/x/temp", b"live").await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let message = subscriber.message().await;
        subscriber.acknowledge(&message).await;
        got.push(message);
    }
    let payloads: Vec<&[u8]> = got.iter().map(|message| &*message.payload).collect();
    assert_eq!(payloads, [&[1][..], &[3], b"missed", b"live"]);
    assert_eq!((got[0].dup, got[0].pid), (true, first[1].pid));
    assert_eq!((got[1].dup, got[1].pid), (true, first[3].pid));
    assert!(!got[2].dup && !got[3].dup);
    subscriber.leave().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_sessions_and_what_waits_for_them() {
    let gateway = Gateway::start().await;
    let v3 = || Connect { clean_start: false, ..Connect::new(Version::V311, "dash") };
    let (mut subscriber, _) = resume(&gateway, v3()).await;
    subscriber.subscribe("#", Qos::AtLeastOnce).await;
    subscriber.subscribe("a/+", Qos::AtLeastOnce).await;
    subscriber.leave().await;
    let mut publisher = gateway.clean("pub").await;
    for number in 0..100_u8 {
        publisher.publish("a/b", &[number]).await;
    }
    let gateway = gateway.restart().await;
    assert_eq!(publisher.goodbye().await, Some(Reason::ServerShuttingDown));
    let (mut subscriber, ack) = resume(&gateway, v3()).await;
    assert!(ack.session_present);
    for number in 0..100_u8 {
        let message = subscriber.message().await;
        assert_eq!(&*message.payload, [number]);
        subscriber.acknowledge(&message).await;
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_connection_takes_over_and_continues_where_the_first_was() {
    let gateway = Gateway::start().await;
    let (mut first, _) = resume(&gateway, persistent("dash")).await;
    first.subscribe("a", Qos::AtLeastOnce).await;
    let mut publisher = gateway.clean("pub").await;
    publisher.publish("a", b"1").await;
    publisher.publish("a", b"2").await;
    let one = first.message().await;
    first.acknowledge(&one).await;
    let two = first.message().await;
    first.send(Packet::PingReq).await;
    assert_eq!(first.receive().await, Packet::PingResp);
    let (mut second, ack) = resume(&gateway, persistent("dash")).await;
    assert!(ack.session_present);
    assert_eq!(first.goodbye().await, Some(Reason::SessionTakenOver));
    let again = second.message().await;
    assert_eq!((&*again.payload, again.dup, again.pid), (&b"2"[..], true, two.pid));
    second.acknowledge(&again).await;
    publisher.publish("a", b"3").await;
    assert_eq!(&*second.message().await.payload, b"3");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_takeovers_at_once_leave_one_connection() {
    let gateway = Gateway::start().await;
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = gateway.dial(4096);
        client.send(Packet::Connect(Box::new(persistent("dash")))).await;
        ends.spawn(async move { client.goodbye().await });
    }
    for _ in 0..19 {
        // Taken over, or before it was connected: refused.
        let end = ends.join_next().await.unwrap().unwrap();
        assert!(matches!(end, Some(Reason::SessionTakenOver) | None), "{end:?}");
    }
    let registry = std::sync::Arc::clone(&gateway.context.registry);
    assert_eq!(registry.len(), 1);
    while registry.page(None, 1).iter().any(|client| client.session.is_none()) {
        tokio::task::yield_now().await;
    }
    gateway.stop().await;
    let survivor = ends.join_next().await.unwrap().unwrap();
    assert_eq!(survivor, Some(Reason::ServerShuttingDown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsubscribed_filter_brings_nothing_more() {
    let gateway = Gateway::start().await;
    let (mut subscriber, _) = resume(&gateway, persistent("dash")).await;
    subscriber.subscribe("a/+", Qos::AtLeastOnce).await;
    subscriber.subscribe("b", Qos::AtLeastOnce).await;
    subscriber.unsubscribe("a/+").await;
    let mut publisher = gateway.clean("pub").await;
    publisher.publish("a/x", b"not this").await;
    publisher.publish("b", b"this").await;
    assert_eq!(&*subscriber.message().await.payload, b"this");
    drop(subscriber);
    publisher.publish("a/x", b"nor this").await;
    publisher.publish("b", b"and this").await;
    let (mut subscriber, _) = resume(&gateway, persistent("dash")).await;
    let again = subscriber.message().await;
    assert_eq!((&*again.payload, again.dup), (&b"this"[..], true));
    assert_eq!(&*subscriber.message().await.payload, b"and this");
    gateway.stop().await;
}
