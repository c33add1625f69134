//! Reason codes (5.0 §2.4). Version 3's CONNACK return codes and SUBACK failure are expressed in them, so that a
//! session has one vocabulary.

use super::{PacketType, Sender, Version};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A reason code of MQTT 5.0 (§2.4, table 2-6). Values below 0x80 are success.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $code,)*
        }

        impl Reason {
            /// Every code, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason with this code.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Success; in DISCONNECT normal disconnection, in SUBACK granted QoS 0.
    Success = 0x00,
    /// SUBACK: granted QoS 1.
    GrantedQos1 = 0x01,
    /// SUBACK: granted QoS 2.
    GrantedQos2 = 0x02,
    /// DISCONNECT: the will is to be published all the same.
    DisconnectWithWill = 0x04,
    /// PUBACK, PUBREC: accepted, nobody subscribes.
    NoMatchingSubscribers = 0x10,
    /// UNSUBACK: there was no such subscription.
    NoSubscriptionExisted = 0x11,
    /// AUTH: another step follows.
    ContinueAuthentication = 0x18,
    /// AUTH: the client starts to authenticate again.
    ReAuthenticate = 0x19,
    /// Not said, or none of the others fits. The only failure of a 3.x SUBACK.
    UnspecifiedError = 0x80,
    /// Could not be parsed.
    MalformedPacket = 0x81,
    /// Parsed, but not allowed by the protocol.
    ProtocolError = 0x82,
    /// Valid, but this receiver does not take it.
    ImplementationSpecificError = 0x83,
    /// 3.x return code 1.
    UnsupportedProtocolVersion = 0x84,
    /// 3.x return code 2.
    ClientIdentifierNotValid = 0x85,
    /// 3.x return code 4.
    BadUserNameOrPassword = 0x86,
    /// 3.x return code 5.
    NotAuthorized = 0x87,
    /// 3.x return code 3.
    ServerUnavailable = 0x88,
    /// Try again later.
    ServerBusy = 0x89,
    /// Banned by an administrator.
    Banned = 0x8A,
    /// The server goes down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is unknown or is not the one in use.
    BadAuthenticationMethod = 0x8C,
    /// Nothing came for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection uses the client identifier.
    SessionTakenOver = 0x8E,
    /// The filter is not accepted.
    TopicFilterInvalid = 0x8F,
    /// The name is not accepted.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More in flight than Receive Maximum.
    ReceiveMaximumExceeded = 0x93,
    /// The alias is above the maximum.
    TopicAliasInvalid = 0x94,
    /// Larger than Maximum Packet Size.
    PacketTooLarge = 0x95,
    /// Too many messages a time.
    MessageRateTooHigh = 0x96,
    /// A limit of the server or an administrator is reached.
    QuotaExceeded = 0x97,
    /// An administrator closed the connection.
    AdministrativeAction = 0x98,
    /// The payload is not what its format indicator says.
    PayloadFormatInvalid = 0x99,
    /// The server has no retained messages.
    RetainNotSupported = 0x9A,
    /// The QoS is above Maximum QoS.
    QosNotSupported = 0x9B,
    /// Use another server for now.
    UseAnotherServer = 0x9C,
    /// Use another server from now on.
    ServerMoved = 0x9D,
    /// The server has no shared subscriptions.
    SharedSubscriptionsNotSupported = 0x9E,
    /// Too many connections a time.
    ConnectionRateExceeded = 0x9F,
    /// The connection lasted longer than it may.
    MaximumConnectTime = 0xA0,
    /// The server has no subscription identifiers.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// The server has no wildcard subscriptions.
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl Reason {
    /// The code.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Codes from 0x80 are failures.
    pub const fn is_failure(self) -> bool {
        self.code() >= 0x80
    }

    /// Whether a 5.0 packet of this type from this sender may carry the code: the tables of §3.2.2.2, §3.4.2.1,
    /// §3.5.2.1, §3.6.2.1, §3.7.2.1, §3.9.3, §3.11.3, §3.14.2.1 and §3.15.2.1.
    pub const fn fits(self, packet: PacketType, sender: Sender) -> bool {
        match packet {
            PacketType::ConnAck => self.fits_connack(),
            PacketType::PubAck | PacketType::PubRec => self.fits_puback(),
            PacketType::PubRel | PacketType::PubComp => {
                matches!(self, Self::Success | Self::PacketIdentifierNotFound)
            }
            PacketType::SubAck => self.fits_suback(),
            PacketType::UnsubAck => self.fits_unsuback(),
            PacketType::Disconnect => match sender {
                Sender::Client => self.fits_disconnect_of_client(),
                Sender::Server => self.fits_disconnect_of_server(),
            },
            PacketType::Auth => match sender {
                Sender::Client => matches!(self, Self::ContinueAuthentication | Self::ReAuthenticate),
                Sender::Server => matches!(self, Self::Success | Self::ContinueAuthentication),
            },
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => false,
        }
    }

    const fn fits_connack(self) -> bool {
        matches!(self.code(), 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
    }

    const fn fits_puback(self) -> bool {
        matches!(self.code(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
    }

    const fn fits_suback(self) -> bool {
        matches!(self.code(), 0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
    }

    const fn fits_unsuback(self) -> bool {
        matches!(self.code(), 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91)
    }

    const fn fits_disconnect_of_client(self) -> bool {
        matches!(self.code(), 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
    }

    /// 0x8C is missing from the table of §3.14.2.1, but table 2-6 gives it to DISCONNECT: it ends a failed
    /// re-authentication (§4.12.1).
    const fn fits_disconnect_of_server(self) -> bool {
        matches!(self.code(), 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
    }

    /// The CONNACK return code of 3.x (3.1.1 §3.2.2.3), for those reasons that have one.
    pub const fn return_code(self) -> Option<u8> {
        match self.code() {
            0x00 => Some(0),
            0x84 => Some(1),
            0x85 => Some(2),
            0x88 => Some(3),
            0x86 => Some(4),
            0x87 => Some(5),
            _ => None,
        }
    }

    /// The inverse of [`Reason::return_code`].
    pub const fn from_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// This reason as a CONNACK of `version` can say it: unchanged in 5.0, in 3.x the nearest of its five refusals.
    #[must_use]
    pub const fn for_connack(self, version: Version) -> Self {
        if version.is_v5() || self.return_code().is_some() {
            return self;
        }
        if matches!(self, Self::BadAuthenticationMethod) {
            Self::BadUserNameOrPassword
        } else if matches!(self, Self::Banned | Self::TopicNameInvalid) {
            Self::NotAuthorized
        } else {
            Self::ServerUnavailable
        }
    }

    /// This reason as a SUBACK of `version` can say it: unchanged in 5.0, in 3.x every failure is 0x80. (3.1 has no
    /// failure at all; every broker that still speaks it sends 3.1.1's code, in bits that 3.1 reserves.)
    #[must_use]
    pub const fn for_suback(self, version: Version) -> Self {
        if version.is_v5() || !self.is_failure() { self } else { Self::UnspecifiedError }
    }
}
