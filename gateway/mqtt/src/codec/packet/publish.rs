//! PUBLISH (§3.3): a message, and the form of it that ten thousand subscribers share.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{PacketId, Qos, Text};

use super::{Body, check_no_properties};
use crate::codec::{
    Error, FixedHeader, Holder, PacketType, Properties, Property, PropertyId, Sender, Version,
    primitive::{self, Reader, Rule},
    topic,
};

const QOS_3: Rule = "QoS 3 [MQTT-3.3.1-4]";
const DUP_QOS_0: Rule = "DUP with QoS 0 [MQTT-3.3.1-2]";
const ID_OF_CLIENT: Rule = "subscription identifier from a client [MQTT-3.3.4-6]";
const NO_TOPIC: Rule = "neither topic name nor topic alias (§3.3.2.1)";
const PID: Rule = "a packet identifier with QoS 0, or none with QoS above it [MQTT-2.2.1-2]";

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A message on its way in or out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Sent before.
    pub dup: bool,
    /// The QoS of this hop.
    pub qos: Qos,
    /// To be kept for later subscribers, or (to a subscriber) kept from earlier.
    pub retain: bool,
    /// The topic name. Empty only in 5.0 and with a topic alias; what the alias means is the session's to know.
    pub topic: Text,
    /// There with QoS 1 and 2 only.
    pub pid: Option<PacketId>,
    /// 5.0 only.
    pub properties: Properties,
    /// The message.
    pub payload: Bytes,
}

impl Publish {
    #[inline]
    pub(super) fn parse(flags: u8, body: Bytes, version: Version, sender: Sender) -> Result<Self, Error> {
        let mut reader = Reader::new(PacketType::Publish, body);
        let qos = Qos::from_number((flags >> 1) & 0b11).ok_or_else(|| reader.malformed(QOS_3))?;
        let mut dup = flags & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            // 3.1 says that DUP applies above QoS 0 and forbids nothing (3.1 §2.1).
            if version != Version::V31 {
                return Err(reader.malformed(DUP_QOS_0));
            }
            dup = false;
        }
        let topic = reader.string()?;
        let pid = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.is_v5() { Properties::read(&mut reader, Holder::Publish)? } else { Properties::EMPTY };
        check_topic(&topic, &properties, version)?;
        if sender == Sender::Client && properties.contains(PropertyId::SubscriptionIdentifier) {
            return Err(reader.protocol(ID_OF_CLIENT));
        }
        Ok(Self { dup, qos, retain: flags & RETAIN != 0, topic, pid, properties, payload: reader.rest() })
    }
}

fn check_topic(name: &str, properties: &Properties, version: Version) -> Result<(), Error> {
    if name.is_empty() && version.is_v5() {
        if properties.contains(PropertyId::TopicAlias) {
            return Ok(());
        }
        return Err(Error::Protocol { packet: PacketType::Publish, rule: NO_TOPIC });
    }
    topic::check_name(PacketType::Publish, name)
}

fn flags(dup: bool, qos: Qos, retain: bool) -> u8 {
    let dup = if dup { DUP } else { 0 };
    dup | qos.number() << 1 | u8::from(retain)
}

impl Body for Publish {
    fn packet(&self) -> PacketType {
        PacketType::Publish
    }

    fn flags(&self) -> u8 {
        flags(self.dup, self.qos, self.retain)
    }

    fn check(&self, version: Version) -> Result<(), Error> {
        let packet = PacketType::Publish;
        if self.pid.is_some() != (self.qos != Qos::AtMostOnce) {
            return Err(Error::Protocol { packet, rule: PID });
        }
        if self.dup && self.qos == Qos::AtMostOnce {
            return Err(Error::Malformed { packet, rule: DUP_QOS_0 });
        }
        primitive::check_string(packet, &self.topic)?;
        check_topic(&self.topic, &self.properties, version)?;
        if version.is_v5() {
            self.properties.check(Holder::Publish)
        } else {
            check_no_properties(packet, version, &self.properties)
        }
    }

    fn len(&self, version: Version) -> usize {
        let properties = if version.is_v5() { self.properties.wire_len() } else { 0 };
        let pid = if self.pid.is_some() { 2 } else { 0 };
        [primitive::field_len(self.topic.as_bytes()), pid, properties, self.payload.len()].iter().sum()
    }

    fn write(&self, version: Version, out: &mut BytesMut) {
        primitive::put_field(out, self.topic.as_bytes());
        if let Some(pid) = self.pid {
            out.put_u16(pid.get());
        }
        if version.is_v5() {
            self.properties.write(out);
        }
        out.extend_from_slice(&self.payload);
    }
}

