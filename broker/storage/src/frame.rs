//! Records in their frames: a caller's whole records, encoded once, summed once, in one buffer.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::Fault;
use crate::format::FRAME_BYTES;

/// From this size on it is cheaper to combine a known crc (about 17 µs, whatever the size) than to hash the bytes again
/// (about 20 GB/s): see `crc_combine` and `crc_hash` in `benches/append.rs`.
const COMBINE_BYTES: usize = 512 << 10;

/// A caller's whole records, contiguous, never split over batches. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Group {
    bytes: Bytes,
    /// Known only where that saves a second pass over the bytes.
    crc: Option<u32>,
    records: u32,
    held: usize,
}

impl Group {
    /// The frames, back to back.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// crc32c of all of it.
    pub fn crc(&self) -> u32 {
        self.crc.unwrap_or_else(|| crc32c::crc32c(&self.bytes))
    }

    /// How many records it has.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Its size in bytes, frames included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The memory it keeps: the buffer's capacity, which may be more than its length.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The crc32c of what `before` sums, followed by this group.
    pub(crate) fn extend_crc(&self, before: u32) -> u32 {
        match self.crc {
            Some(crc) => crc32c::crc32c_combine(before, crc, self.bytes.len()),
            None => crc32c::crc32c_append(before, &self.bytes),
        }
    }
}

/// Builds a [`Group`] in one buffer.
///
/// ```
/// use bytes::BufMut;
/// use causeway_storage::GroupBuilder;
///
/// let mut builder = GroupBuilder::with_capacity(64);
/// builder.record(|buf| buf.put_slice(b"one"));
/// builder.record(|buf| buf.put_slice(b"two"));
/// let group = builder.finish();
/// assert_eq!((group.records(), group.len()), (2, 2 * (8 + 3)));
/// ```
#[derive(Debug)]
pub struct GroupBuilder {
    buf: BytesMut,
    records: u32,
    /// crc32c of `buf[..summed]`; behind the end until a large record or the finish makes it worth its while.
    crc: u32,
    summed: usize,
}

impl GroupBuilder {
    /// A builder whose buffer holds `bytes`, frames included (8 a record), before it grows. The log keeps the buffer in
    /// its ring, so room that is not used costs memory there.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: BytesMut::with_capacity(bytes), records: 0, crc: 0, summed: 0 }
    }

    /// Adds the record that `encode` appends to the buffer. An encoder that appends nothing adds no record: a frame's
    /// payload is never empty, so that zeros on a disk are no record.
    ///
    /// Returns where the record's frame starts in the group: its position once the group's own position is known.
    pub fn record(&mut self, encode: impl FnOnce(&mut BytesMut)) -> usize {
        let start = self.buf.len();
        self.buf.put_bytes(0, FRAME_BYTES);
        encode(&mut self.buf);
        let Some((frame, payload)) = self.buf.get_mut(start..).and_then(|rest| rest.split_at_mut_checked(FRAME_BYTES))
        else {
            return start;
        };
        if payload.is_empty() {
            self.buf.truncate(start);
            return start;
        }
        let crc = crc32c::crc32c(payload);
        let mut to = frame;
        // A payload over 4 GiB saturates here and is refused by `append`, whose limit is far below.
        to.put_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        to.put_u32_le(crc);
        self.records = self.records.saturating_add(1);
        let length = payload.len();
        if length >= COMBINE_BYTES {
            self.sum_upto(start.saturating_add(FRAME_BYTES));
            self.crc = crc32c::crc32c_combine(self.crc, crc, length);
            self.summed = self.buf.len();
        }
        start
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// The group. Its buffer is moved, not copied.
    pub fn finish(mut self) -> Group {
        let crc = if self.buf.len() >= COMBINE_BYTES {
            self.sum_upto(self.buf.len());
            Some(self.crc)
        } else {
            None
        };
        let held = self.buf.capacity();
        Group { bytes: self.buf.freeze(), crc, records: self.records, held }
    }

    fn sum_upto(&mut self, end: usize) {
        if let Some(bytes) = self.buf.get(self.summed..end) {
            self.crc = crc32c::crc32c_append(self.crc, bytes);
            self.summed = end;
        }
    }
}

