//! Damaged packets by the hundred thousand: no panic, no more memory than the packet, and nothing accepted that cannot be
//! said again. `FUZZ_PACKETS` raises the number, `FUZZ_SEED` changes the seed.

use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{Decoder, Error, FixedHeader, Limits, Packet, Sender, Version};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::mutate::{self, Mutator};
use crate::sample;

/// Bytes that a packet holds on to.
fn weight(packet: &Packet) -> usize {
    match packet {
        Packet::Connect(connect) => {
            let will = connect.will.as_ref();
            let will = will.map_or(0, |w| w.topic.len() + w.payload.len() + w.properties.block().len());
            let names = connect.user_name.as_ref().map_or(0, |name| name.len());
            let names = names + connect.password.as_ref().map_or(0, Bytes::len);
            will + names + connect.client_id.len() + connect.properties.block().len()
        }
        Packet::Publish(publish) => publish.topic.len() + publish.payload.len() + publish.properties.block().len(),
        Packet::Subscribe(packet) => {
            packet.properties.block().len() + packet.filters().map(|(filter, _)| filter.len() + 3).sum::<usize>()
        }
        Packet::Unsubscribe(packet) => {
            packet.properties.block().len() + packet.filters().map(|filter| filter.len() + 2).sum::<usize>()
        }
        Packet::SubAck(packet) => packet.properties.block().len() + packet.reasons.capacity(),
        Packet::UnsubAck(packet) => packet.properties.block().len() + packet.reasons.capacity(),
        Packet::ConnAck(packet) => packet.properties.block().len(),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack.properties.block().len()
        }
        Packet::Disconnect(packet) => packet.properties.block().len(),
        Packet::Auth(packet) => packet.properties.block().len(),
        Packet::PingReq | Packet::PingResp => 0,
    }
}

/// Decodes all there is; gives how many packets were accepted, and the error that ended it.
fn drain(mut decoder: Decoder, bytes: &[u8], sender: Sender, seed: u64) -> (usize, Option<Error>) {
    let mut buffer = BytesMut::from(bytes);
    let mut accepted = 0;
    loop {
        let before = buffer.clone();
        let at = || format!("seed {seed}: from {sender:?} {before:02x?}");
        match decoder.decode(&mut buffer) {
            Ok(Some(packet)) => {
                accepted += 1;
                let header = FixedHeader::peek(&before).unwrap().unwrap();
                assert_eq!(before.len() - buffer.len(), header.packet_len(), "{}", at());
                assert!(weight(&packet) <= header.remaining, "{}: {packet:?}", at());
                let version = decoder.version().unwrap();
                let mut again = BytesMut::new();
                packet.encode(version, &mut again).unwrap_or_else(|error| panic!("{}: {error}", at()));
                assert_eq!(sample::decode(version, sender, &again), Ok(Some(packet)), "{}", at());
            }
            Ok(None) => {
                assert_eq!(buffer, before, "{}: an incomplete packet stays", at());
                return (accepted, None);
            }
            Err(error) => return (accepted, Some(error)),
        }
    }
}

/// A decoder for the bytes: a server's first one for what looks like CONNECT, one past CONNECT for the others.
fn decoder(version: Version, sender: Sender, bytes: &[u8]) -> Decoder {
    if sender == Sender::Client && bytes.first().is_some_and(|byte| byte >> 4 == 1) {
        return Decoder::server(Limits::packet(1 << 20));
    }
    sample::decoder(version, sender)
}

#[test]
fn damaged_packets_never_panic_and_what_is_accepted_can_be_said_again() {
    let seed = mutate::seed();
    let mut mutator = Mutator::new(seed);
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    for _ in 0..mutate::packets(300_000) {
        let (version, sender, bytes) = mutator.mutated();
        let (packets, error) = drain(decoder(version, sender, &bytes), &bytes, sender, seed);
        accepted += u64::from(packets > 0);
        refused += u64::from(error.is_some());
    }
    // Damage that is always found, or never, would test little.
    assert!(accepted > 0 && refused > 0, "seed {seed}: {accepted} accepted, {refused} refused");
}

#[test]
fn noise_never_panics() {
    let seed = mutate::seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut noise = [0; 64];
    for _ in 0..mutate::packets(300_000) / 4 {
        let len = rng.random_range(1..noise.len());
        rng.fill_bytes(&mut noise[..len]);
        // A remaining length that fits, so that the noise gets past the fixed header.
        noise[1] = u8::try_from(len.saturating_sub(2)).unwrap();
        for version in Version::ALL {
            for sender in [Sender::Client, Sender::Server] {
                drain(decoder(version, sender, &noise[..len]), &noise[..len], sender, seed);
            }
        }
    }
}
