//! Every byte of the log's files, in one place. Integers are little-endian. The golden bytes in the tests freeze it.
//!
//! ```text
//! segment   00000000000000004096            named after its first position, 20 digits
//!           ┌──────────────┬───────┬───────┬─── ─ ─ ──┬─────────┐
//!           │ segment      │ batch │ batch │   ...    │ zeros   │   header block and zeros are outside
//!           │ header block │       │       │          │         │   the position space
//!           └──────────────┴───────┴───────┴─── ─ ─ ──┴─────────┘
//!            4096 bytes     ▲
//!                           first position
//! batch     ┌──────────────────┬────────┬────────┬─── ─
//!           │ header, 80 bytes │ record │ record │        body_crc covers the records,
//!           └──────────────────┴────────┴────────┴─── ─   header_crc the header's first 76 bytes
//! record    ┌────────────┬────────────┬─────────┐
//!           │ length u32 │ crc32c u32 │ payload │         length and crc32c of the payload, which is never empty
//!           └────────────┴────────────┴─────────┘
//! ```
//!
//! **A change of any layout raises [`VERSION`] and starts a new segment**, so that a release meets a layout it does not
//! know in a segment header, where it refuses, and never in a batch, where it might take it for a torn write.

use bytes::{Buf, BufMut};
use causeway_model::{Lineage, Millis, Position};

use crate::error::Fault;

/// The version of all layouts in a segment, and until there is a release that of records and rows too: what an earlier
/// build wrote is refused, and not read as something else.
pub const VERSION: u32 = 2;
/// The bytes of a sealed batch header.
pub const HEADER_BYTES: usize = 80;
/// The bytes of a record's frame before its payload.
pub const FRAME_BYTES: usize = 8;
/// The bytes that a segment's header takes: a block of its own, so that no append ever rewrites it.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// The largest body. A batch is one allocation when it is read back, so this bounds memory.
pub const MAX_BODY_BYTES: u32 = 128 << 20;
/// The name of the file that is zero-filled ahead.
pub const SPARE: &str = "spare";
/// The name of that file while it is being made.
pub const SPARE_NEW: &str = "spare.new";
/// The name of the lock file.
pub const LOCK: &str = "lock";
/// The name of the vote file.
pub const VOTE: &str = "vote";
/// The name of the vote file while it is being written.
pub const VOTE_NEW: &str = "vote.new";

/// The first bytes of a batch.
pub(crate) const BATCH_MAGIC: [u8; 4] = *b"CwB\x01";
const SEGMENT_MAGIC: [u8; 8] = *b"causeway";
const VOTE_MAGIC: [u8; 4] = *b"CwV\x01";
/// The bytes of a segment header that carry something; the rest of its block is zeros.
pub(crate) const SEGMENT_FIELD_BYTES: usize = 80;
pub(crate) const VOTE_BYTES: usize = 52;

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BatchKind {
    /// Records of callers.
    Data = 1,
    /// The first batch of a term; it has no records.
    Blank = 2,
    /// Who votes; it may carry records.
    Membership = 3,
}

/// The sealed header of a batch. It stands alone (`header_crc` over the rest of it) and chains to the one before it
/// (`prev_header_crc`), which is what keeps an old tail from ever being adopted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the batch is for.
    pub kind: BatchKind,
    /// The term of the leader that sealed it.
    pub term: u64,
    /// Its number in the log, dense from 0.
    pub index: u64,
    /// Where its header starts.
    pub position: Position,
    /// The bytes of its body.
    pub length: u32,
    /// The highest index that was committed when it was sealed; never less than its predecessor's.
    pub committed: u64,
    /// When it was sealed.
    pub time: Millis,
    /// crc32c of the body.
    pub body_crc: u32,
    /// The log it belongs to.
    pub lineage: Lineage,
    /// `header_crc` of the batch before it; 0 in batch 0.
    pub prev_header_crc: u32,
    /// crc32c of the header's other bytes.
    pub header_crc: u32,
}

impl Header {
    /// Where the next batch starts.
    pub fn end(&self) -> Position {
        self.position.plus(HEADER_BYTES as u64 + u64::from(self.length))
    }

    /// Fills in `header_crc` and gives the bytes.
    pub(crate) fn seal(&mut self) -> [u8; HEADER_BYTES] {
        let (raw, crc) = self.encode();
        self.header_crc = crc;
        raw
    }

