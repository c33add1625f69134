//! The message that is sent again and again: encoded once, patched for each use.
//!
//! ```text
//!  fixed header │ topic prefix ‖ number │ packet id │ properties │ time ns u64 ‖ sequence u64 ‖ filler
//!                               ▲ patched  ▲ patched               ▲ patched     ▲ patched
//! ```
//!
//! Every part keeps its length, so nothing else changes with it, and sending costs one copy into the write buffer.

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{FixedHeader, Packet, PacketId, Properties, Publish, Qos, Version};
use tokio::time::Instant;

/// The smallest message: its time and its number.
pub(crate) const MIN_SIZE: u32 = 16;

/// Digits of a topic's number.
const DIGITS: usize = 8;

/// This process's clock, in which messages carry their time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the clock started.
    pub(crate) fn nanos(self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a payload says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was handed to the socket, by the sender's [`Clock`].
    pub(crate) nanos: u64,
    /// Which message of its publisher it is, from 0.
    pub(crate) sequence: u64,
}

impl Stamp {
    /// Reads the stamp of a payload; `None` if it is too short to be one of ours.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (nanos, rest) = payload.split_first_chunk()?;
        let sequence = rest.first_chunk()?;
        Some(Self { nanos: u64::from_be_bytes(*nanos), sequence: u64::from_be_bytes(*sequence) })
    }
}

/// The name of topic `number` below `prefix`.
pub(crate) fn topic(prefix: &str, number: u32) -> String {
    format!("{prefix}/{number:0DIGITS$}")
}

/// A PUBLISH encoded once.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    number_at: usize,
    pid_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// A message of `size` bytes to the topics below `prefix`.
    pub(crate) fn new(version: Version, qos: Qos, prefix: &str, size: u32) -> Result<Self> {
        let topic = topic(prefix, 0);
        let size = usize::try_from(size).context("message size")?;
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic: topic.as_str().into(),
            pid: (qos != Qos::AtMostOnce).then_some(PacketId::MIN),
            properties: Properties::EMPTY,
            payload: filler(size),
        };
        let mut bytes = BytesMut::new();
        Packet::Publish(publish).encode(version, &mut bytes).context("encoding the message")?;
        let header = FixedHeader::peek(&bytes)?.context("a PUBLISH has a fixed header")?;
        let topic_end = header.len + 2 + topic.len();
        Ok(Self {
            number_at: topic_end - DIGITS,
            pid_at: (qos != Qos::AtMostOnce).then_some(topic_end),
            payload_at: bytes.len() - size,
            bytes: bytes.to_vec(),
        })
    }

    /// Appends the message to `out`. `pid` is used if the quality of service has one.
    pub(crate) fn put(&self, out: &mut BytesMut, topic: u32, pid: u16, stamp: Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let packet = &mut out[start..];
        let mut rest = topic;
        for digit in packet[self.number_at..self.number_at + DIGITS].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        if let Some(at) = self.pid_at {
            packet[at..at + 2].copy_from_slice(&pid.to_be_bytes());
        }
        let payload = &mut packet[self.payload_at..];
        payload[..8].copy_from_slice(&stamp.nanos.to_be_bytes());
        payload[8..16].copy_from_slice(&stamp.sequence.to_be_bytes());
    }
}

/// Bytes that compress badly, as measurements do: a server that compresses gains nothing from ours being constant.
fn filler(size: usize) -> Bytes {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
}

#[cfg(test)]
mod tests {
    use causeway_mqtt::codec::{Decoder, Limits};
    use proptest::prelude::*;

    use super::*;

    fn qos(number: u8) -> Qos {
        Qos::from_number(number).unwrap()
    }

    proptest! {
        #[test]
        fn a_patched_message_is_the_message_that_was_meant(
            v5 in any::<bool>(), level in 0_u8..3, size in MIN_SIZE..40_000,
            number in 0_u32..100_000_000, pid in 1_u16.., nanos in any::<u64>(), sequence in any::<u64>(),
        ) {
            let version = if v5 { Version::V5 } else { Version::V311 };
            let template = Template::new(version, qos(level), "load/x", size).unwrap();
            let mut out = BytesMut::from(&b"before"[..]);
            let stamp = Stamp { nanos, sequence };
            template.put(&mut out, number, pid, stamp);
            let mut sent = out.split_off(6);

            // A server's packets are decoded by the client's decoder; PUBLISH is the same in both directions.
            let mut decoder = Decoder::client(version, Limits::packet(1 << 20));
            let Some(Packet::Publish(publish)) = decoder.decode(&mut sent).unwrap() else { panic!("one PUBLISH") };
            prop_assert!(sent.is_empty());
            prop_assert_eq!(publish.topic.to_string(), topic("load/x", number));
            prop_assert_eq!(publish.qos, qos(level));
            prop_assert_eq!(publish.pid.map(PacketId::get), (level > 0).then_some(pid));
            prop_assert_eq!(publish.payload.len(), size as usize);
            prop_assert_eq!(Stamp::read(&publish.payload), Some(stamp));
        }
    }

    #[test]
    fn a_foreign_payload_has_no_stamp() {
        assert_eq!(Stamp::read(b"too short"), None);
    }
}
