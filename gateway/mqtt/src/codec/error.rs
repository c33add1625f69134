//! What can be wrong with a packet, and the reason code that says so to the peer.

use super::{PacketType, Reason, Version};

/// Why bytes are not a packet, or a packet cannot become bytes.
///
/// After a decoding error the stream has no known next packet: answer with [`Error::reason`] where the version has a
/// way to (CONNACK or DISCONNECT in 5.0, CONNACK before the session exists in 3.x) and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first bytes are no fixed header (§2.1).
    #[error("fixed header: {rule}")]
    FixedHeader {
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// A packet that cannot be parsed according to the specification (5.0 §1.2 "Malformed Packet").
    #[error("{packet} malformed: {rule}")]
    Malformed {
        /// The packet's type.
        packet: PacketType,
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// A packet that parses but may not be sent so (5.0 §1.2 "Protocol Error").
    #[error("{packet} not allowed: {rule}")]
    Protocol {
        /// The packet's type.
        packet: PacketType,
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// CONNECT is for a protocol that we do not speak (§3.1.2.1).
    #[error("CONNECT: unknown protocol name")]
    ProtocolName,
    /// CONNECT is for a level that we do not speak (§3.1.2.2).
    #[error("CONNECT: protocol level {level:#04x} is not supported")]
    UnsupportedVersion {
        /// The level that was asked for.
        level: u8,
    },
    /// A client identifier that the server must refuse with a CONNACK (3.1.1 §3.1.3.1).
    #[error("CONNECT: client identifier refused: {rule}")]
    ClientId {
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// The packet is larger than we said that we accept (5.0 §3.1.2.11.4). Known from its fixed header alone.
    #[error("{packet} of {size} bytes is over the limit of {max}")]
    TooLarge {
        /// The packet's type.
        packet: PacketType,
        /// Bytes of the whole packet.
        size: usize,
        /// The most bytes that are accepted.
        max: usize,
    },
    /// A topic name that no message can be published to (§4.7).
    #[error("{packet}: topic name invalid: {rule}")]
    TopicName {
        /// The packet's type.
        packet: PacketType,
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// A topic filter that cannot match (§4.7, shared subscriptions §4.8.2).
    #[error("{packet}: topic filter invalid: {rule}")]
    TopicFilter {
        /// The packet's type.
        packet: PacketType,
        /// The rule that is broken, with its section.
        rule: &'static str,
    },
    /// Topic alias 0 (5.0 §3.3.2.3.4).
    #[error("{packet}: topic alias 0")]
    TopicAlias {
        /// The packet's type.
        packet: PacketType,
    },
    /// Encoding: the packet has something that this version cannot say.
    #[error("{packet} cannot be written in {version}: {rule}")]
    NotInVersion {
        /// The packet's type.
        packet: PacketType,
        /// The version to encode for.
        version: Version,
        /// What does not fit.
        rule: &'static str,
    },
    /// Encoding: a field is longer than its length prefix can say. It is never cut.
    #[error("{packet}: {len} bytes do not fit a field of at most {max}")]
    TooLong {
        /// The packet's type.
        packet: PacketType,
        /// Bytes of the field.
        len: usize,
        /// The most that fit.
        max: usize,
    },
}

impl Error {
    /// The reason code with which 5.0 answers (§4.13), before or after CONNACK.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::FixedHeader { .. } | Self::Malformed { .. } => Reason::MalformedPacket,
            Self::Protocol { .. } => Reason::ProtocolError,
            Self::ProtocolName | Self::UnsupportedVersion { .. } => Reason::UnsupportedProtocolVersion,
            Self::ClientId { .. } => Reason::ClientIdentifierNotValid,
            Self::TooLarge { .. } => Reason::PacketTooLarge,
            Self::TopicName { .. } => Reason::TopicNameInvalid,
            Self::TopicFilter { .. } => Reason::TopicFilterInvalid,
            Self::TopicAlias { .. } => Reason::TopicAliasInvalid,
            Self::NotInVersion { .. } | Self::TooLong { .. } => Reason::ImplementationSpecificError,
        }
    }

    /// Whether a 3.x server answers a CONNECT that failed so with a CONNACK before it closes: an unsupported level
    /// (3.1.1 §3.1.2.2) and a refused client identifier (§3.1.3.1). All else closes without a word.
    pub const fn answered_before_v5(&self) -> bool {
        matches!(self, Self::UnsupportedVersion { .. } | Self::ClientId { .. })
    }
}
