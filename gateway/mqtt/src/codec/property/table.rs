//! Every property there is: number, data type, name (5.0 table 2-4). One row here is all that a property is.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::Text;

use super::{Holder, Properties, raw::Raw};
use crate::codec::{
    Error, PacketType,
    primitive::{self, MAX_VARINT},
};

/// The data type of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident, $getter:ident = $number:literal, $shape:ident($type:ty);)*) => {
        /// A property identifier.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $($(#[$doc])* $name = $number,)*
        }

        impl PropertyId {
            /// Every identifier, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The property with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            pub(super) const fn shape(self) -> Shape {
                match self {
                    $(Self::$name => Shape::$shape,)*
                }
            }
        }

        /// A property as a value: to build a block from, and what a walk over one gives. Intervals are in seconds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Property {
            $($(#[$doc])* $name($type),)*
        }

        impl Property {
            /// The property's identifier.
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            fn as_raw(&self) -> Raw<'_> {
                match self {
                    $(Self::$name(value) => Raw::$shape(value.lend()),)*
                }
            }

            /// The value that `raw` says, sharing `block`, which `raw` borrows from.
            pub(super) fn from_raw(id: PropertyId, raw: Raw<'_>, block: &Bytes) -> Option<Self> {
                match (id, raw) {
                    $((PropertyId::$name, Raw::$shape(lent)) => Value::share(lent, block).map(Self::$name),)*
                    _ => None,
                }
            }
        }

        /// One question a property. Each answers `None` at once if the property is absent, and walks the block if not.
        impl Properties {
            $(
                $(#[$doc])*
                pub fn $getter(&self) -> Option<$type> {
                    match self.first(PropertyId::$name)? {
                        Raw::$shape(lent) => Value::share(lent, self.block()),
                        _ => None,
                    }
                }
            )*
        }
    };
}

properties! {
    /// §3.3.2.3.2: whether the payload is UTF-8 text.
    PayloadFormatIndicator, payload_format_indicator = 0x01, Byte(bool);
    /// §3.3.2.3.3: seconds for which the message is worth delivering.
    MessageExpiryInterval, message_expiry_interval = 0x02, Four(u32);
    /// §3.3.2.3.9: what the payload is.
    ContentType, content_type = 0x03, Text(Text);
    /// §3.3.2.3.5: topic name for the answer.
    ResponseTopic, response_topic = 0x08, Text(Text);
    /// §3.3.2.3.6: what the answer carries back.
    CorrelationData, correlation_data = 0x09, Binary(Bytes);
    /// §3.8.2.1.2: number of a subscription, 1 to 268,435,455. A PUBLISH may have several.
    SubscriptionIdentifier, subscription_identifier = 0x0B, Varint(u32);
    /// §3.1.2.11.2: seconds for which the session outlives its connection; `u32::MAX` is for ever.
    SessionExpiryInterval, session_expiry_interval = 0x11, Four(u32);
    /// §3.2.2.3.7: the client identifier that the server made up.
    AssignedClientIdentifier, assigned_client_identifier = 0x12, Text(Text);
    /// §3.2.2.3.14: the keep alive that the server wants, in seconds.
    ServerKeepAlive, server_keep_alive = 0x13, Two(u16);
    /// §3.1.2.11.9: name of the authentication method.
    AuthenticationMethod, authentication_method = 0x15, Text(Text);
    /// §3.1.2.11.10: what the method says.
    AuthenticationData, authentication_data = 0x16, Binary(Bytes);
    /// §3.1.2.11.7: whether the client wants reason strings; it does unless it says no.
    RequestProblemInformation, request_problem_information = 0x17, Byte(bool);
    /// §3.1.3.2.2: seconds between disconnection and will.
    WillDelayInterval, will_delay_interval = 0x18, Four(u32);
    /// §3.1.2.11.6: whether the client wants response information.
    RequestResponseInformation, request_response_information = 0x19, Byte(bool);
    /// §3.2.2.3.15: basis for response topics.
    ResponseInformation, response_information = 0x1A, Text(Text);
    /// §3.2.2.3.16: another server to use.
    ServerReference, server_reference = 0x1C, Text(Text);
    /// §3.2.2.3.9: a reason for people.
    ReasonString, reason_string = 0x1F, Text(Text);
    /// §3.1.2.11.3: most QoS 1 and 2 messages in flight, from 1.
    ReceiveMaximum, receive_maximum = 0x21, Two(u16);
    /// §3.1.2.11.5: highest topic alias that is accepted.
    TopicAliasMaximum, topic_alias_maximum = 0x22, Two(u16);
    /// §3.3.2.3.4: number that stands for the topic, from 1.
    TopicAlias, topic_alias = 0x23, Two(u16);
    /// §3.2.2.3.4: highest QoS that the server takes, 0 or 1; absent if it is 2.
    MaximumQos, maximum_qos = 0x24, Byte(u8);
    /// §3.2.2.3.5: whether the server has retained messages.
    RetainAvailable, retain_available = 0x25, Byte(bool);
    /// §3.1.2.11.8: an application's own key and value.
    UserProperty, user_property = 0x26, Pair((Text, Text));
    /// §3.1.2.11.4: most bytes of a whole packet, from 1.
    MaximumPacketSize, maximum_packet_size = 0x27, Four(u32);
    /// §3.2.2.3.11: whether the server has wildcard subscriptions.
    WildcardSubscriptionAvailable, wildcard_subscription_available = 0x28, Byte(bool);
    /// §3.2.2.3.12: whether the server has subscription identifiers.
    SubscriptionIdentifierAvailable, subscription_identifier_available = 0x29, Byte(bool);
    /// §3.2.2.3.13: whether the server has shared subscriptions.
    SharedSubscriptionAvailable, shared_subscription_available = 0x2A, Byte(bool);
}

