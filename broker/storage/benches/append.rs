//! What the log costs: building groups, appending, syncing, reading from memory, and the crc choices behind them.
//!
//! `cargo bench -p causeway-storage`. The disk figures are of the directory that `BENCH_DIR` names (default: the system's
//! directory for temporary files; make sure that it is a disk).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BufMut;
use causeway_model::{Lineage, Millis, Position};
use causeway_storage::io::{File, Mode};
use causeway_storage::{Ahead, BatchKind, Disk, Draft, Fs, Group, GroupBuilder, Opened, Options};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const RECORD: usize = 256;

fn directory() -> PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

fn group(records: usize, size: usize) -> Group {
    let mut builder = GroupBuilder::with_capacity(records * (8 + size));
    for _ in 0..records {
        builder.record(|buf| buf.put_bytes(0x5a, size));
    }
    builder.finish()
}

/// Records framed and summed, 16 a group.
#[divan::bench(args = [64, 256, 4096])]
fn build_group_of_16(bencher: Bencher<'_, '_>, size: usize) {
    bencher.counter(ItemsCount::new(16_u64)).bench(|| group(16, black_box(size)));
}

/// The log without a disk: a file system whose files swallow what is written. What is left is the log's own work: sealing,
/// the gather list, the ring.
#[divan::bench(args = [1, 16, 256])]
fn append_256_b_records_to_no_disk(bencher: Bencher<'_, '_>, groups: usize) {
    let options = Options { segment_bytes: 1 << 38, ahead: Ahead::Inline, ..Options::default() };
    append(bencher, groups, Arc::new(Void), Path::new("/void"), options, true);
}

/// Into the page cache of zero-filled segments, without a sync: what the writer's thread costs a record on one core.
#[divan::bench(args = [1, 16, 256], sample_count = 20, sample_size = 20)]
fn append_256_b_records_to_the_page_cache(bencher: Bencher<'_, '_>, groups: usize) {
    let root = tempfile::tempdir_in(directory()).expect("a directory");
    let options = Options { segment_bytes: 1 << 30, ..Options::default() };
    append(bencher, groups, Arc::new(Disk), &root.path().join("log"), options, false);
}

fn append(bencher: Bencher<'_, '_>, groups: usize, fs: Arc<dyn Fs>, dir: &Path, options: Options, sync: bool) {
    let Opened { mut writer, .. } = causeway_storage::create(fs, dir, options, Lineage(1)).expect("a log");
    let group = group(16, RECORD);
    let bencher = bencher.counter(ItemsCount::new(16 * groups)).with_inputs(|| vec![group.clone(); groups]);
    bencher.bench_local_values(|groups| {
        let (index, time) = (writer.next_index(), Millis(1));
        // Nothing is called committed, so that nothing is synced that is not to be.
        let draft = Draft { kind: BatchKind::Data, term: 1, index, committed: 0, time, groups };
        let batch = writer.append(draft).expect("appended");
        if sync {
            writer.sync().expect("synced");
        }
        batch
    });
}

/// Group commit: append and sync, as the writer's thread does it.
#[divan::bench(args = [1, 16, 64, 1024], sample_count = 300, sample_size = 1)]
fn append_and_sync_batches_of_256_b_records(bencher: Bencher<'_, '_>, records: usize) {
    let root = tempfile::tempdir_in(directory()).expect("a directory");
    let options = Options { segment_bytes: 256 << 20, ..Options::default() };
    let opened =
        causeway_storage::create(Arc::new(Disk), &root.path().join("log"), options, Lineage(1)).expect("a log");
    let mut writer = opened.writer;
    let group = group(records, RECORD);
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let (index, time) = (writer.next_index(), Millis(1));
        let draft =
            Draft { kind: BatchKind::Data, term: 1, index, committed: index, time, groups: vec![group.clone()] };
        writer.append(draft).expect("appended");
        writer.sync().expect("synced")
    });
}

/// One write and one fdatasync into a file that grows.
#[divan::bench(args = [4096, 65_536, 262_144], sample_count = 500, sample_size = 1)]
fn sync_growing_file(bencher: Bencher<'_, '_>, bytes: usize) {
    let root = tempfile::tempdir_in(directory()).expect("a directory");
    let file = Disk.open(&root.path().join("f"), Mode::Create).expect("a file");
    sync(bencher, &*file, bytes);
}

