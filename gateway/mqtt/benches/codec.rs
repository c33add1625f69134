//! What one packet costs, alone on one core: decoding (the split off the read buffer included), encoding, fan-out.
//!
//! `cargo bench -p causeway-mqtt --bench codec`

use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{
    Ack, Connect, Decoder, Holder, Limits, Packet, PacketId, Properties, Property, Publish, Qos, SharedPublish, Version,
};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

/// Packets in one read buffer: about what one socket read brings.
const BATCH: usize = 64;

fn main() {
    divan::main();
}

fn publish(version: Version, properties: &[Property]) -> Publish {
    Publish {
        dup: false,
        qos: Qos::AtLeastOnce,
        retain: false,
        topic: "plant/7/line/3/temperature".into(),
        pid: PacketId::new(7),
        properties: if version.is_v5() {
            Properties::new(Holder::Publish, properties.to_vec()).expect("valid properties")
        } else {
            Properties::EMPTY
        },
        payload: Bytes::from(vec![b'x'; 256]),
    }
}

fn described() -> Vec<Property> {
    vec![
        Property::MessageExpiryInterval(3_600),
        Property::ContentType("application/json".into()),
        Property::user("site", "north"),
    ]
}

fn encoded(version: Version, packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.encode(version, &mut bytes).expect("a valid packet");
    bytes
}

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::server(Limits::packet(1 << 20));
    let mut connect = encoded(version, &Packet::Connect(Box::new(Connect::new(version, "bench"))));
    decoder.decode(&mut connect).expect("a valid CONNECT");
    decoder
}

/// Decodes a buffer full of the packet.
fn decode(bencher: Bencher<'_, '_>, version: Version, packet: &Packet) {
    let decoder = decoder(version);
    let full = encoded(version, packet).repeat(BATCH);
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| (decoder.clone(), BytesMut::from(&full[..])))
        .bench_local_refs(|(decoder, buffer)| {
            while let Some(packet) = decoder.decode(buffer).expect("valid packets") {
                drop(black_box(packet));
            }
        });
}

#[divan::bench(args = [Version::V311, Version::V5])]
fn decode_publish_256_b(bencher: Bencher<'_, '_>, version: Version) {
    decode(bencher, version, &Packet::Publish(publish(version, &[])));
}

#[divan::bench]
fn decode_publish_256_b_with_properties(bencher: Bencher<'_, '_>) {
    decode(bencher, Version::V5, &Packet::Publish(publish(Version::V5, &described())));
}

#[divan::bench(args = [Version::V311, Version::V5])]
fn decode_puback(bencher: Bencher<'_, '_>, version: Version) {
    decode(bencher, version, &Packet::PubAck(Ack::success(PacketId::MIN)));
}

/// Encodes into a write buffer that is used again and again.
fn encode(bencher: Bencher<'_, '_>, version: Version, packet: &Packet) {
    let mut out = BytesMut::with_capacity(BATCH * 1_024);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        out.clear();
        for _ in 0..BATCH {
            black_box(packet).encode(version, &mut out).expect("a valid packet");
        }
        black_box(out.len())
    });
}

#[divan::bench(args = [Version::V311, Version::V5])]
fn encode_publish_256_b(bencher: Bencher<'_, '_>, version: Version) {
    encode(bencher, version, &Packet::Publish(publish(version, &described())));
}

#[divan::bench(args = [Version::V311, Version::V5])]
fn encode_puback(bencher: Bencher<'_, '_>, version: Version) {
    encode(bencher, version, &Packet::PubAck(Ack::success(PacketId::MIN)));
}

/// One subscriber's copy of a message that is encoded already.
#[divan::bench(args = [Version::V311, Version::V5])]
fn fan_out_parts(bencher: Bencher<'_, '_>, version: Version) {
    let shared = SharedPublish::new(version, &publish(version, &described())).expect("a valid packet");
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for pid in 1..=u16::try_from(BATCH).expect("small") {
            let parts = black_box(&shared).parts(PacketId::new(pid)).expect("QoS 1 has a packet id");
            black_box(parts.slices());
        }
    });
}

/// The same, appended to a write buffer.
#[divan::bench(args = [Version::V311, Version::V5])]
fn fan_out_put(bencher: Bencher<'_, '_>, version: Version) {
    let shared = SharedPublish::new(version, &publish(version, &described())).expect("a valid packet");
    let mut out = BytesMut::with_capacity(BATCH * 1_024);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        out.clear();
        for pid in 1..=u16::try_from(BATCH).expect("small") {
            black_box(&shared).parts(PacketId::new(pid)).expect("QoS 1 has a packet id").put(&mut out);
        }
        black_box(out.len())
    });
}
