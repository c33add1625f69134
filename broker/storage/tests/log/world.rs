//! What every test needs: small segments, drafts, and a directory on a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use causeway_model::{Lineage, Millis, Position};
use causeway_storage::{Ahead, Batch, BatchKind, Disk, Draft, Fs, GroupBuilder, Mark, Opened, Options, Result, Sim};

pub(crate) const LINEAGE: Lineage = Lineage(0xCA05_E3A1);

/// Two pages of positions a segment, and a tail that holds a few batches: rolls and reads from disk come soon.
pub(crate) fn options() -> Options {
    Options { segment_bytes: 3 * 4096, tail_bytes: 2048, max_batch_bytes: 4096, ahead: Ahead::Inline }
}

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data/log")
}

pub(crate) fn create(sim: &Sim) -> Opened {
    causeway_storage::create(Arc::new(sim.clone()), &dir(), options(), LINEAGE).unwrap()
}

pub(crate) fn open(sim: &Sim, mark: Mark) -> Result<Opened> {
    causeway_storage::open(Arc::new(sim.clone()), &dir(), options(), mark)
}

/// A draft whose records have these sizes. Its bytes depend on index and term, so that two batches of one size differ.
pub(crate) fn draft(term: u64, index: u64, committed: u64, sizes: &[usize]) -> Draft {
    let mut builder = GroupBuilder::with_capacity(sizes.iter().sum::<usize>() + 8 * sizes.len());
    for (i, &size) in sizes.iter().enumerate() {
        let seed = [term, index, i as u64];
        builder.record(|buf| (0..size).for_each(|at| buf.put_u8(seed[at % 3].to_le_bytes()[at / 3 % 8])));
    }
    let groups = vec![builder.finish()];
    Draft { kind: BatchKind::Data, term, index, committed, time: Millis(1_700_000_000_000 + index), groups }
}

/// Appends one batch and makes it durable.
pub(crate) fn write(opened: &mut Opened, term: u64, sizes: &[usize]) -> Result<Arc<Batch>> {
    let index = opened.writer.next_index();
    let batch = opened.writer.append(draft(term, index, index.saturating_sub(1), sizes))?;
    opened.writer.sync()?;
    Ok(batch)
}

/// Header and body of a batch, to compare.
pub(crate) fn image(batch: &Batch) -> (causeway_storage::Header, Bytes) {
    (batch.header, batch.body().flatten().copied().collect())
}

/// Every batch from a position on, as far as it is durable.
pub(crate) fn replay(opened: &Opened, from: Position) -> Result<Vec<Arc<Batch>>> {
    opened.reader.batches(from).collect()
}

pub(crate) fn disk() -> (tempfile::TempDir, Arc<dyn Fs>) {
    (tempfile::tempdir().unwrap(), Arc::new(Disk))
}

pub(crate) fn mark(batch: &Batch) -> Mark {
    Mark { index: batch.header.index, term: batch.header.term, position: batch.end() }
}

pub(crate) fn segment_path(first: u64) -> PathBuf {
    Path::new("/data/log").join(format!("{first:020}"))
}
