//! `Message`: the record that carries a body.
//!
//! ```text
//! bits  = qos (0-1) ‖ retain (2) ‖ has expiry (3) ‖ has session (4) ‖ has pid (5) ‖ has server queue (6) ‖ zero (7)
//! body  = born u64 ‖ [expiry ms varint] ‖ [server queue u16] ‖ [sid 12 B ‖ epoch u64] ‖ [pid u16]
//!         ‖ namespace ‖ topic ‖ client ‖ properties ‖ payload to the end
//! ```
//!
//! What apply needs comes first, so it reads a [`MessageHead`] and never touches properties or payload.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_model::{Epoch, Millis, PacketId, Properties, Publisher, Qos, Sid};

use super::wire::{Reader, put_bytes, put_duration, put_sid};
use super::{DecodeError, FIRST_LEVEL, HEADER_LEN, Header, Kind};

const RETAIN: u8 = 1 << 2;
const EXPIRY: u8 = 1 << 3;
const SESSION: u8 = 1 << 4;
const PID: u8 = 1 << 5;
const SERVER_QUEUE: u8 = 1 << 6;
const RESERVED: u8 = 1 << 7;

/// Stores a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message.
    pub message: causeway_model::Message,
    /// The queue of the server topic (the topic's first level, if there is one of that name) that it must enter;
    /// otherwise a hash of the topic chooses.
    pub server_queue: Option<u16>,
}

/// A message without properties and payload, borrowed from its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead<'a> {
    /// The quality of service it was published with.
    pub qos: Qos,
    /// Published with RETAIN.
    pub retain: bool,
    /// Has an expiry.
    pub expires: bool,
    /// When the first server read it.
    pub born: Millis,
    /// See [`Message::server_queue`].
    pub server_queue: Option<u16>,
    /// The publisher's persistent session.
    pub session: Option<(Sid, Epoch)>,
    /// The packet id under which it was published.
    pub pid: Option<PacketId>,
    /// The tenant. Valid UTF-8, nothing else is checked.
    pub namespace: &'a str,
    /// The topic. Valid UTF-8, nothing else is checked.
    pub topic: &'a str,
}

struct Fixed {
    qos: Qos,
    retain: bool,
    expiry: Option<std::time::Duration>,
    born: Millis,
    server_queue: Option<u16>,
    session: Option<(Sid, Epoch)>,
    pid: Option<PacketId>,
}

impl<'a> MessageHead<'a> {
    /// Reads it from a `Message` record's payload.
    pub fn read(payload: &'a Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Kind::Message, payload, HEADER_LEN);
        let fixed = fixed(payload, &mut reader)?;
        Ok(Self {
            qos: fixed.qos,
            retain: fixed.retain,
            expires: fixed.expiry.is_some(),
            born: fixed.born,
            server_queue: fixed.server_queue,
            session: fixed.session,
            pid: fixed.pid,
            namespace: reader.str("namespace")?,
            topic: reader.str("topic")?,
        })
    }
}

impl Message {
    pub(super) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(Kind::Message, payload, HEADER_LEN);
        let fixed = fixed(payload, &mut reader)?;
        let message = causeway_model::Message {
            qos: fixed.qos,
            retain: fixed.retain,
            expiry: fixed.expiry,
            born: fixed.born,
            namespace: reader.namespace()?,
            topic: reader.topic()?,
            publisher: Publisher { client: reader.client()?, session: fixed.session, pid: fixed.pid },
            properties: Properties::from_encoded(reader.bytes("properties")?)
                .map_err(|_| reader.malformed("properties"))?,
            body: reader.remaining(),
        };
        Ok(Self { message, server_queue: fixed.server_queue })
    }
}

fn fixed(payload: &[u8], reader: &mut Reader<'_>) -> Result<Fixed, DecodeError> {
    let header = Header::read(payload).ok_or(DecodeError::Headless)?;
    let bits = header.bits;
    let qos = Qos::from_number(bits & 3).filter(|_| bits & RESERVED == 0).ok_or_else(|| reader.malformed("flags"))?;
    let has = |bit: u8| bits & bit != 0;
    Ok(Fixed {
        qos,
        retain: has(RETAIN),
        born: Millis(reader.u64("born")?),
        expiry: has(EXPIRY).then(|| reader.duration("expiry")).transpose()?,
        server_queue: has(SERVER_QUEUE).then(|| reader.u16("server queue")).transpose()?,
        session: has(SESSION).then(|| Ok((reader.sid()?, reader.epoch()?))).transpose()?,
        pid: has(PID).then(|| PacketId::new(reader.u16("pid")?).ok_or_else(|| reader.malformed("pid"))).transpose()?,
    })
}

/// Appends the record of a message: the one copy of its payload.
pub fn encode_message(message: &causeway_model::Message, server_queue: Option<u16>, buf: &mut BytesMut) {
    let publisher = &message.publisher;
    let bit = |present: bool, bit: u8| if present { bit } else { 0 };
    let bits = message.qos.number()
        | bit(message.retain, RETAIN)
        | bit(message.expiry.is_some(), EXPIRY)
        | bit(publisher.session.is_some(), SESSION)
        | bit(publisher.pid.is_some(), PID)
        | bit(server_queue.is_some(), SERVER_QUEUE);
    let (properties, body) = (message.properties.encoded(), &message.body);
    let names = message.namespace.as_str().len() + message.topic.as_str().len() + publisher.client.0.len();
    buf.reserve(80 + names + properties.len() + body.len());
    Header::write(Kind::Message, FIRST_LEVEL, bits, buf);
    buf.put_u64(message.born.0);
    if let Some(expiry) = message.expiry {
        put_duration(buf, expiry);
    }
    if let Some(queue) = server_queue {
        buf.put_u16(queue);
    }
    if let Some((sid, epoch)) = publisher.session {
        put_sid(buf, sid);
        buf.put_u64(epoch.0.0);
    }
    if let Some(pid) = publisher.pid {
        buf.put_u16(pid.get());
    }
    put_bytes(buf, message.namespace.as_str().as_bytes());
    put_bytes(buf, message.topic.as_str().as_bytes());
    put_bytes(buf, publisher.client.0.as_bytes());
    put_bytes(buf, properties);
    buf.put_slice(body);
}

/// Reads a message back from its record's payload; topic, client, properties and body share the payload's memory.
pub fn decode_message(payload: &Bytes) -> Result<causeway_model::Message, DecodeError> {
    let header = Header::read(payload).ok_or(DecodeError::Headless)?;
    let kind = header.supported()?;
    if kind != Kind::Message {
        return Err(DecodeError::Malformed { kind, field: "kind" });
    }
    Message::decode(payload).map(|record| record.message)
}
