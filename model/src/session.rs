//! Who a session is, and which of its owners is the latest.

use std::fmt;
use std::num::NonZeroU16;

use crate::{Position, ShardId, Text};

/// A client's name within its namespace. Unique: the same name connecting again takes the session over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub Text);

/// A session: the shard it lives on and the position of the `SessionOpen` that created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    /// The home shard, a hash of namespace and client id.
    pub home: ShardId,
    /// Position of the creating `SessionOpen` in the home shard's log.
    pub position: Position,
}

impl Sid {
    /// Bytes of the encoded form.
    pub const LEN: usize = 12;

    /// Big-endian shard and position, as in every table key.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.home.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.position.0.to_be_bytes());
        bytes
    }

    /// The inverse of [`Sid::to_bytes`].
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, position @ ..] = bytes;
        Self { home: ShardId(u32::from_be_bytes([a, b, c, d])), position: Position(u64::from_be_bytes(position)) }
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.home, self.position)
    }
}

/// Position of a session's latest `SessionOpen`. Records of an older epoch are ignored: a late owner is fenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub Position);

/// One run of one gateway process, drawn at random when it starts.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// An MQTT packet identifier: never zero (MQTT 5.0 §2.2.1).
pub type PacketId = NonZeroU16;
