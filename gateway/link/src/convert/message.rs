//! Messages and what hangs on them: qualities, options, packet ids, deliveries in flight.

use std::time::Duration;

use causeway_compute::port::{FlightState, InFlight};
use causeway_model::{
    ClientId, Epoch, Message, Millis, PacketId, Position, Properties, Publisher, Qos, RetainHandling, ShardId, Sid,
    Stamp, SubscribeOptions, Topic,
};

use super::{Malformed, bytes_of, millis, namespace, number, text};
use crate::proto as pb;

const RETAIN: u32 = 1 << 2;

/// A message, its body and text shared.
pub(crate) fn message_to(message: &Message) -> pb::Message {
    pb::Message {
        namespace: bytes_of(message.namespace.text()),
        topic: bytes_of(message.topic.text()),
        flags: u32::from(message.qos.number()) | if message.retain { RETAIN } else { 0 },
        expiry_ms: message.expiry.map(millis),
        born: message.born.0,
        client: bytes_of(&message.publisher.client.0),
        session: message.publisher.session.map(session_to),
        pid: pid_to(message.publisher.pid),
        properties: message.properties.encoded().clone(),
        body: message.body.clone(),
    }
}

/// The message that came.
pub(crate) fn message_from(message: pb::Message) -> Result<Message, Malformed> {
    let field = "topic";
    let topic = Topic::new(text(field, message.topic)?).map_err(|error| Malformed::Name { field, error })?;
    let session = message.session.map(session_from);
    Ok(Message {
        namespace: namespace(message.namespace)?,
        topic,
        qos: qos(message.flags)?,
        retain: message.flags & RETAIN != 0,
        expiry: message.expiry_ms.map(Duration::from_millis),
        born: Millis(message.born),
        publisher: Publisher {
            client: ClientId(text("client", message.client)?),
            session,
            pid: pid_from(message.pid)?,
        },
        properties: Properties::from_encoded(message.properties)?,
        body: message.body,
    })
}

pub(super) fn session_to((sid, epoch): (Sid, Epoch)) -> pb::SessionEpoch {
    pb::SessionEpoch { home: sid.home.0, position: sid.position.0, epoch: epoch.0.0 }
}

pub(super) fn session_from(session: pb::SessionEpoch) -> (Sid, Epoch) {
    let sid = Sid { home: ShardId(session.home), position: Position(session.position) };
    (sid, Epoch(Position(session.epoch)))
}

/// The quality of service in the two lowest bits.
pub(super) fn qos(flags: u32) -> Result<Qos, Malformed> {
    let number = flags & 3;
    let qos = u8::try_from(number).ok().and_then(Qos::from_number);
    qos.ok_or(Malformed::Number { field: "quality of service", found: number.into() })
}

pub(super) fn pid_to(pid: Option<PacketId>) -> u32 {
    pid.map_or(0, |pid| pid.get().into())
}

pub(super) fn pid_from(pid: u32) -> Result<Option<PacketId>, Malformed> {
    number::<u16>("packet id", pid).map(PacketId::new)
}

pub(super) fn flight_to(flight: &InFlight) -> pb::Flight {
    pb::Flight {
        stamp: flight.stamp.0,
        position: flight.position.0,
        flags: u32::from(flight.qos.number()) | (flight.state as u32) << 2,
        pid: pid_to(flight.pid),
    }
}

pub(super) fn flight_from(flight: &pb::Flight) -> Result<InFlight, Malformed> {
    let state = match flight.flags >> 2 {
        1 => FlightState::Sent,
        2 => FlightState::Received,
        3 => FlightState::Done,
        4 => FlightState::Parked,
        other => return Err(Malformed::Number { field: "flight state", found: other.into() }),
    };
    Ok(InFlight {
        stamp: Stamp(flight.stamp),
        position: Position(flight.position),
        qos: qos(flight.flags)?,
        pid: pid_from(flight.pid)?,
        state,
    })
}

const NO_LOCAL: u32 = 1 << 2;
const AS_PUBLISHED: u32 = 1 << 3;
const HANDLING: u32 = 4;

pub(super) fn options_to(options: SubscribeOptions) -> pb::Options {
    let handling = match options.retain_handling {
        RetainHandling::Send => 0,
        RetainHandling::SendIfNew => 1,
        RetainHandling::Skip => 2,
    };
    let mut flags = u32::from(options.qos.number()) | handling << HANDLING;
    flags |= if options.no_local { NO_LOCAL } else { 0 };
    flags |= if options.retain_as_published { AS_PUBLISHED } else { 0 };
    pb::Options { flags, id: options.id.unwrap_or_default() }
}

pub(super) fn options_from(options: pb::Options) -> Result<SubscribeOptions, Malformed> {
    let retain_handling = match options.flags >> HANDLING {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::Skip,
        other => return Err(Malformed::Number { field: "retain handling", found: other.into() }),
    };
    Ok(SubscribeOptions {
        qos: qos(options.flags)?,
        no_local: options.flags & NO_LOCAL != 0,
        retain_as_published: options.flags & AS_PUBLISHED != 0,
        retain_handling,
        id: (options.id != 0).then_some(options.id),
    })
}
