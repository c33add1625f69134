//! Where properties may stand: the last column of 5.0 table 2-4.

use super::PropertyId;
use crate::codec::PacketType;

/// Where a block of properties stands: a packet's variable header, or the will's block in CONNECT's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// CONNECT's variable header (§3.1.2.11).
    Connect,
    /// The will in CONNECT's payload (§3.1.3.2).
    Will,
    /// CONNACK (§3.2.2.3).
    ConnAck,
    /// PUBLISH (§3.3.2.3).
    Publish,
    /// PUBACK (§3.4.2.2).
    PubAck,
    /// PUBREC (§3.5.2.2).
    PubRec,
    /// PUBREL (§3.6.2.2).
    PubRel,
    /// PUBCOMP (§3.7.2.2).
    PubComp,
    /// SUBSCRIBE (§3.8.2.1).
    Subscribe,
    /// SUBACK (§3.9.2.1).
    SubAck,
    /// UNSUBSCRIBE (§3.10.2.1).
    Unsubscribe,
    /// UNSUBACK (§3.11.2.1).
    UnsubAck,
    /// DISCONNECT (§3.14.2.2).
    Disconnect,
    /// AUTH (§3.15.2.2).
    Auth,
}

impl Holder {
    /// Every holder.
    pub const ALL: [Self; 14] = [
        Self::Connect,
        Self::Will,
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
        Self::Disconnect,
        Self::Auth,
    ];

    /// The packet that the block belongs to.
    pub const fn packet(self) -> PacketType {
        match self {
            Self::Connect | Self::Will => PacketType::Connect,
            Self::ConnAck => PacketType::ConnAck,
            Self::Publish => PacketType::Publish,
            Self::PubAck => PacketType::PubAck,
            Self::PubRec => PacketType::PubRec,
            Self::PubRel => PacketType::PubRel,
            Self::PubComp => PacketType::PubComp,
            Self::Subscribe => PacketType::Subscribe,
            Self::SubAck => PacketType::SubAck,
            Self::Unsubscribe => PacketType::Unsubscribe,
            Self::UnsubAck => PacketType::UnsubAck,
            Self::Disconnect => PacketType::Disconnect,
            Self::Auth => PacketType::Auth,
        }
    }

    /// Whether a property may stand here: the last column of table 2-4.
    pub const fn takes(self, id: PropertyId) -> bool {
        use PropertyId as P;
        match self {
            Self::Connect => matches!(
                id,
                P::SessionExpiryInterval
                    | P::AuthenticationMethod
                    | P::AuthenticationData
                    | P::RequestProblemInformation
                    | P::RequestResponseInformation
                    | P::ReceiveMaximum
                    | P::TopicAliasMaximum
                    | P::UserProperty
                    | P::MaximumPacketSize
            ),
            Self::Will => Self::describes_message(id) || matches!(id, P::WillDelayInterval),
            Self::Publish => Self::describes_message(id) || matches!(id, P::TopicAlias | P::SubscriptionIdentifier),
            Self::ConnAck => Self::answers_connect(id),
            Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp | Self::SubAck | Self::UnsubAck => {
                matches!(id, P::ReasonString | P::UserProperty)
            }
            Self::Subscribe => matches!(id, P::SubscriptionIdentifier | P::UserProperty),
            Self::Unsubscribe => matches!(id, P::UserProperty),
            Self::Disconnect => {
                matches!(id, P::SessionExpiryInterval | P::ServerReference | P::ReasonString | P::UserProperty)
            }
            Self::Auth => {
                matches!(id, P::AuthenticationMethod | P::AuthenticationData | P::ReasonString | P::UserProperty)
            }
        }
    }

    const fn describes_message(id: PropertyId) -> bool {
        use PropertyId as P;
        matches!(
            id,
            P::PayloadFormatIndicator
                | P::MessageExpiryInterval
                | P::ContentType
                | P::ResponseTopic
                | P::CorrelationData
                | P::UserProperty
        )
    }

    const fn answers_connect(id: PropertyId) -> bool {
        use PropertyId as P;
        matches!(
            id,
            P::SessionExpiryInterval
                | P::AssignedClientIdentifier
                | P::ServerKeepAlive
                | P::AuthenticationMethod
                | P::AuthenticationData
                | P::ResponseInformation
                | P::ServerReference
                | P::ReasonString
                | P::ReceiveMaximum
                | P::TopicAliasMaximum
                | P::MaximumQos
                | P::RetainAvailable
                | P::UserProperty
                | P::MaximumPacketSize
                | P::WildcardSubscriptionAvailable
                | P::SubscriptionIdentifierAvailable
                | P::SharedSubscriptionAvailable
        )
    }
}
