//! Values of `session` rows: lanes and subscriptions. In-flight rows have the form of `Progress` flights.

use bytes::BufMut;
use causeway_model::{Epoch, Position, ShardId, SubscribeOptions};

use crate::record::Kind;
use crate::record::wire::{Reader, put_starts};
use crate::record::{put_options, read_options};

const VERSION: u8 = 1;

/// A session's lane on this shard.
///
/// ```text
/// version u8 ‖ flags u8 ‖ epoch u64 ‖ cursor u64          flags = may have flights (0) | may have parked (1)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneRow {
    /// Progress of another epoch is ignored.
    pub(crate) epoch: Epoch,
    /// Everything at or below is finished.
    pub(crate) cursor: Position,
    /// In-flight rows may exist. While they do not, progress reads no row but this one.
    pub(crate) flights: bool,
    /// Parked rows may exist.
    pub(crate) parked: bool,
}

impl LaneRow {
    pub(crate) fn encode(&self) -> [u8; 18] {
        let mut value = [0; 18];
        let mut buf = value.as_mut_slice();
        buf.put_u8(VERSION);
        buf.put_u8(u8::from(self.flights) | u8::from(self.parked) << 1);
        buf.put_u64(self.epoch.0.0);
        buf.put_u64(self.cursor.0);
        value
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut r = Reader::row(Kind::Progress, value);
        if r.u8("version").ok()? != VERSION {
            return None;
        }
        let flags = r.u8("flags").ok()?;
        Some(Self {
            epoch: r.epoch().ok()?,
            cursor: r.position("cursor").ok()?,
            flights: flags & 1 != 0,
            parked: flags & 2 != 0,
        })
    }
}

/// A subscription, but for its filter.
///
/// ```text
/// version u8 ‖ options ‖ from          as in `Subscribe`
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionRow {
    pub(crate) options: SubscribeOptions,
    pub(crate) from: Vec<(ShardId, Position)>,
}

impl SubscriptionRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::with_capacity(32);
        buf.put_u8(VERSION);
        put_options(&mut buf, &self.options);
        put_starts(&mut buf, &self.from);
        buf
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut r = Reader::row(Kind::Subscribe, value);
        if r.u8("version").ok()? != VERSION {
            return None;
        }
        Some(Self { options: read_options(&mut r).ok()?, from: r.starts().ok()? })
    }
}
