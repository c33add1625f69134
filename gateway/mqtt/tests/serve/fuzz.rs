//! Packets of all kinds, valid, mutated and cut, through codec and session. Nothing may panic, and whatever was done to
//! a connection the next one works. `FUZZ_PACKETS` sets how many, `FUZZ_SEED` which.

use bytes::BytesMut;
use causeway_mqtt::codec::{
    Ack, Auth, Connect, Disconnect, FilterOptions, Holder, Packet, PacketId, Properties, Property, Publish, Qos,
    Reason, Subscribe, Unsubscribe, Version,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::broker::Gateway;

fn knob(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_packets_end_connections_and_nothing_else() {
    let packets = knob("FUZZ_PACKETS").unwrap_or(20_000);
    let seed = knob("FUZZ_SEED").unwrap_or_else(rand::random);
    println!("FUZZ_SEED={seed}");
    let gateway = Gateway::start().await;
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = 0;
    while sent < packets {
        sent += connection(&gateway, &mut random).await;
    }
    let mut publisher = gateway.clean("after").await;
    publisher.subscribe("after", Qos::AtLeastOnce).await;
    publisher.post("after", b"still here").await;
    loop {
        match publisher.receive().await {
            Packet::Publish(message) if &*message.payload == b"still here" => break,
            Packet::PubAck(_) => {}
            other => panic!("{other:?}, FUZZ_SEED={seed}"),
        }
    }
    // A connection that panicked is counted by its task.
    assert!(gateway.counted("causeway_task_panics_total") < 1.0, "FUZZ_SEED={seed}");
    gateway.stop().await;
}

/// One connection's packets; returns how many.
async fn connection(gateway: &Gateway, random: &mut StdRng) -> u64 {
    let version = Version::ALL[random.random_range(0..3)];
    let mut bytes = BytesMut::new();
    let name = format!("fuzz-{}", random.random_range(0..20));
    let list = [Property::SessionExpiryInterval(random.random_range(0..3)), Property::ReceiveMaximum(3)];
    let properties = Properties::new(Holder::Connect, list).unwrap();
    let properties = if version.is_v5() { properties } else { Properties::EMPTY };
    let connect = Connect { clean_start: random.random(), properties, ..Connect::new(version, name) };
    Packet::Connect(Box::new(connect)).encode(version, &mut bytes).unwrap();
    let count = random.random_range(1..60);
    for _ in 0..count {
        let start = bytes.len();
        packet(random, version).encode(version, &mut bytes).unwrap();
        if random.random_bool(0.3) {
            mutate(random, &mut bytes, start);
        }
    }
    let mut client = gateway.dial(1 << 20);
    let cut = if random.random_bool(0.2) { random.random_range(0..=bytes.len()) } else { bytes.len() };
    client.raw(&bytes[..cut]).await;
    client.shut().await;
    while client.skim().await {}
    count
}

fn mutate(random: &mut StdRng, bytes: &mut BytesMut, start: usize) {
    let at = random.random_range(start..bytes.len());
    match random.random_range(0..4) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = random.random(),
        2 => bytes.truncate(at.max(start + 1)),
        _ => bytes.extend_from_slice(&[random.random(), random.random()]),
    }
}

fn packet(random: &mut StdRng, version: Version) -> Packet {
    let pid = PacketId::new(random.random_range(1..6)).unwrap();
    let filters = ["a", "a/+", "#", "+/b", "$share/g/a", "a/b/c"];
    let filter = filters[random.random_range(0..filters.len())];
    let qos = Qos::from_number(random.random_range(0..3)).unwrap();
    match random.random_range(0..14) {
        0..5 => Packet::Publish(publish(random, version, pid)),
        5..8 => {
            let subscribe = Subscribe::new(pid, Properties::EMPTY, [(filter, FilterOptions::at(qos))]);
            Packet::Subscribe(subscribe.unwrap())
        }
        8 => Packet::Unsubscribe(Unsubscribe::new(pid, Properties::EMPTY, [filter]).unwrap()),
        9 | 10 => Packet::PubAck(Ack::success(pid)),
        11 => Packet::PingReq,
        12 => match random.random_range(0..3) {
            0 => Packet::PubRec(Ack::success(pid)),
            1 => Packet::PubRel(Ack::success(pid)),
            _ => Packet::PubComp(Ack::success(pid)),
        },
        _ if version.is_v5() && random.random_bool(0.2) => {
            let method = Property::AuthenticationMethod("m".into());
            let properties = Properties::new(Holder::Auth, [method]).unwrap();
            Packet::Auth(Auth { reason: Reason::ReAuthenticate, properties })
        }
        _ if random.random_bool(0.1) => Packet::Disconnect(Disconnect::NORMAL),
        _ => Packet::PingReq,
    }
}

fn publish(random: &mut StdRng, version: Version, pid: PacketId) -> Publish {
    let topics = ["a", "a/b", "b/b", "a/b/c", "$x/b"];
    let qos =
        if random.random_bool(0.02) { Qos::ExactlyOnce } else { Qos::from_number(random.random_range(0..2)).unwrap() };
    let list = [Property::user("k", "v"), Property::MessageExpiryInterval(random.random_range(0..2))];
    let size = if random.random_bool(0.05) { 20_000 } else { random.random_range(0..300) };
    Publish {
        dup: false,
        qos,
        retain: random.random_bool(0.02),
        topic: topics[random.random_range(0..topics.len())].into(),
        pid: (qos != Qos::AtMostOnce).then_some(pid),
        properties: if version.is_v5() { Properties::new(Holder::Publish, list).unwrap() } else { Properties::EMPTY },
        payload: vec![7; size].into(),
    }
}