/// Splits the frame at the start of `bytes`: its length and crc, and what follows them.
pub(crate) fn head(bytes: &[u8]) -> Option<(u32, u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*length), u32::from_le_bytes(*crc), rest))
}

/// The payload of the frame at `at`, not verified against its crc.
pub(crate) fn payload(bytes: &Bytes, at: usize) -> Option<Bytes> {
    let (length, _, rest) = head(bytes.get(at..)?)?;
    let length = usize::try_from(length).ok()?;
    if length == 0 || length > rest.len() {
        return None;
    }
    let start = at.checked_add(FRAME_BYTES)?;
    Some(bytes.slice(start..start.checked_add(length)?))
}

/// Whether the frames fill `bytes` exactly. Their payloads are not looked at: the body's crc covers them.
pub(crate) fn check(mut bytes: &[u8]) -> Result<(), Fault> {
    while !bytes.is_empty() {
        let (length, _, rest) = head(bytes).ok_or(Fault::Frames)?;
        let length = usize::try_from(length).map_err(|_| Fault::Frames)?;
        if length == 0 {
            return Err(Fault::Frames);
        }
        bytes = rest.get(length..).ok_or(Fault::Frames)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(sizes: &[usize]) -> Group {
        let mut builder = GroupBuilder::with_capacity(0);
        for (i, &size) in sizes.iter().enumerate() {
            builder.record(|buf| buf.put_bytes(u8::try_from(i % 251).unwrap(), size));
        }
        builder.finish()
    }

    #[test]
    fn a_frame_is_length_crc_and_payload() {
        let mut builder = GroupBuilder::with_capacity(32);
        let at = builder.record(|buf| buf.put_slice(b"123456789"));
        let group = builder.finish();
        // e3069283 is the check value of crc32c.
        assert_eq!(group.bytes()[..], *b"\x09\0\0\0\x83\x92\x06\xe3123456789");
        assert_eq!((at, group.records()), (0, 1));
        assert_eq!(payload(group.bytes(), 0).unwrap(), b"123456789"[..]);
    }

    #[test]
    fn an_encoder_that_appends_nothing_adds_no_record() {
        let mut builder = GroupBuilder::with_capacity(32);
        builder.record(|buf| buf.put_slice(b"a"));
        builder.record(|_| {});
        let group = builder.finish();
        assert_eq!((group.records(), group.len()), (1, 9));
        check(group.bytes()).unwrap();
    }

    #[test]
    fn the_crc_is_that_of_the_bytes_whichever_way_it_is_reached() {
        let large = COMBINE_BYTES;
        let mixed = [100, large, 7, large + 1];
        for sizes in [&[1_usize, 2, 3][..], &[large], &mixed, &[large - 9, 1], &[large / 2, large / 2], &[]] {
            let group = group(sizes);
            assert_eq!(group.crc(), crc32c::crc32c(group.bytes()), "records of {sizes:?} bytes");
            let before = crc32c::crc32c(b"before");
            assert_eq!(group.extend_crc(before), crc32c::crc32c_append(before, group.bytes()), "{sizes:?}");
        }
    }

    #[test]
    fn frames_that_do_not_fill_the_bytes_are_refused() {
        let whole = group(&[5, 6]);
        check(whole.bytes()).unwrap();
        for cut in 1..whole.len() {
            let result = check(&whole.bytes()[..cut]);
            assert_eq!(result.is_ok(), cut == 13, "cut at {cut}");
        }
        assert_eq!(check(&[0; 8]), Err(Fault::Frames), "an empty record is no record");
    }

    #[test]
    fn a_payload_is_found_only_where_a_frame_fits() {
        let group = group(&[5, 6]);
        assert_eq!(payload(group.bytes(), 13).unwrap().len(), 6);
        assert!(payload(group.bytes(), group.len() - 3).is_none());
        assert!(payload(group.bytes(), usize::MAX).is_none());
    }
}
