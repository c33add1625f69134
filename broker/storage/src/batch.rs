//! A sealed batch in memory: its header and the groups that are its body.

use std::io::IoSlice;

use bytes::Bytes;
use causeway_model::{Lineage, Millis, Position};

use crate::error::{Error, Fault, Result};
use crate::format::{BatchKind, HEADER_BYTES, Header, Link, MAX_BODY_BYTES};
use crate::frame::{self, Group};

/// What a proposer knows of a batch. The writer adds position and chain: it seals it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What the batch is for.
    pub kind: BatchKind,
    /// The term of the leader; never less than the last batch's.
    pub term: u64,
    /// The index after the last batch's, see [`crate::Writer::next_index`].
    pub index: u64,
    /// The highest committed index that the proposer knows; the last batch's is taken where that is higher.
    pub committed: u64,
    /// The wall-clock time.
    pub time: Millis,
    /// The body: whole records, in order.
    pub groups: Vec<Group>,
}

/// A sealed batch. Its body is a gather list: the callers' buffers as they came, nothing copied.
#[derive(Debug)]
pub struct Batch {
    /// The sealed header.
    pub header: Header,
    parts: Box<[Part]>,
    held: usize,
}

#[derive(Debug)]
struct Part {
    /// Where its first byte is in the body.
    at: usize,
    bytes: Bytes,
}

/// What memory a batch costs beyond its bytes: the allocations of itself and its list.
const OVERHEAD_BYTES: usize = 192;

impl Batch {
    /// Seals a draft at `position`, after the batch that `prev` names.
    ///
    /// # Errors
    /// `TooLarge` when the body is over [`MAX_BODY_BYTES`].
    pub(crate) fn seal(draft: Draft, lineage: Lineage, position: Position, prev: Option<Link>) -> Result<Self> {
        let bytes = draft.groups.iter().map(Group::len).fold(0, usize::saturating_add);
        let length = u32::try_from(bytes)
            .ok()
            .filter(|&length| length <= MAX_BODY_BYTES)
            .ok_or(Error::TooLarge { bytes: bytes as u64, max: MAX_BODY_BYTES.into() })?;
        let (mut at, mut body_crc, mut held) = (0, 0, OVERHEAD_BYTES);
        let mut parts = Vec::with_capacity(draft.groups.len());
        for group in draft.groups {
            body_crc = group.extend_crc(body_crc);
            held += group.held() + size_of::<Part>();
            let length = group.len();
            parts.push(Part { at, bytes: group.into_bytes() });
            at += length;
        }
        let mut header = Header {
            kind: draft.kind,
            term: draft.term,
            index: draft.index,
            position,
            length,
            committed: draft.committed,
            time: draft.time,
            body_crc,
            lineage,
            prev_header_crc: prev.map_or(0, |link| link.header_crc),
            header_crc: 0,
        };
        header.seal();
        Ok(Self { header, parts: parts.into(), held })
    }

    /// A batch from its stored bytes: from a segment, or from the leader of its term.
    ///
    /// # Errors
    /// What is wrong with header, body or frames. Whether it belongs where it was found is for the caller to check.
    pub fn decode(header: &[u8; HEADER_BYTES], body: Bytes) -> Result<Self, Fault> {
        Self::verify(Header::decode(header)?, body)
    }

    /// A batch from a decoded header and the bytes that follow it.
    pub(crate) fn verify(header: Header, body: Bytes) -> Result<Self, Fault> {
        if u32::try_from(body.len()) != Ok(header.length) {
            return Err(Fault::Length(header.length));
        }
        if crc32c::crc32c(&body) != header.body_crc {
            return Err(Fault::BodyCrc);
        }
        frame::check(&body)?;
        let held = OVERHEAD_BYTES + size_of::<Part>() + body.len();
        Ok(Self { header, parts: [Part { at: 0, bytes: body }].into(), held })
    }

    /// Where the next batch starts.
    pub fn end(&self) -> Position {
        self.header.end()
    }

    /// The body's bytes, in order.
    pub fn body(&self) -> impl Iterator<Item = &Bytes> {
        self.parts.iter().map(|part| &part.bytes)
    }

    /// The records in order: position and payload of each.
    pub fn records(&self) -> impl Iterator<Item = (Position, Bytes)> + '_ {
        self.parts.iter().flat_map(move |part| {
            let mut offset = 0;
            std::iter::from_fn(move || {
                let payload = frame::payload(&part.bytes, offset)?;
                let position = self.body_start().plus((part.at + offset) as u64);
                offset += crate::format::FRAME_BYTES + payload.len();
                Some((position, payload))
            })
        })
    }

    /// The payload of the record at exactly this position; `None` if no record of this batch starts there.
    pub(crate) fn record(&self, at: Position) -> Option<Bytes> {
        let offset = usize::try_from(at.0.checked_sub(self.body_start().0)?).ok()?;
        let after = self.parts.partition_point(|part| part.at <= offset);
        let part = self.parts.get(after.checked_sub(1)?)?;
        frame::payload(&part.bytes, offset - part.at)
    }

    /// What the next batch chains to.
    pub(crate) fn link(&self) -> Link {
        Link::from(&self.header)
    }

    /// The memory that it keeps alive.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Header and body as one gather list.
    pub(crate) fn slices<'a>(&'a self, header: &'a [u8; HEADER_BYTES]) -> Vec<IoSlice<'a>> {
        let mut slices = Vec::with_capacity(1 + self.parts.len());
        slices.push(IoSlice::new(header));
        slices.extend(self.parts.iter().map(|part| IoSlice::new(&part.bytes)));
        slices
    }

    fn body_start(&self) -> Position {
        self.header.position.plus(HEADER_BYTES as u64)
    }
}
