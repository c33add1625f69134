//! A message on its way to one subscriber.

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Message, Millis, PacketId, Qos};
use smallvec::SmallVec;

use crate::codec::{Error, Packet, Properties, Publish, Version};
use crate::session::properties;

/// What a PUBLISH to a subscriber is made of; the message is shared by all subscribers.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// What was published.
    pub message: Arc<Message>,
    /// The QoS of this hop.
    pub qos: Qos,
    /// RETAIN as this subscriber is to see it.
    pub retain: bool,
    /// Sent before, on an earlier connection.
    pub dup: bool,
    /// With QoS 1.
    pub pid: Option<PacketId>,
    /// The identifiers of the subscriptions that match (5.0).
    pub ids: SmallVec<[u32; 2]>,
    /// Seconds that are left of the message's expiry (5.0).
    pub expiry: Option<u32>,
}

impl Delivery {
    /// The properties of the packet in 5.0: the same for all subscribers whose expiry and identifiers are the same.
    pub fn properties(&self) -> Result<Properties, Error> {
        properties::to_wire(&self.message.properties, self.expiry, &self.ids)
    }

    /// The packet as `version` can say it.
    pub fn publish(&self, version: Version) -> Result<Publish, Error> {
        let properties = if version.is_v5() { self.properties()? } else { Properties::EMPTY };
        Ok(self.publish_with(properties))
    }

    /// The packet with properties that were made before.
    pub fn publish_with(&self, properties: Properties) -> Publish {
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.message.topic.text().clone(),
            pid: self.pid,
            properties,
            payload: self.message.body.clone(),
        }
    }

    /// Whether the packet is at most `max` bytes. Only near the limit is it worked out to the byte.
    pub(in crate::session) fn fits(&self, version: Version, max: usize) -> bool {
        // Property blocks are a little longer here than on the wire; ids, expiry and headers are below 64 + 5 an id.
        let message = &self.message;
        let parts = [message.topic.as_str().len(), message.properties.encoded().len(), message.body.len()];
        let bound = parts.iter().sum::<usize>().saturating_add(self.ids.len().saturating_mul(5)).saturating_add(64);
        if bound <= max {
            return true;
        }
        // The packet id is not chosen yet; any is as long as another.
        let pid = (self.qos > Qos::AtMostOnce).then_some(PacketId::MIN);
        let packet = self.publish(version).map(|publish| Packet::Publish(Publish { pid, ..publish }));
        packet.and_then(|packet| packet.encoded_len(version)).is_ok_and(|len| len <= max)
    }
}

/// What is left of a message's expiry at `now` in whole seconds, rounded up: a subscriber that is sent 0 would have to
/// drop it. `None`: it has no expiry.
pub(in crate::session) fn expiry_left(message: &Message, now: Millis) -> Option<u32> {
    let left = message.expiry?.saturating_sub(now.since(message.born));
    Some(seconds_up(left))
}

fn seconds_up(duration: Duration) -> u32 {
    let up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    u32::try_from(up).unwrap_or(u32::MAX)
}