    /// The bytes as they are stored.
    pub fn bytes(&self) -> [u8; HEADER_BYTES] {
        self.encode().0
    }

    fn encode(&self) -> ([u8; HEADER_BYTES], u32) {
        let mut raw = [0; HEADER_BYTES];
        let mut to = &mut raw[..];
        to.put_slice(&BATCH_MAGIC);
        to.put_u8(1);
        to.put_u8(self.kind as u8);
        to.put_u16_le(0);
        to.put_u32_le(self.length);
        to.put_u32_le(self.body_crc);
        to.put_u64_le(self.term);
        to.put_u64_le(self.index);
        to.put_u64_le(self.position.0);
        to.put_u64_le(self.committed);
        to.put_u64_le(self.time.0);
        to.put_u128_le(self.lineage.0);
        to.put_u32_le(self.prev_header_crc);
        let crc = seal(&mut raw);
        (raw, crc)
    }

    /// Reads a header and checks what can be checked without knowing its place: that it is whole and known.
    ///
    /// # Errors
    /// `Zeros`, `Magic`, `HeaderCrc`, `Version`, `Kind` or `Length`.
    pub fn decode(raw: &[u8; HEADER_BYTES]) -> Result<Self, Fault> {
        let mut from = &raw[..];
        let mut magic = [0; 4];
        from.copy_to_slice(&mut magic);
        if magic != BATCH_MAGIC {
            return Err(if raw.iter().all(|&byte| byte == 0) { Fault::Zeros } else { Fault::Magic });
        }
        let header_crc = unseal(raw).ok_or(Fault::HeaderCrc)?;
        let version = from.get_u8();
        let kind = from.get_u8();
        let flags = from.get_u16_le();
        if version != 1 || flags != 0 {
            return Err(Fault::Version(version.into()));
        }
        let header = Self {
            kind: BatchKind::decode(kind)?,
            length: from.get_u32_le(),
            body_crc: from.get_u32_le(),
            term: from.get_u64_le(),
            index: from.get_u64_le(),
            position: Position(from.get_u64_le()),
            committed: from.get_u64_le(),
            time: Millis(from.get_u64_le()),
            lineage: Lineage(from.get_u128_le()),
            prev_header_crc: from.get_u32_le(),
            header_crc,
        };
        if header.length > MAX_BODY_BYTES {
            return Err(Fault::Length(header.length));
        }
        Ok(header)
    }
}

impl BatchKind {
    fn decode(kind: u8) -> Result<Self, Fault> {
        match kind {
            1 => Ok(Self::Data),
            2 => Ok(Self::Blank),
            3 => Ok(Self::Membership),
            unknown => Err(Fault::Kind(unknown)),
        }
    }
}

/// What the next batch chains to: the last batch before a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its term.
    pub term: u64,
    /// Its index.
    pub index: u64,
    /// Its `header_crc`.
    pub header_crc: u32,
}

impl From<&Header> for Link {
    fn from(header: &Header) -> Self {
        Self { term: header.term, index: header.index, header_crc: header.header_crc }
    }
}

/// The header of a segment. It makes the floor of a trimmed log describe itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log it belongs to.
    pub lineage: Lineage,
    /// The position of its first batch; also its name.
    pub first: Position,
    /// The index of its first batch.
    pub first_index: u64,
    /// How many bytes of position space the file held when it was made. It never shrinks, so a shorter file was cut.
    pub capacity: u64,
    /// The batch before the segment; `None` before batch 0.
    pub prev: Option<Link>,
}

impl SegmentHeader {
    /// The bytes as they are stored.
    pub fn bytes(&self) -> [u8; SEGMENT_FIELD_BYTES] {
        let prev = self.prev.unwrap_or(Link { term: 0, index: 0, header_crc: 0 });
        let mut raw = [0; SEGMENT_FIELD_BYTES];
        let mut to = &mut raw[..];
        to.put_slice(&SEGMENT_MAGIC);
        to.put_u32_le(VERSION);
        to.put_u32_le(0);
        to.put_u128_le(self.lineage.0);
        to.put_u64_le(self.first.0);
        to.put_u64_le(self.first_index);
        to.put_u64_le(self.capacity);
        to.put_u64_le(prev.term);
        to.put_u64_le(prev.index);
        to.put_u32_le(prev.header_crc);
        seal(&mut raw);
        raw
    }

