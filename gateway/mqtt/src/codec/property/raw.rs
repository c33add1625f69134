//! One property as it stands in the block: how to find its end, and what its value must be.

use super::{Holder, PropertyId, table::Shape};
use crate::codec::{
    Error, PacketType,
    primitive::{NUL, Rule, SHORT, UTF8, split_varint},
};

const UNKNOWN: Rule = "unknown property (§2.2.2.2)";
const ZERO: Rule = "property may not be 0 (§3.1.2.11.3, §3.1.2.11.4, §3.8.2.1.2)";
const NOT_BOOLEAN: Rule = "property is 0 or 1 (§3.1.2.11, §3.2.2.3, §3.3.2.3.2)";
const WILDCARD: Rule = "response topic contains a wildcard [MQTT-3.3.2-14]";
const EMPTY_TOPIC: Rule = "response topic is empty [MQTT-4.7.3-1]";

/// A value that borrows from the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Byte(u8),
    Two(u16),
    Four(u32),
    Varint(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair((&'a str, &'a str)),
}

/// Splits the first property off `block`, which is not empty.
pub(super) fn split<'a>(block: &mut &'a [u8]) -> Result<(PropertyId, Raw<'a>), Rule> {
    // Identifiers are variable byte integers, but all of them fit one byte: a longer one is unknown or padded.
    let [number] = array(block)?;
    let id = PropertyId::from_number(number).ok_or(UNKNOWN)?;
    let value = match id.shape() {
        Shape::Byte => Raw::Byte(u8::from_be_bytes(array(block)?)),
        Shape::Two => Raw::Two(u16::from_be_bytes(array(block)?)),
        Shape::Four => Raw::Four(u32::from_be_bytes(array(block)?)),
        Shape::Varint => {
            let (value, rest) = split_varint(block)?.ok_or(SHORT)?;
            *block = rest;
            Raw::Varint(value)
        }
        Shape::Text => Raw::Text(text(block)?),
        Shape::Binary => Raw::Binary(field(block)?),
        Shape::Pair => Raw::Pair((text(block)?, text(block)?)),
    };
    Ok((id, value))
}

/// Refuses values that a property may not have.
pub(super) fn check(holder: Holder, id: PropertyId, value: Raw<'_>) -> Result<(), Error> {
    let packet = holder.packet();
    let protocol = |rule| Err(Error::Protocol { packet, rule });
    match (id, value) {
        (PropertyId::TopicAlias, Raw::Two(0)) => Err(Error::TopicAlias { packet }),
        (PropertyId::ReceiveMaximum, Raw::Two(0))
        | (PropertyId::MaximumPacketSize, Raw::Four(0))
        | (PropertyId::SubscriptionIdentifier, Raw::Varint(0)) => protocol(ZERO),
        // Every property of one byte is a choice of two: availability, requests, payload format, Maximum QoS.
        (_, Raw::Byte(2..)) => protocol(NOT_BOOLEAN),
        (PropertyId::ResponseTopic, Raw::Text(topic)) => check_response_topic(packet, topic),
        _ => Ok(()),
    }
}

fn check_response_topic(packet: PacketType, topic: &str) -> Result<(), Error> {
    if topic.is_empty() {
        return Err(Error::TopicName { packet, rule: EMPTY_TOPIC });
    }
    if topic.contains(['+', '#']) {
        return Err(Error::TopicName { packet, rule: WILDCARD });
    }
    Ok(())
}

fn array<const N: usize>(block: &mut &[u8]) -> Result<[u8; N], Rule> {
    let (head, rest) = block.split_first_chunk::<N>().ok_or(SHORT)?;
    *block = rest;
    Ok(*head)
}

fn field<'a>(block: &mut &'a [u8]) -> Result<&'a [u8], Rule> {
    let len = u16::from_be_bytes(array(block)?);
    let (field, rest) = block.split_at_checked(usize::from(len)).ok_or(SHORT)?;
    *block = rest;
    Ok(field)
}

fn text<'a>(block: &mut &'a [u8]) -> Result<&'a str, Rule> {
    let field = field(block)?;
    if field.contains(&0) {
        return Err(NUL);
    }
    std::str::from_utf8(field).map_err(|_| UTF8)
}
