//! A message as every protocol sees it: what is published once and read many times.

use std::time::Duration;

use bytes::Bytes;

use crate::{ClientId, Epoch, Millis, Namespace, PacketId, Properties, Sid, Topic};

/// Quality of service (MQTT 5.0 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Qos {
    /// At most once: fire and forget.
    #[default]
    AtMostOnce = 0,
    /// At least once: acknowledged.
    AtLeastOnce = 1,
    /// Exactly once: acknowledged in two steps.
    ExactlyOnce = 2,
}

impl Qos {
    /// The quality with this number, 0 to 2.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// 0, 1 or 2.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Who published a message. `sid`, `epoch` and `pid` are set where the publisher's session makes them meaningful
/// (QoS 2 duplicate checks); the client id always, for no-local and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The publisher's client id; empty when the message came from the system itself.
    pub client: ClientId,
    /// The publisher's persistent session.
    pub session: Option<(Sid, Epoch)>,
    /// The packet id under which it was published.
    pub pid: Option<PacketId>,
}

/// A message. The body and all strings are slices of the buffer they arrived in or of the log: cloning copies no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The tenant; empty by default.
    pub namespace: Namespace,
    /// The full topic.
    pub topic: Topic,
    /// The quality of service it was published with.
    pub qos: Qos,
    /// Published with the RETAIN flag.
    pub retain: bool,
    /// How long after `born` it is worth delivering; whole seconds in MQTT.
    pub expiry: Option<Duration>,
    /// When the first server read it.
    pub born: Millis,
    /// Who published it.
    pub publisher: Publisher,
    /// Application properties, encoded.
    pub properties: Properties,
    /// The payload.
    pub body: Bytes,
}

impl Message {
    /// Whether the message is past its expiry at `now`.
    pub fn expired(&self, now: Millis) -> bool {
        self.expiry.is_some_and(|after| now >= self.born.plus(after))
    }
}
