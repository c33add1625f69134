//! However a stream is cut into reads, the same packets come out of it.

use bytes::BytesMut;
use causeway_mqtt::codec::{Decoder, Limits, Packet, Sender, Version};
use proptest::prelude::*;

use crate::sample;

/// A valid stream of one sender: from a client CONNECT first.
fn stream(version: Version, sender: Sender) -> impl Strategy<Value = Vec<Packet>> {
    let first = sample::packet(version, Sender::Client, causeway_mqtt::codec::PacketType::Connect).unwrap();
    let rest = proptest::collection::vec(sample::any_packet(version), 0..24);
    (first, rest).prop_map(move |(first, rest)| {
        let mut packets = Vec::new();
        if sender == Sender::Client {
            packets.push(first);
        }
        let later = rest.into_iter().filter(|(from, packet)| *from == sender && !matches!(packet, Packet::Connect(_)));
        packets.extend(later.map(|(_, packet)| packet));
        packets
    })
}

fn new_decoder(version: Version, sender: Sender) -> Decoder {
    let limits = Limits::packet(1 << 20);
    if sender == Sender::Client { Decoder::server(limits) } else { Decoder::client(version, limits) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_packets(
        (version, sender, packets, cuts) in (prop::sample::select(Version::ALL.to_vec()), any::<bool>())
            .prop_flat_map(|(version, client)| {
                let sender = if client { Sender::Client } else { Sender::Server };
                (Just(version), Just(sender), stream(version, sender), prop::collection::vec(1..700_usize, 1..20))
            })
    ) {
        let mut bytes = BytesMut::new();
        for packet in &packets {
            packet.encode(version, &mut bytes).unwrap();
        }
        let all = bytes.freeze();
        for sizes in [vec![1], vec![all.len().max(1)], cuts] {
            let mut decoder = new_decoder(version, sender);
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            let mut rest = all.clone();
            for size in sizes.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                buffer.extend_from_slice(&rest.split_to(size.min(rest.len())));
                while let Some(packet) = decoder.decode(&mut buffer).unwrap() {
                    found.push(packet);
                }
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(&found, &packets);
        }
    }
}

#[test]
fn decoding_shares_the_read_buffer_and_copies_nothing() {
    let publish = b"\x32\x0a\x00\x03a/b\x00\x07xyz";
    let mut buffer = BytesMut::from(&publish[..]);
    let range = buffer.as_ptr() as usize..buffer.as_ptr() as usize + publish.len();
    let mut decoder = sample::decoder(Version::V311, Sender::Client);
    let Some(Packet::Publish(publish)) = decoder.decode(&mut buffer).unwrap() else { panic!("a PUBLISH") };
    assert_eq!((&*publish.topic, &publish.payload[..]), ("a/b", &b"xyz"[..]));
    assert!(range.contains(&(publish.topic.as_ptr() as usize)));
    assert!(range.contains(&(publish.payload.as_ptr() as usize)));
}