/// One write and one fdatasync into a file of zeros that were synced before.
#[divan::bench(args = [4096, 65_536, 262_144], sample_count = 500, sample_size = 1)]
fn sync_zero_filled_file(bencher: Bencher<'_, '_>, bytes: usize) {
    let root = tempfile::tempdir_in(directory()).expect("a directory");
    let file = Disk.open(&root.path().join("f"), Mode::Create).expect("a file");
    let zeros = vec![0; 1 << 20];
    for at in 0..256 {
        file.write_at(&mut [std::io::IoSlice::new(&zeros)], at << 20).expect("written");
    }
    file.sync_data().expect("synced");
    sync(bencher, &*file, bytes);
}

fn sync(bencher: Bencher<'_, '_>, file: &dyn File, bytes: usize) {
    let data = vec![0x5a; bytes];
    let mut at = 0;
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        file.write_at(&mut [std::io::IoSlice::new(&data)], at).expect("written");
        file.sync_data().expect("synced");
        at += data.len() as u64;
    });
}

/// A record from the ring by its position, as each delivery of a message asks for it.
#[divan::bench(threads = [1, 2])]
fn cached(bencher: Bencher<'_, '_>) {
    let options = Options { segment_bytes: 1 << 38, ahead: Ahead::Inline, ..Options::default() };
    let Opened { mut writer, reader, .. } =
        causeway_storage::create(Arc::new(Void), Path::new("/void"), options, Lineage(1)).expect("a log");
    let group = group(16, RECORD);
    let mut positions: Vec<Position> = Vec::new();
    for index in 0..1000 {
        let groups = vec![group.clone(); 4];
        let draft = Draft { kind: BatchKind::Data, term: 1, index, committed: 0, time: Millis(1), groups };
        positions.extend(writer.append(draft).expect("appended").records().map(|(at, _)| at));
    }
    let counter = std::sync::atomic::AtomicUsize::new(0);
    bencher.counter(ItemsCount::new(64_u64)).bench(|| {
        let from = counter.fetch_add(64, std::sync::atomic::Ordering::Relaxed) % positions.len();
        for at in positions.iter().cycle().skip(from).take(64) {
            black_box(reader.cached(*at).expect("in memory"));
        }
    });
}

/// A known crc taken over by combining …
#[divan::bench]
fn crc_combine(bencher: Bencher<'_, '_>) {
    bencher.bench(|| crc32c::crc32c_combine(black_box(1), black_box(2), black_box(20_000)));
}

/// … against hashing the bytes again. Where the two cross is the threshold in `frame.rs`.
#[divan::bench(args = [256, 4096, 16_384, 32_768, 65_536])]
fn crc_hash(bencher: Bencher<'_, '_>, bytes: usize) {
    let data = vec![0x5a; bytes];
    bencher.counter(BytesCount::new(bytes)).bench(|| crc32c::crc32c(black_box(&data)));
}

/// A file system that keeps nothing.
#[derive(Debug)]
struct Void;

impl Fs for Void {
    fn create_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn open(&self, path: &Path, mode: Mode) -> std::io::Result<Arc<dyn File>> {
        match mode {
            Mode::Create => Ok(Arc::new(Void)),
            Mode::Read | Mode::Write => {
                Err(std::io::Error::new(std::io::ErrorKind::NotFound, path.display().to_string()))
            }
        }
    }
    fn rename(&self, _: &Path, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn remove(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> std::io::Result<Vec<causeway_storage::io::Entry>> {
        Ok(Vec::new())
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path) -> std::io::Result<causeway_storage::io::Lock> {
        Ok(causeway_storage::io::Lock::Ours(Box::new(Void)))
    }
    fn space(&self, _: &Path) -> std::io::Result<causeway_storage::Space> {
        Ok(causeway_storage::Space { total: u64::MAX, free: u64::MAX })
    }
}

impl causeway_storage::io::Guard for Void {}

impl File for Void {
    fn read_at(&self, _: &mut [u8], _: u64) -> std::io::Result<usize> {
        Ok(0)
    }
    fn write_at(&self, _: &mut [std::io::IoSlice<'_>], _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }
    fn size(&self) -> std::io::Result<u64> {
        Ok(0)
    }
}
