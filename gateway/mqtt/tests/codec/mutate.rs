//! Damage to packets: what a broken or hostile client might send.

use bytes::BytesMut;
use causeway_mqtt::codec::{FixedHeader, Packet, Sender, Version};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::sample;
use crate::vector::varint;

/// Valid packets of each version and sender, encoded, and a source of damage: all from one seed.
pub(crate) struct Mutator {
    pub(crate) seed: u64,
    rng: SmallRng,
    corpus: Vec<(Version, Sender, Vec<u8>)>,
}

/// Bytes that mean something somewhere: lengths, wildcards, NUL, surrogates, flags, property identifiers.
const TOKENS: [&[u8]; 22] = [
    b"\0",
    b"#",
    b"+",
    b"/",
    b"$share/",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x80\x00",
    b"\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\x00\x00",
    b"\x00\x01",
    b"\x26\x00\x01k\x00\x01v",
    b"\x0b\x01",
    b"\x23\x00\x01",
    b"\x23\x00\x00",
    b"\x21\x00\x00",
    b"\x01\x01",
    b"\x16\x00\x01d",
];

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rng: SmallRng::seed_from_u64(seed), corpus: corpus(seed, 600) }
    }

    /// A valid packet, as it is.
    pub(crate) fn valid(&mut self) -> (Version, Sender, Vec<u8>) {
        self.corpus.choose(&mut self.rng).unwrap().clone()
    }

    /// A packet with one to four faults, most with a remaining length that fits, so that the faults are reached.
    pub(crate) fn mutated(&mut self) -> (Version, Sender, Vec<u8>) {
        let (version, sender, mut bytes) = self.valid();
        for _ in 0..self.rng.random_range(1..=4) {
            self.damage(&mut bytes);
        }
        if self.rng.random_ratio(4, 5) {
            refit(&mut bytes);
        }
        (version, sender, bytes)
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        if len < 2 {
            bytes.extend([self.rng.random(), 0]);
            return;
        }
        let at = self.rng.random_range(0..len);
        let end = self.rng.random_range(at..len);
        match self.rng.random_range(0..10) {
            0 => bytes[at] ^= 1 << self.rng.random_range(0..8),
            1 => bytes[at] = self.rng.random(),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes[at] = bytes[at].wrapping_sub(1),
            4 => bytes.truncate(at.max(1)),
            5 => drop(bytes.drain(at..end)),
            6 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            7 => {
                let token = *TOKENS.choose(&mut self.rng).unwrap();
                bytes.splice(at..at, token.iter().copied());
            }
            8 => {
                let token = *TOKENS.choose(&mut self.rng).unwrap();
                bytes.splice(at..(at + token.len()).min(len), token.iter().copied());
            }
            _ => {
                let other = self.valid().2;
                let from = self.rng.random_range(0..other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}

/// Gives the packet the remaining length that its bytes have.
fn refit(bytes: &mut Vec<u8>) {
    let head = FixedHeader::peek(bytes).ok().flatten().map_or(2, |header| header.len).min(bytes.len());
    let body = bytes.split_off(head);
    bytes.truncate(1);
    bytes.extend(varint(body.len()));
    bytes.extend(body);
}

fn corpus(seed: u64, count: usize) -> Vec<(Version, Sender, Vec<u8>)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut corpus = Vec::new();
    for version in Version::ALL {
        let packets = sample::any_packet(version);
        for _ in 0..count {
            let (sender, packet): (Sender, Packet) = packets.new_tree(&mut runner).unwrap().current();
            let mut bytes = BytesMut::new();
            packet.encode(version, &mut bytes).unwrap();
            corpus.push((version, sender, bytes.to_vec()));
        }
    }
    corpus
}

/// The seed of this run: from the environment, or a fixed one so that a plain run is the same everywhere.
pub(crate) fn seed() -> u64 {
    std::env::var("FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed)
}

/// How many packets: from the environment, or `default`.
pub(crate) fn packets(default: u64) -> u64 {
    std::env::var("FUZZ_PACKETS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}
