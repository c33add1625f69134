//! `Progress`: how far sessions have come on this shard.
//!
//! ```text
//! count ‖ lane…      lane   = sid 12 B ‖ epoch u64 ‖ has cursor u8 ‖ [cursor u64] ‖ count ‖ flight…
//!                    flight = stamp u64 ‖ position u64 ‖ qos (0-1) | state (2-4) | has pid (5) ‖ [pid u16]
//! ```

use bytes::{BufMut, BytesMut};
use causeway_model::{Epoch, PacketId, Position, Qos, Sid, Stamp};

use super::DecodeError;
use super::wire::{Reader, put_sid, put_varint};

/// How far one session has come on this shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneProgress {
    /// The session.
    pub sid: Sid,
    /// The caller's epoch.
    pub epoch: Epoch,
    /// Everything at or below is finished. Never moves back.
    pub cursor: Option<Position>,
    /// Deliveries whose state changed.
    pub flights: Vec<InFlight>,
}

/// A delivery that was started or finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which entry.
    pub stamp: Stamp,
    /// Where its body is.
    pub position: Position,
    /// The quality of service it is delivered with.
    pub qos: Qos,
    /// Its packet id.
    pub pid: Option<PacketId>,
    /// How far it has come.
    pub state: FlightState,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightState {
    /// PUBLISH was sent.
    Sent = 1,
    /// PUBREC came (QoS 2).
    Received = 2,
    /// Finished ahead of the cursor, or after it was parked.
    Done = 3,
    /// Given up for now, offered again later; the cursor may pass it.
    Parked = 4,
}

const STATE: u8 = 2;
const HAS_PID: u8 = 1 << 5;
const RESERVED: u8 = 3 << 6;

pub(super) fn encode(lanes: &[LaneProgress], buf: &mut BytesMut) {
    put_varint(buf, lanes.len() as u64);
    for lane in lanes {
        put_sid(buf, lane.sid);
        buf.put_u64(lane.epoch.0.0);
        buf.put_u8(u8::from(lane.cursor.is_some()));
        if let Some(cursor) = lane.cursor {
            buf.put_u64(cursor.0);
        }
        put_varint(buf, lane.flights.len() as u64);
        for flight in &lane.flights {
            buf.put_u64(flight.stamp.0);
            put_flight(buf, flight);
        }
    }
}

pub(super) fn decode(r: &mut Reader<'_>) -> Result<Vec<LaneProgress>, DecodeError> {
    let count = r.count(22, "lanes")?;
    let mut lanes = Vec::with_capacity(count);
    for _ in 0..count {
        let (sid, epoch) = (r.sid()?, r.epoch()?);
        let cursor = r.optional("cursor", |r| r.position("cursor"))?;
        let flights = r.count(17, "flights")?;
        let flights = (0..flights)
            .map(|_| {
                let stamp = Stamp(r.u64("flight")?);
                read_flight(r, stamp)
            })
            .collect::<Result<_, _>>()?;
        lanes.push(LaneProgress { sid, epoch, cursor, flights });
    }
    Ok(lanes)
}

/// Appends a delivery without its stamp; the session row has the same form.
pub(crate) fn put_flight(buf: &mut impl BufMut, flight: &InFlight) {
    buf.put_u64(flight.position.0);
    let pid = if flight.pid.is_some() { HAS_PID } else { 0 };
    buf.put_u8(flight.qos.number() | (flight.state as u8) << STATE | pid);
    if let Some(pid) = flight.pid {
        buf.put_u16(pid.get());
    }
}

/// Reads a delivery whose stamp is known.
pub(crate) fn read_flight(r: &mut Reader<'_>, stamp: Stamp) -> Result<InFlight, DecodeError> {
    let position = r.position("flight")?;
    let bits = r.u8("flight")?;
    let qos = Qos::from_number(bits & 3).filter(|_| bits & RESERVED == 0);
    let state = match bits >> STATE & 7 {
        1 => FlightState::Sent,
        2 => FlightState::Received,
        3 => FlightState::Done,
        4 => FlightState::Parked,
        _ => return Err(r.malformed("flight")),
    };
    let pid = match bits & HAS_PID {
        0 => None,
        _ => Some(PacketId::new(r.u16("pid")?).ok_or_else(|| r.malformed("pid"))?),
    };
    Ok(InFlight { stamp, position, qos: qos.ok_or_else(|| r.malformed("flight"))?, pid, state })
}
