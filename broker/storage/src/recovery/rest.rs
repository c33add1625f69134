//! What lies beyond the end of the last whole batch.

use std::io;

use causeway_model::{Lineage, Position};

use crate::format::{BATCH_MAGIC, HEADER_BYTES, Header};
use crate::io::{File, ZEROS};
use crate::log::segment::Segment;

/// What a scan at every byte of the rest of a segment found.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Where, in the file, the last byte that is not zero ends; `None` when all is zeros: the log simply ends.
    pub(super) end: Option<u64>,
    /// The highest committed index that proves the first missing batch to have been whole.
    pub(super) committed: Option<u64>,
    /// The highest index that a header names.
    pub(super) last_index: Option<u64>,
    lineage: Lineage,
    index: u64,
}

const CHUNK: usize = 1 << 20;

impl Rest {
    /// Scans from `at`, where the batch of this index should have been, to `upto`.
    pub(super) fn read(
        file: &dyn File,
        segment: &Segment,
        at: Position,
        upto: Position,
        index: u64,
    ) -> io::Result<Self> {
        let mut rest = Self { lineage: segment.header.lineage, index, ..Self::default() };
        let (mut from, end) = (segment.offset(at), segment.offset(upto));
        // Chunks overlap by a header, so that one over the border is seen whole.
        let mut chunk = vec![0; CHUNK + HEADER_BYTES];
        while from < end {
            let wanted = usize::try_from(end - from).unwrap_or(usize::MAX).min(chunk.len());
            let buf = chunk.get_mut(..wanted).unwrap_or_default();
            let read = file.read_at(buf, from)?;
            rest.scan(buf.get(..read).unwrap_or_default(), from);
            from += CHUNK as u64;
        }
        Ok(rest)
    }

    fn scan(&mut self, bytes: &[u8], from: u64) {
        let Some(used) = used(bytes) else { return };
        self.end = Some(from + used as u64);
        let starts = bytes.windows(BATCH_MAGIC.len()).enumerate();
        for (at, _) in starts.filter(|(_, window)| **window == BATCH_MAGIC) {
            let header = bytes.get(at..).and_then(|rest| rest.first_chunk()).map(Header::decode);
            if let Some(Ok(header)) = header
                && header.lineage == self.lineage
            {
                self.meet(&header);
            }
        }
    }

    fn meet(&mut self, header: &Header) {
        if header.index >= self.index {
            self.last_index = self.last_index.max(Some(header.index));
        }
        // A batch's own header says nothing of its body: only what came after it does.
        if header.index > self.index && header.committed >= self.index {
            self.committed = self.committed.max(Some(header.committed));
        }
    }
}

/// How many bytes there are up to the last one that is not zero. Most of a segment's rest is zeros: whole stretches are
/// compared at once.
fn used(bytes: &[u8]) -> Option<usize> {
    let stretches = bytes.chunks(ZEROS.len());
    let last = stretches.clone().rposition(|stretch| ZEROS.get(..stretch.len()) != Some(stretch))?;
    let within = stretches.clone().nth(last)?.iter().rposition(|&byte| byte != 0)?;
    Some(last * ZEROS.len() + within + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batch, Draft};
    use crate::format::{BatchKind, SegmentHeader};
    use crate::io::{Fs, Mode, Sim};
    use causeway_model::Millis;
    use std::io::IoSlice;
    use std::path::Path;

    #[test]
    fn a_header_that_proves_something_is_found_wherever_it_is() {
        let header = SegmentHeader { lineage: Lineage(9), first: Position(0), first_index: 0, capacity: 0, prev: None };
        let segment = Segment::new(Path::new("/"), header);
        let draft =
            Draft { kind: BatchKind::Blank, term: 1, index: 7, committed: 6, time: Millis(0), groups: Vec::new() };
        let sealed = Batch::seal(draft, Lineage(9), Position(0), None).unwrap().header.bytes();
        let upto = Position(2 * CHUNK as u64 + 1000);
        for at in
            [0, 1, 33, CHUNK - 81, CHUNK - 80, CHUNK - 79, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 40, 2 * CHUNK + 920]
        {
            let file = Sim::new(0).open(Path::new("/f"), Mode::Create).unwrap();
            file.set_len(segment.offset(upto)).unwrap();
            let place = segment.offset(Position(at as u64));
            file.write_at(&mut [IoSlice::new(&sealed)], place).unwrap();
            let look = |index| Rest::read(&*file, &segment, Position(0), upto, index).unwrap();
            let rest = look(6);
            assert_eq!((rest.committed, rest.last_index), (Some(6), Some(7)), "at {at}");
            assert_eq!(rest.end, Some(place + 80));
            let own = look(7);
            assert_eq!((own.committed, own.last_index), (None, Some(7)), "it knows nothing of itself");
            assert_eq!(look(8).last_index, None);
        }
    }

    #[test]
    fn the_last_byte_that_is_not_zero_is_found_wherever_it_is() {
        let size = 3 * ZEROS.len() + 17;
        assert_eq!(used(&vec![0; size]), None);
        assert_eq!(used(&[]), None);
        for at in [0, 1, ZEROS.len() - 1, ZEROS.len(), 2 * ZEROS.len() + 5, size - 1] {
            let mut bytes = vec![0; size];
            bytes[at] = 1;
            bytes[at / 2] = 1;
            assert_eq!(used(&bytes), Some(at + 1));
        }
    }
}