    /// Reads a segment header.
    ///
    /// # Errors
    /// `Zeros`, `Magic`, `HeaderCrc`, `Version`, or `Index` when first and previous index do not follow each other.
    pub fn decode(raw: &[u8; SEGMENT_FIELD_BYTES]) -> Result<Self, Fault> {
        let mut from = &raw[..];
        let mut magic = [0; 8];
        from.copy_to_slice(&mut magic);
        if magic != SEGMENT_MAGIC {
            return Err(if raw.iter().all(|&byte| byte == 0) { Fault::Zeros } else { Fault::Magic });
        }
        unseal(raw).ok_or(Fault::HeaderCrc)?;
        let version = from.get_u32_le();
        let flags = from.get_u32_le();
        if version != VERSION || flags != 0 {
            return Err(Fault::Version(version));
        }
        let lineage = Lineage(from.get_u128_le());
        let first = Position(from.get_u64_le());
        let first_index = from.get_u64_le();
        let capacity = from.get_u64_le();
        let link = Link { term: from.get_u64_le(), index: from.get_u64_le(), header_crc: from.get_u32_le() };
        let prev = (first_index != 0).then_some(link);
        match prev {
            Some(link) if link.index.checked_add(1) != Some(first_index) => {
                Err(Fault::Index { expected: link.index.saturating_add(1), found: first_index })
            }
            _ => Ok(Self { lineage, first, first_index, capacity, prev }),
        }
    }
}

/// For whom this replica voted; see [`crate::vote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The log the vote is about.
    pub lineage: Lineage,
    /// The replica that this data directory belongs to.
    pub node: u64,
    /// The term of the vote.
    pub term: u64,
    /// The candidate it went to.
    pub candidate: u64,
    /// Whether a majority granted it: the candidate leads the term.
    pub committed: bool,
}

impl Vote {
    pub(crate) fn bytes(&self) -> [u8; VOTE_BYTES] {
        let mut raw = [0; VOTE_BYTES];
        let mut to = &mut raw[..];
        to.put_slice(&VOTE_MAGIC);
        to.put_u8(1);
        to.put_u8(u8::from(self.committed));
        to.put_u16_le(0);
        to.put_u128_le(self.lineage.0);
        to.put_u64_le(self.node);
        to.put_u64_le(self.term);
        to.put_u64_le(self.candidate);
        seal(&mut raw);
        raw
    }

    pub(crate) fn decode(raw: &[u8; VOTE_BYTES]) -> Result<Self, Fault> {
        let mut from = &raw[..];
        let mut magic = [0; 4];
        from.copy_to_slice(&mut magic);
        if magic != VOTE_MAGIC {
            return Err(Fault::Magic);
        }
        unseal(raw).ok_or(Fault::HeaderCrc)?;
        let version = from.get_u8();
        if version != 1 {
            return Err(Fault::Version(version.into()));
        }
        let committed = from.get_u8() != 0;
        from.advance(2);
        let lineage = Lineage(from.get_u128_le());
        let (node, term, candidate) = (from.get_u64_le(), from.get_u64_le(), from.get_u64_le());
        Ok(Self { lineage, node, term, candidate, committed })
    }
}

/// The name of the segment whose first batch is at this position.
pub fn segment_name(first: Position) -> String {
    format!("{:020}", first.0)
}

/// The first position of the segment with this name; `None` if no segment is called so.
pub fn parse_segment_name(name: &str) -> Option<Position> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if digits { name.parse().ok().map(Position) } else { None }
}

/// Puts the crc32c of all but the last four bytes into the last four.
fn seal<const N: usize>(raw: &mut [u8; N]) -> u32 {
    let (fields, mut tail) = raw.split_at_mut(N - 4);
    let crc = crc32c::crc32c(fields);
    tail.put_u32_le(crc);
    crc
}

/// The crc32c in the last four bytes, if it is that of all the others.
fn unseal<const N: usize>(raw: &[u8; N]) -> Option<u32> {
    let (fields, mut tail) = raw.split_at(N - 4);
    let crc = tail.get_u32_le();
    (crc32c::crc32c(fields) == crc).then_some(crc)
}

#[cfg(test)]
mod tests;