impl PropertyId {
    /// The number, below 64: it is also this property's bit in a set.
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub(super) const fn bit(self) -> u64 {
        1_u64.wrapping_shl(self.number() as u32)
    }

    /// Whether it may occur more than once: user properties anywhere, subscription identifiers in a PUBLISH that
    /// matched several subscriptions (§3.3.2.3.8); in SUBSCRIBE there is one at most (§3.8.2.1.2).
    pub(super) fn repeats(self, holder: Holder) -> bool {
        self == Self::UserProperty || (self == Self::SubscriptionIdentifier && holder == Holder::Publish)
    }
}

impl Property {
    /// A user property.
    pub fn user(key: impl Into<Text>, value: impl Into<Text>) -> Self {
        Self::UserProperty((key.into(), value.into()))
    }

    /// Appends the encoded property. Values that the specification excludes are found when the block is checked.
    pub(super) fn write(&self, packet: PacketType, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u8(self.id().number());
        match self.as_raw() {
            Raw::Byte(value) => out.put_u8(value),
            Raw::Two(value) => out.put_u16(value),
            Raw::Four(value) => out.put_u32(value),
            Raw::Varint(value) if value > MAX_VARINT => {
                return Err(Error::TooLong { packet, len: value as usize, max: MAX_VARINT as usize });
            }
            Raw::Varint(value) => primitive::put_varint(out, value as usize),
            Raw::Text(value) => put_field(packet, out, value.as_bytes())?,
            Raw::Binary(value) => put_field(packet, out, value)?,
            Raw::Pair((key, value)) => {
                put_field(packet, out, key.as_bytes())?;
                put_field(packet, out, value.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn put_field(packet: PacketType, out: &mut BytesMut, field: &[u8]) -> Result<(), Error> {
    primitive::check_field(packet, field)?;
    primitive::put_field(out, field);
    Ok(())
}

/// A value's owned form, which shares the block, and its borrowed form.
trait Value: Sized {
    type Lent<'a>
    where
        Self: 'a;
    fn lend(&self) -> Self::Lent<'_>;
    fn share(lent: Self::Lent<'_>, block: &Bytes) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty),*) => {
        $(impl Value for $type {
            type Lent<'a> = Self;
            fn lend(&self) -> Self {
                *self
            }
            fn share(lent: Self, _block: &Bytes) -> Option<Self> {
                Some(lent)
            }
        })*
    };
}

number!(u8, u16, u32);

impl Value for bool {
    type Lent<'a> = u8;
    fn lend(&self) -> u8 {
        u8::from(*self)
    }
    fn share(lent: u8, _block: &Bytes) -> Option<Self> {
        Some(lent != 0)
    }
}

impl Value for Bytes {
    type Lent<'a> = &'a [u8];
    fn lend(&self) -> &[u8] {
        self
    }
    fn share(lent: &[u8], block: &Bytes) -> Option<Self> {
        Some(block.slice_ref(lent))
    }
}

impl Value for Text {
    type Lent<'a> = &'a str;
    fn lend(&self) -> &str {
        self
    }
    fn share(lent: &str, block: &Bytes) -> Option<Self> {
        Self::try_from(block.slice_ref(lent.as_bytes())).ok()
    }
}

impl Value for (Text, Text) {
    type Lent<'a> = (&'a str, &'a str);
    fn lend(&self) -> (&str, &str) {
        (&self.0, &self.1)
    }
    fn share(lent: (&str, &str), block: &Bytes) -> Option<Self> {
        Some((Text::share(lent.0, block)?, Text::share(lent.1, block)?))
    }
}
