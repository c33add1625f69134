//! What a connection may not do, and what it costs when it tries.

use std::time::Duration;

use causeway_mqtt::Settings;
use causeway_mqtt::codec::{Connect, Packet, PacketId, Properties, Publish, Qos, Reason, Version, Will};
use tokio::time::Instant;

use crate::broker::Gateway;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_never_reads_costs_bounded_memory_and_holds_nobody_up() {
    let settings = Settings { mailbox: 64, outbound_bytes: 16 << 10, ..Settings::default() };
    let gateway = Gateway::with(settings).await;
    let mut slow = gateway.dial(1024);
    slow.connect(Connect::new(Version::V5, "slow")).await;
    slow.subscribe("#", Qos::AtMostOnce).await;
    let mut quick = gateway.clean("quick").await;
    quick.subscribe("#", Qos::AtLeastOnce).await;
    let mut publisher = gateway.clean("pub").await;
    for number in 0..2000_u32 {
        publisher.publish("a", &[number.to_be_bytes().as_slice(), &[0; 500]].concat()).await;
        let message = quick.message().await;
        assert_eq!(message.payload[..4], number.to_be_bytes());
        quick.acknowledge(&message).await;
    }
    assert!(gateway.counted("causeway_notify_overflows_total") > 0.0, "its mailbox forgot");
    let sent = gateway.counted("causeway_mqtt_sent_bytes_total");
    assert!(sent < 2000.0 * 520.0 * 1.1 + 100_000.0, "{sent}: little was written for it");
    for number in 0..2000_u32 {
        let message = slow.message().await;
        assert_eq!(message.payload[..4], number.to_be_bytes(), "once it reads it gets all of it");
    }
    assert!(gateway.counted("causeway_mqtt_lanes_lagged_total") > 0.0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_mqtt_are_answered_with_the_end_of_the_connection() {
    let gateway = Gateway::start().await;
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0; 64], &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]] {
        let mut client = gateway.dial(4096);
        client.raw(bytes).await;
        assert!(client.next().await.is_none());
    }
    let mut client = gateway.clean("c").await;
    client.raw(&[0x36, 0x05, 0, 1, b'a', 0, 1]).await;
    assert_eq!(client.goodbye().await, Some(Reason::MalformedPacket));
    let mut client = gateway.connect(Connect::new(Version::V311, "d")).await;
    client.raw(&[0x36, 0x05, 0, 1, b'a', 0, 1]).await;
    assert_eq!(client.goodbye().await, None);
    assert!(gateway.counted("causeway_mqtt_malformed_packets_total") >= 4.0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_over_the_limit_is_refused_by_its_header_and_the_rest_is_not_read() {
    let gateway = Gateway::with(Settings { packet_bytes: 1024, ..Settings::default() }).await;
    let mut client = gateway.clean("c").await;
    // 256 MiB are announced; a few bytes come.
    client.raw(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'a']).await;
    assert_eq!(client.goodbye().await, Some(Reason::PacketTooLarge));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn features_to_come_are_refused_and_the_connection_can_be_made_without_them() {
    let gateway = Gateway::start().await;
    let will = Will {
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t".into(),
        payload: "p".into(),
        properties: Properties::EMPTY,
    };
    for (version, expected) in
        [(Version::V311, Reason::ServerUnavailable), (Version::V5, Reason::ImplementationSpecificError)]
    {
        let mut client = gateway.dial(4096);
        let connect = Connect { will: Some(will.clone()), ..Connect::new(version, "c") };
        assert_eq!(client.try_connect(connect).await.reason, expected);
        assert!(client.next().await.is_none());
    }
    let publish = |qos, retain| Publish {
        dup: false,
        qos,
        retain,
        topic: "t".into(),
        pid: (qos != Qos::AtMostOnce).then_some(PacketId::MIN),
        properties: Properties::EMPTY,
        payload: "p".into(),
    };
    for (packet, expected) in [
        (publish(Qos::ExactlyOnce, false), Reason::QosNotSupported),
        (publish(Qos::AtMostOnce, true), Reason::RetainNotSupported),
    ] {
        let mut client = gateway.clean("c").await;
        client.send(Packet::Publish(packet)).await;
        assert_eq!(client.goodbye().await, Some(expected));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn time_ends_connections_that_say_nothing() {
    let gateway = Gateway::start().await;
    let mut silent = gateway.dial(4096);
    let mut client = gateway.connect(Connect { keep_alive: 60, ..Connect::new(Version::V5, "c") }).await;
    tokio::time::pause();
    let start = Instant::now();
    assert!(silent.next().await.is_none());
    // In smaller steps than a test's patience.
    for _ in 0..4 {
        tokio::time::advance(Duration::from_secs(19)).await;
    }
    assert_eq!(client.goodbye().await, Some(Reason::KeepAliveTimeout));
    assert!(start.elapsed() > Duration::from_mins(1), "one interval is not enough");
    tokio::time::resume();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_does_not_read_its_acknowledgements_is_not_read_for_ever() {
    let settings = Settings { receive_maximum: 50, ..Settings::default() };
    let gateway = Gateway::with(settings).await;
    let mut publisher = gateway.dial(256);
    publisher.connect(Connect::new(Version::V311, "pub")).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(publisher.post("a", b"x").await);
    }
    for id in ids {
        match publisher.receive().await {
            Packet::PubAck(ack) => assert_eq!(ack.pid, id),
            other => panic!("{other:?}"),
        }
    }
    publisher.leave().await;
    gateway.stop().await;
}

#[tokio::test]
async fn who_writes_and_never_reads_is_not_read_at_last_and_is_not_silent_for_that() {
    let settings = Settings { outbound_bytes: 16 << 10, ..Settings::default() };
    let gateway = Gateway::with(settings).await;
    let mut client = gateway.dial(1024);
    client.connect(Connect { keep_alive: 60, ..Connect::new(Version::V5, "c") }).await;
    tokio::time::pause();
    // Hours in which its keep alive passes again and again.
    let poured = client.pour(&[0xC0, 0].repeat(2 << 20), Duration::from_hours(2)).await;
    assert!((16 << 10..256 << 10).contains(&poured), "{poured} bytes were taken");
    for _ in 0..poured / 2 {
        assert_eq!(client.receive().await, Packet::PingResp);
    }
    tokio::time::resume();
    gateway.stop().await;
}
