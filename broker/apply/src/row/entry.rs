//! The value of an `entry` row: all that a reader wants to know before it fetches the body.
//!
//! ```text
//! flags u8 ‖ length varint ‖ time u48 ‖ [stamp u64 if dense] ‖ [body position u64 if referred]
//! flags = qos (0-1) | retain (2) | expires (3) | referred (4) | dense (5)          bits 6 and 7 are zero
//! ```
//!
//! In a sparse queue the offset in the key is the stamp, and where nothing is referred the stamp is the body's
//! position: a plain message costs 24 + 9 bytes or so. The row is written without reading anything.

use causeway_model::{Millis, Offset, Position, Qos, QueueId, Stamp};

use crate::{Family, Mutations, key};

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const REFERRED: u8 = 1 << 4;
const DENSE: u8 = 1 << 5;
const RESERVED: u8 = 3 << 6;

/// The longest value: flags, five bytes of length, time, stamp, position.
const MAX: usize = 1 + 5 + 6 + 8 + 8;

/// What an entry says of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags {
    /// The quality of service it was published with.
    pub qos: Qos,
    /// Published with RETAIN.
    pub retain: bool,
    /// Has an expiry.
    pub expires: bool,
    /// The body lies at an older position than the stamp.
    pub referred: bool,
}

/// An entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the queue.
    pub offset: Offset,
    /// The record that made it.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body, from its kind on.
    pub length: u32,
    /// When it was stored.
    pub time: Millis,
    /// What a reader may want to know before fetching.
    pub flags: EntryFlags,
}

/// An encoded value: made once a message, put once a queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value {
    bytes: [u8; MAX],
    length: usize,
}

impl Value {
    /// Encodes an entry, but for its offset. A dense queue's says its stamp, a sparse one's offset is it.
    pub(crate) fn new(entry: &Entry, dense: bool) -> Self {
        let flags = entry.flags;
        let referred = entry.position != entry.stamp.position();
        let bit = |present: bool, bit: u8| if present { bit } else { 0 };
        let mut value = Self { bytes: [0; MAX], length: 0 };
        value.push(&[flags.qos.number()
            | bit(flags.retain, RETAIN)
            | bit(flags.expires, EXPIRES)
            | bit(referred, REFERRED)
            | bit(dense, DENSE)]);
        let mut rest = entry.length;
        while rest >= 0x80 {
            value.push(&[rest.to_le_bytes()[0] | 0x80]);
            rest >>= 7;
        }
        value.push(&[rest.to_le_bytes()[0]]);
        let [_, _, time @ ..] = entry.time.0.min((1 << 48) - 1).to_be_bytes();
        value.push(&time);
        if dense {
            value.push(&entry.stamp.0.to_be_bytes());
        }
        if referred {
            value.push(&entry.position.0.to_be_bytes());
        }
        value
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(to) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            to.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    /// Puts it in a queue.
    pub(crate) fn put(&self, queue: QueueId, offset: Offset, mutations: &mut Mutations) {
        let value = self.bytes.get(..self.length).unwrap_or_default();
        mutations.put(Family::Entry, &key::entry(queue, offset), value);
    }
}

/// Reads an entry from its row; none if that is malformed.
pub fn decode(key: &[u8], value: &[u8]) -> Option<Entry> {
    let (_, offset) = key.split_last_chunk::<8>()?;
    let offset = u64::from_be_bytes(*offset);
    let (&[bits], mut rest) = value.split_first_chunk()?;
    if bits & RESERVED != 0 {
        return None;
    }
    let mut length = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (&[byte], more) = rest.split_first_chunk()?;
        rest = more;
        length |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (low, mut rest) = rest.split_first_chunk::<6>()?;
    let mut time = [0; 8];
    time[2..].copy_from_slice(low);
    let mut number = |present: bool, otherwise: u64| {
        if !present {
            return Some(otherwise);
        }
        let (bytes, more) = rest.split_first_chunk()?;
        rest = more;
        Some(u64::from_be_bytes(*bytes))
    };
    let stamp = number(bits & DENSE != 0, offset)?;
    let position = number(bits & REFERRED != 0, stamp)?;
    Some(Entry {
        offset: Offset(offset),
        stamp: Stamp(stamp),
        position: Position(position),
        length,
        time: Millis(u64::from_be_bytes(time)),
        flags: EntryFlags {
            qos: Qos::from_number(bits & 3)?,
            retain: bits & RETAIN != 0,
            expires: bits & EXPIRES != 0,
            referred: bits & REFERRED != 0,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(entry: &Entry, dense: bool) -> (Vec<u8>, Vec<u8>) {
        let mut mutations = Mutations::new();
        Value::new(entry, dense).put(QueueId([9; 16]), entry.offset, &mut mutations);
        let put = mutations.iter().next().unwrap();
        (put.key.to_vec(), put.value.unwrap().to_vec())
    }

    proptest! {
        #[test]
        fn an_entry_comes_back(offset: u64, stamp: u64, referred in proptest::option::of(any::<u64>()), length: u32,
            time in 0..1_u64 << 48, qos in 0..3_u8, retain: bool, expires: bool, dense: bool) {
            let stamp = if dense { stamp } else { offset };
            let position = Position(referred.unwrap_or(stamp));
            let flags = EntryFlags { qos: Qos::from_number(qos).unwrap(), retain, expires, referred: position.0 != stamp };
            let entry =
                Entry { offset: Offset(offset), stamp: Stamp(stamp), position, length, time: Millis(time), flags };
            let (key, value) = row(&entry, dense);
            prop_assert_eq!(decode(&key, &value), Some(entry));
            prop_assert!((0..value.len()).all(|cut| decode(&key, &value[..cut]).is_none()));
        }

        #[test]
        fn any_bytes_are_an_entry_or_none(key in proptest::collection::vec(any::<u8>(), 0..30),
            value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&key, &value);
        }
    }

    #[test]
    fn a_plain_entry_is_frozen() {
        let flags = EntryFlags { qos: Qos::AtLeastOnce, retain: true, expires: false, referred: false };
        let entry = Entry {
            offset: Offset(0x1234),
            stamp: Stamp(0x1234),
            position: Position(0x1234),
            length: 300,
            time: Millis(0x0102_0304_0506),
            flags,
        };
        let (key, value) = row(&entry, false);
        assert_eq!(key, [&[9; 16][..], &[0, 0, 0, 0, 0, 0, 0x12, 0x34]].concat());
        assert_eq!(value, [0b101, 0xac, 0x02, 1, 2, 3, 4, 5, 6]);
    }
}
