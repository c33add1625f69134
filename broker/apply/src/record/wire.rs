//! The primitives of record bodies and row values: big-endian integers, lengths as varints, slices.

use std::time::Duration;

use bytes::{BufMut, Bytes};
use causeway_model::{ClientId, Epoch, Filter, Incarnation, Namespace, Position, ShardId, Sid, Text, Topic};

use super::{DecodeError, Kind};

/// Appends a number in groups of seven bits, the lowest first, the top bit set on all but the last.
pub(crate) fn put_varint(buf: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    buf.put_u8(value.to_le_bytes()[0]);
}

/// Appends length ‖ bytes.
pub(crate) fn put_bytes(buf: &mut impl BufMut, bytes: &[u8]) {
    put_varint(buf, bytes.len() as u64);
    buf.put_slice(bytes);
}

/// Appends a session's id.
pub(crate) fn put_sid(buf: &mut impl BufMut, sid: Sid) {
    buf.put_slice(&sid.to_bytes());
}

/// Appends a duration in milliseconds; one too long for that never ends anyway.
pub(crate) fn put_duration(buf: &mut impl BufMut, duration: Duration) {
    put_varint(buf, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}

/// Appends where something starts on each shard.
pub(crate) fn put_starts(buf: &mut impl BufMut, starts: &[(ShardId, Position)]) {
    put_varint(buf, starts.len() as u64);
    for (shard, position) in starts {
        put_varint(buf, u64::from(shard.0));
        put_varint(buf, position.0);
    }
}

/// Reads the fields of one record or row; every failure names kind and field.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    kind: Kind,
    /// What slices share memory with; none where a row is read in place, and they are copied.
    all: Option<&'a Bytes>,
    rest: &'a [u8],
}

type Decoded<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    /// Reads `all` from byte `at` on.
    pub(crate) fn new(kind: Kind, all: &'a Bytes, at: usize) -> Self {
        Self { kind, all: Some(all), rest: all.get(at..).unwrap_or_default() }
    }

    /// Reads a row's value or a part of its key; errors name the kind of record that wrote it.
    pub(crate) fn row(kind: Kind, rest: &'a [u8]) -> Self {
        Self { kind, all: None, rest }
    }

    pub(crate) fn malformed(&self, field: &'static str) -> DecodeError {
        DecodeError::Malformed { kind: self.kind, field }
    }

    /// Everything must have been read.
    pub(crate) fn finish(self) -> Decoded<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed("end")) }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: &'static str) -> Decoded<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed(field))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Decoded<u8> {
        self.array(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Decoded<u16> {
        self.array(field).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Decoded<u32> {
        self.array(field).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Decoded<u64> {
        self.array(field).map(u64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self, field: &'static str) -> Decoded<u128> {
        self.array(field).map(u128::from_be_bytes)
    }

    /// Refuses what does not fit 64 bits and what could be written shorter, so that a value has one form.
    pub(crate) fn varint(&mut self, field: &'static str) -> Decoded<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(field)?;
            let part = u64::from(byte & 0x7f);
            if (shift == 63 && part > 1) || (byte == 0 && shift > 0) {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed(field))
    }

    /// Length ‖ bytes.
    pub(crate) fn slice(&mut self, field: &'static str) -> Decoded<&'a [u8]> {
        let length = usize::try_from(self.varint(field)?).map_err(|_| self.malformed(field))?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed(field))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn str(&mut self, field: &'static str) -> Decoded<&'a str> {
        std::str::from_utf8(self.slice(field)?).map_err(|_| self.malformed(field))
    }

    /// Shares the bytes that were read from.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Decoded<Bytes> {
        self.slice(field).map(|slice| self.share(slice))
    }

    /// Everything that is left, shared.
    pub(crate) fn remaining(&mut self) -> Bytes {
        let rest = std::mem::take(&mut self.rest);
        self.share(rest)
    }

    fn share(&self, slice: &[u8]) -> Bytes {
        match self.all {
            Some(all) => all.slice_ref(slice),
            None => Bytes::copy_from_slice(slice),
        }
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Decoded<Text> {
        Text::try_from(self.bytes(field)?).map_err(|_| self.malformed(field))
    }

    /// A count of things that take at least `each` bytes, so that no count makes anybody reserve more than was sent.
    pub(crate) fn count(&mut self, each: usize, field: &'static str) -> Decoded<usize> {
        let count = usize::try_from(self.varint(field)?).map_err(|_| self.malformed(field))?;
        if count > self.rest.len() / each.max(1) { Err(self.malformed(field)) } else { Ok(count) }
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Decoded<bool> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(field)),
        }
    }

    /// A presence byte, then the value.
    pub(crate) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if self.flag(field)? { read(self).map(Some) } else { Ok(None) }
    }

    pub(crate) fn position(&mut self, field: &'static str) -> Decoded<Position> {
        self.u64(field).map(Position)
    }

    pub(crate) fn sid(&mut self) -> Decoded<Sid> {
        self.array("sid").map(Sid::from_bytes)
    }

    pub(crate) fn epoch(&mut self) -> Decoded<Epoch> {
        self.position("epoch").map(Epoch)
    }

    pub(crate) fn incarnation(&mut self) -> Decoded<Incarnation> {
        self.u128("incarnation").map(Incarnation)
    }

    pub(crate) fn duration(&mut self, field: &'static str) -> Decoded<Duration> {
        self.varint(field).map(Duration::from_millis)
    }

    pub(crate) fn namespace(&mut self) -> Decoded<Namespace> {
        let text = self.text("namespace")?;
        Namespace::new(text).map_err(|source| DecodeError::Name { kind: self.kind, field: "namespace", source })
    }

    pub(crate) fn topic(&mut self) -> Decoded<Topic> {
        let text = self.text("topic")?;
        Topic::new(text).map_err(|source| DecodeError::Name { kind: self.kind, field: "topic", source })
    }

    pub(crate) fn filter(&mut self) -> Decoded<Filter> {
        let text = self.text("filter")?;
        Filter::new(text).map_err(|source| DecodeError::Name { kind: self.kind, field: "filter", source })
    }

    pub(crate) fn client(&mut self) -> Decoded<ClientId> {
        self.text("client").map(ClientId)
    }

    pub(crate) fn starts(&mut self) -> Decoded<Vec<(ShardId, Position)>> {
        let count = self.count(2, "from")?;
        let mut starts = Vec::with_capacity(count);
        for _ in 0..count {
            let shard = u32::try_from(self.varint("from")?).map_err(|_| self.malformed("from"))?;
            starts.push((ShardId(shard), Position(self.varint("from")?)));
        }
        Ok(starts)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_comes_back(value in any::<u64>(), shift in 0..64_u32) {
            let value = value >> shift;
            let mut buf = BytesMut::new();
            put_varint(&mut buf, value);
            let bytes = buf.freeze();
            let mut reader = Reader::new(Kind::Check, &bytes, 0);
            prop_assert_eq!(reader.varint("value").unwrap(), value);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn a_varint_has_one_form_and_fits_64_bits() {
        for bad in [&[0x80, 0x00][..], &[0x81, 0x80, 0x00], &[0xff; 10], &[0x80]] {
            let bytes = Bytes::copy_from_slice(bad);
            assert!(Reader::new(Kind::Check, &bytes, 0).varint("value").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_that_are_there_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0x7f, 1, 2, 3]);
        assert!(Reader::new(Kind::Check, &bytes, 0).count(1, "list").is_err());
    }
}
