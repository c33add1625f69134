//! Values of `client` and `timer` rows: heads of sessions and what ends them.

use std::time::Duration;

use bytes::BufMut;
use causeway_model::{ClientId, Epoch, Incarnation, Millis, Namespace, Position, Sid, Stamp};

use crate::record::wire::{Reader, put_bytes, put_duration, put_sid, put_varint};
use crate::record::{CloseReason, Kind};

const VERSION: u8 = 1;

/// The head of a session.
///
/// ```text
/// version u8 ‖ flags u8 ‖ closed u8 ‖ epoch u64 ‖ owner u128 ‖ attempt varint ‖ expiry ms varint
///            ‖ disconnected u64 ‖ filters u32 ‖ [due u64 ‖ stamp u64 if it has a timer] ‖ namespace ‖ client
/// flags = state (0-1) | persistent (2) | has timer (3) | has will (4)
/// closed = 0 | the reason's number
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Tenant.
    pub namespace: Namespace,
    /// The client's name.
    pub client: ClientId,
    /// The latest opening.
    pub epoch: Epoch,
    /// The gateway that holds, or held last, the connection.
    pub owner: Incarnation,
    /// Which of the owner's openings was the latest.
    pub attempt: u64,
    /// It has rows beyond its head.
    pub persistent: bool,
    /// Whether a connection holds it.
    pub state: SessionState,
    /// Why the last connection ended; none while connected, or if it was only superseded.
    pub closed: Option<CloseReason>,
    /// A will is stored with it.
    pub will: bool,
    /// How long it outlives its connection.
    pub expiry: Duration,
    /// When the last connection ended; meaningless while connected.
    pub disconnected: Millis,
    /// How many subscriptions it has.
    pub filters: u32,
    /// The timer row that will end it.
    pub timer: Option<(Millis, Stamp)>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// A connection holds it.
    Connected = 0,
    /// It waits for its client, until its expiry has passed.
    Disconnected = 1,
    /// The client has a newer session, so nobody can resume this one: it only waits to be deleted.
    Superseded = 2,
}

const STATE: u8 = 3;
const PERSISTENT: u8 = 4;
const HAS_TIMER: u8 = 8;
const HAS_WILL: u8 = 16;

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::with_capacity(96 + self.client.0.len());
        let bit = |present: bool, bit: u8| if present { bit } else { 0 };
        buf.put_u8(VERSION);
        buf.put_u8(
            self.state as u8
                | bit(self.persistent, PERSISTENT)
                | bit(self.timer.is_some(), HAS_TIMER)
                | bit(self.will, HAS_WILL),
        );
        buf.put_u8(self.closed.map_or(0, |reason| reason as u8));
        buf.put_u64(self.epoch.0.0);
        buf.put_u128(self.owner.0);
        put_varint(&mut buf, self.attempt);
        put_duration(&mut buf, self.expiry);
        buf.put_u64(self.disconnected.0);
        buf.put_u32(self.filters);
        if let Some((due, stamp)) = self.timer {
            buf.put_u64(due.0);
            buf.put_u64(stamp.0);
        }
        put_bytes(&mut buf, self.namespace.as_str().as_bytes());
        put_bytes(&mut buf, self.client.0.as_bytes());
        buf
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut r = Reader::row(Kind::SessionOpen, value);
        if r.u8("version").ok()? != VERSION {
            return None;
        }
        let flags = r.u8("flags").ok()?;
        let has = |bit: u8| flags & bit != 0;
        Some(Self {
            persistent: has(PERSISTENT),
            state: match flags & STATE {
                0 => SessionState::Connected,
                1 => SessionState::Disconnected,
                2 => SessionState::Superseded,
                _ => return None,
            },
            will: has(HAS_WILL),
            closed: match r.u8("closed").ok()? {
                0 => None,
                number => Some(CloseReason::from_number(number)?),
            },
            epoch: r.epoch().ok()?,
            owner: r.incarnation().ok()?,
            attempt: r.varint("attempt").ok()?,
            expiry: r.duration("expiry").ok()?,
            disconnected: Millis(r.u64("disconnected").ok()?),
            filters: r.u32("filters").ok()?,
            timer: if has(HAS_TIMER) { Some((Millis(r.u64("due").ok()?), Stamp(r.u64("stamp").ok()?))) } else { None },
            namespace: r.namespace().ok()?,
            client: r.client().ok()?,
        })
    }

    /// Whether a connection holds it.
    pub fn is_connected(&self) -> bool {
        self.state == SessionState::Connected
    }

    /// Whether a disconnected session's time is over.
    pub fn is_over(&self, now: Millis) -> bool {
        !self.is_connected() && self.disconnected.plus(self.expiry) <= now
    }
}

/// A timer row that ends a session.
///
/// ```text
/// key: due u64 ‖ stamp u64 ‖ kind u8          value: sid 12 B ‖ epoch u64
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// When.
    pub due: Millis,
    /// The record that set it.
    pub stamp: Stamp,
    /// The session.
    pub sid: Sid,
    /// Its epoch when the timer was set.
    pub epoch: Epoch,
}

impl Timer {
    pub(crate) fn value(sid: Sid, epoch: Epoch) -> Vec<u8> {
        let mut buf = Vec::with_capacity(Sid::LEN + 8);
        put_sid(&mut buf, sid);
        buf.put_u64(epoch.0.0);
        buf
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (due, rest) = key.split_first_chunk()?;
        let (stamp, _kind) = rest.split_first_chunk()?;
        let (sid, epoch) = value.split_first_chunk()?;
        Some(Self {
            due: Millis(u64::from_be_bytes(*due)),
            stamp: Stamp(u64::from_be_bytes(*stamp)),
            sid: Sid::from_bytes(*sid),
            epoch: Epoch(Position(u64::from_be_bytes(epoch.try_into().ok()?))),
        })
    }
}
