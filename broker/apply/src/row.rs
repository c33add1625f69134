//! The values of rows, one file a shape. Keys are in [`crate::key`]. Frozen like records: a change is a new version
//! byte, read beside the old one.

use causeway_model::Position;

use crate::Family;

mod client;
mod entry;
mod meta;
mod session;

pub use client::{Head, SessionState, Timer};
pub(crate) use entry::Value as EntryValue;
pub use entry::{Entry, EntryFlags, decode as entry};
pub(crate) use meta::QueueHead;
pub use meta::{AppliedMark, GatewayState};
pub(crate) use meta::{read_topic_value, topic_value};
pub(crate) use session::{LaneRow, SubscriptionRow};

/// Where the body lies that an `entry` or `key` row leads to: once that is below the log's flushed first position the
/// row is dead, and a compaction filter may drop it. None for a row of another family or one that is malformed.
pub fn body_position(family: Family, key: &[u8], value: &[u8]) -> Option<Position> {
    if family == Family::Key {
        return key.last_chunk().map(|bytes| Position(u64::from_be_bytes(*bytes)));
    }
    if family == Family::Entry { entry(key, value).map(|entry| entry.position) } else { None }
}

/// The position in an applied mark's row; zero where there is none.
pub fn applied_position(value: Option<&bytes::Bytes>) -> Position {
    value.and_then(AppliedMark::decode).map_or(Position(0), |mark| mark.position)
}

#[cfg(test)]
mod tests;
