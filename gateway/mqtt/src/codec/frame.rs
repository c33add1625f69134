//! The fixed header (§2.1): packet type, flags and remaining length. All that is known about a packet before the rest
//! of it has come, and enough to refuse it.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::{
    Error, Version,
    primitive::{self, MAX_VARINT, Rule},
};

const TYPE_0: Rule = "packet type 0 is reserved (§2.1.2)";
const FLAGS: Rule = "reserved flags of the fixed header [MQTT-2.1.3-1]";
const AUTH_BEFORE_V5: Rule = "packet type 15 is reserved (3.1.1 §2.2.1)";
const WRONG_WAY: Rule = "the peer may not send this packet type (§2.1.2)";

/// Which end of a connection sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The client: packets that a server decodes.
    Client,
    /// The server: packets that a client decodes.
    Server,
}

/// A control packet type (§2.1.2); its value is the upper half of the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Connection request.
    Connect = 1,
    /// Connect acknowledgement.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// QoS 1: received.
    PubAck = 4,
    /// QoS 2: received, part 1.
    PubRec = 5,
    /// QoS 2: release, part 2.
    PubRel = 6,
    /// QoS 2: complete, part 3.
    PubComp = 7,
    /// Subscribe request.
    Subscribe = 8,
    /// Subscribe acknowledgement.
    SubAck = 9,
    /// Unsubscribe request.
    Unsubscribe = 10,
    /// Unsubscribe acknowledgement.
    UnsubAck = 11,
    /// Ping request.
    PingReq = 12,
    /// Ping response.
    PingResp = 13,
    /// The end of a connection.
    Disconnect = 14,
    /// A step of authentication (5.0).
    Auth = 15,
}

impl PacketType {
    /// Every type.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::ConnAck,
        Self::Publish,
        Self::PubAck,
        Self::PubRec,
        Self::PubRel,
        Self::PubComp,
        Self::Subscribe,
        Self::SubAck,
        Self::Unsubscribe,
        Self::UnsubAck,
        Self::PingReq,
        Self::PingResp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The type with this number; 0 is reserved.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The number, 1 to 15.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The flags that the fixed header must have; a PUBLISH has flags of its own (§2.1.3).
    pub const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            Self::Connect
            | Self::ConnAck
            | Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubComp
            | Self::SubAck
            | Self::UnsubAck
            | Self::PingReq
            | Self::PingResp
            | Self::Disconnect
            | Self::Auth => 0,
        }
    }

    /// Refuses flags that are reserved. In 3.1 a resent PUBREL, SUBSCRIBE or UNSUBSCRIBE has DUP set, and the flags of
    /// other packets are "not used" (3.1 §3): there they are ignored.
    pub(crate) fn check_flags(self, flags: u8, version: Version) -> Result<(), Error> {
        let known = match (self, version) {
            (Self::PubRel | Self::Subscribe | Self::Unsubscribe, Version::V31) => flags & 0b0110 == 0b0010,
            (Self::Publish, _) | (_, Version::V31) => true,
            (_, Version::V311 | Version::V5) => flags == self.flags(),
        };
        if known { Ok(()) } else { Err(Error::Malformed { packet: self, rule: FLAGS }) }
    }

    /// Refuses a packet type that this end of the connection may not send.
    pub(crate) fn check_sender(self, sender: Sender, version: Version) -> Result<(), Error> {
        let client = match self {
            Self::Auth if !version.is_v5() => return Err(Error::FixedHeader { rule: AUTH_BEFORE_V5 }),
            Self::Disconnect if !version.is_v5() => Some(true),
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => Some(true),
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => Some(false),
            Self::Publish
            | Self::PubAck
            | Self::PubRec
            | Self::PubRel
            | Self::PubComp
            | Self::Disconnect
            | Self::Auth => None,
        };
        match client {
            Some(client) if client != (sender == Sender::Client) => {
                Err(Error::Protocol { packet: self, rule: WRONG_WAY })
            }
            _ => Ok(()),
        }
    }

    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// The packet's type.
    pub packet: PacketType,
    /// The lower half of the first byte.
    pub flags: u8,
    /// Bytes of the fixed header itself, 2 to 5.
    pub len: usize,
    /// Bytes that follow it.
    pub remaining: usize,
}

impl FixedHeader {
    /// Reads the fixed header at the start of `bytes`. `Ok(None)`: more bytes are needed to tell.
    pub fn peek(bytes: &[u8]) -> Result<Option<Self>, Error> {
        let Some((&first, after)) = bytes.split_first() else { return Ok(None) };
        let packet = PacketType::from_number(first >> 4).ok_or(Error::FixedHeader { rule: TYPE_0 })?;
        let Some((remaining, rest)) = primitive::split_varint(after).map_err(|rule| Error::FixedHeader { rule })?
        else {
            return Ok(None);
        };
        let len = bytes.len().saturating_sub(rest.len());
        Ok(Some(Self { packet, flags: first & 0x0F, len, remaining: remaining as usize }))
    }

    /// Bytes of the whole packet: what the limits on packet size count (5.0 §3.1.2.11.4).
    pub const fn packet_len(&self) -> usize {
        self.len.saturating_add(self.remaining)
    }

    /// Bytes of a packet with this many after its fixed header.
    pub(crate) fn whole(packet: PacketType, remaining: usize) -> Result<usize, Error> {
        if remaining > MAX_VARINT as usize {
            return Err(Error::TooLong { packet, len: remaining, max: MAX_VARINT as usize });
        }
        Ok(remaining.saturating_add(primitive::varint_len(remaining)).saturating_add(1))
    }

    /// Writes a fixed header.
    pub(crate) fn put(out: &mut BytesMut, packet: PacketType, flags: u8, remaining: usize) {
        out.put_u8((packet.number() << 4) | flags);
        primitive::put_varint(out, remaining);
    }
}