/// A PUBLISH encoded once for all subscribers of one version, QoS and flags.
///
/// ```text
///  head: fixed header ‖ topic │ packet id, a subscriber's own │ tail: properties │ payload
/// ```
///
/// Cloning it shares the bytes; [`SharedPublish::parts`] gives what to write to one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPublish {
    qos: Qos,
    head: Bytes,
    tail: Bytes,
    payload: Bytes,
}

impl SharedPublish {
    /// Encodes `message` but for its packet id, which is ignored, and its DUP flag, which [`SharedPublish::again`] sets.
    pub fn new(version: Version, message: &Publish) -> Result<Self, Error> {
        let any_pid = (message.qos != Qos::AtMostOnce).then_some(PacketId::MIN);
        let first = Publish { dup: false, pid: any_pid, ..message.clone() };
        first.check(version)?;
        let remaining = first.len(version);
        FixedHeader::whole(PacketType::Publish, remaining)?;
        let mut head = BytesMut::with_capacity(primitive::field_len(first.topic.as_bytes()).saturating_add(5));
        FixedHeader::put(&mut head, PacketType::Publish, first.flags(), remaining);
        primitive::put_field(&mut head, first.topic.as_bytes());
        let mut tail = BytesMut::new();
        if version.is_v5() {
            tail.reserve(first.properties.wire_len());
            first.properties.write(&mut tail);
        }
        Ok(Self { qos: first.qos, head: head.freeze(), tail: tail.freeze(), payload: first.payload })
    }

    /// The same message marked as sent before. QoS 0 is never sent again: it stays as it is.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut head = BytesMut::from(&*self.head);
        if let (Some(first), true) = (head.first_mut(), self.qos != Qos::AtMostOnce) {
            *first |= DUP;
        }
        Self { head: head.freeze(), ..self.clone() }
    }

    /// The QoS, which decides whether a packet id is needed.
    pub const fn qos(&self) -> Qos {
        self.qos
    }

    /// Bytes of the whole packet: what a subscriber's Maximum Packet Size is compared with.
    pub fn len(&self) -> usize {
        let pid = if self.qos == Qos::AtMostOnce { 0 } else { 2 };
        [self.head.len(), pid, self.tail.len(), self.payload.len()].iter().sum()
    }

    /// Never: a packet has at least its fixed header.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The packet for one subscriber. Errors if a packet id is missing or one too many.
    pub fn parts(&self, pid: Option<PacketId>) -> Result<Parts, Error> {
        if pid.is_some() != (self.qos != Qos::AtMostOnce) {
            return Err(Error::Protocol { packet: PacketType::Publish, rule: PID });
        }
        Ok(Parts { shared: self.clone(), pid: pid.map(|pid| pid.get().to_be_bytes()) })
    }
}

/// One subscriber's packet, still in pieces: for a vectored write, or to be appended to a small one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    shared: SharedPublish,
    pid: Option<[u8; 2]>,
}

impl Parts {
    /// The pieces in the order of the wire; some may be empty.
    pub fn slices(&self) -> [&[u8]; 4] {
        let pid = self.pid.as_ref().map_or(&[][..], |pid| &pid[..]);
        [&self.shared.head, pid, &self.shared.tail, &self.shared.payload]
    }

    /// Appends the whole packet: cheaper than a vectored write when it is small.
    pub fn put(&self, out: &mut BytesMut) {
        out.reserve(self.shared.len());
        for slice in self.slices() {
            out.extend_from_slice(slice);
        }
    }
}

impl Properties {
    /// The properties of a received PUBLISH as they go on to a subscriber: those that describe the message unchanged and
    /// in their order (§3.3.2.3, "unaltered"), its expiry replaced by what is left of it, the subscriber's
    /// subscription identifiers, and no topic alias. The block is shared if nothing changes.
    pub fn forwarded(&self, expiry: Option<u32>, subscriptions: &[u32]) -> Result<Self, Error> {
        let hop = [PropertyId::TopicAlias, PropertyId::SubscriptionIdentifier];
        if subscriptions.is_empty()
            && !hop.iter().any(|&id| self.contains(id))
            && self.message_expiry_interval() == expiry
        {
            return Ok(self.clone());
        }
        let kept = self.iter().filter(|p| !hop.contains(&p.id()) && p.id() != PropertyId::MessageExpiryInterval);
        let expiry = expiry.map(Property::MessageExpiryInterval);
        let ids = subscriptions.iter().map(|&id| Property::SubscriptionIdentifier(id));
        Self::new(Holder::Publish, expiry.into_iter().chain(ids).chain(kept))
    }
}
