//! What a subscriber asked for.

use crate::Qos;

/// The options of one subscription (MQTT 5.0 §3.8.3.1); other protocols use the part that they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The highest quality of service at which messages are delivered.
    pub qos: Qos,
    /// Not to be delivered to the client that published it.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// Whether retained messages are sent when the subscription is made.
    pub retain_handling: RetainHandling,
    /// The subscription identifier that deliveries carry, 1 to 268,435,455.
    pub id: Option<u32>,
}

impl SubscribeOptions {
    /// Plain options as MQTT 3.1.1 has them: a quality of service and nothing else.
    pub fn at(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send, id: None }
    }
}

/// When retained messages are sent to a new subscription (MQTT 5.0 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// At every subscribe.
    #[default]
    Send,
    /// Only if the subscription did not exist.
    SendIfNew,
    /// Never.
    Skip,
}
