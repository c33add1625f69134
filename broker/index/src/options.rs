//! Every option that differs from RocksDB's default, with its reason.
//!
//! The load they are chosen for: one writer, batches of a few to a few hundred small rows with random keys; reads by
//! point and by short range, mostly of sessions that resume; rows of `entry` and `key` written once and dropped
//! together with the log that they point into; every other family small.

use std::thread;
use std::time::Duration;

use causeway_apply::{FAMILIES, Family};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompactionStyle, DBCompressionType,
    InfoLogger, LogLevel, LruCacheOptions, Options, SliceTransform, UniversalCompactOptions, WriteBufferManager,
};

use crate::reclaim::{Floor, Reclaim};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Bytes of a queue id, the prefix of each key of `entry`.
pub(crate) const QUEUE_PREFIX: usize = 16;

/// What an operator may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that memtables, blocks, indexes and filters may use together. At least 16 MiB are taken.
    pub memory_bytes: usize,
    /// Threads for flushes and compactions. At least 2 are taken, so that no flush waits for a compaction.
    pub background_jobs: u8,
    /// Bytes of one memtable. A flush, the reread after a crash and the cost of a random insert grow with it; the
    /// number of files and compactions grows as it shrinks.
    pub memtable_bytes: usize,
    /// How long a write or flush waits on a full disk before it fails, and with it the shard.
    pub full_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            memory_bytes: 96 * MIB,
            // A quarter of the machine: the rest belongs to connections, the log and apply.
            background_jobs: u8::try_from(cores / 4).unwrap_or(u8::MAX).clamp(2, 8),
            // Measured (docs/adr/0003): the nodes that an insert visits stay in the processor's cache, so that a random
            // queue costs the writer half of what it does at 16 MiB, and both threads together the least.
            memtable_bytes: 4 * MIB,
            full_wait: Duration::from_mins(10),
        }
    }
}

/// The two budgets that all families share.
pub(crate) struct Memory {
    pub(crate) cache: Cache,
    pub(crate) memtables: WriteBufferManager,
}

impl Memory {
    pub(crate) fn new(settings: &Settings) -> Self {
        let bytes = settings.memory_bytes.max(16 * MIB);
        let mut cache = LruCacheOptions::default();
        cache.set_capacity(bytes);
        // Four shards are enough for a handful of readers. With the default of up to 64 a shard of a small cache is
        // smaller than a file's filter, which is then read again for every seek (measured: 466 µs a scan, not 27).
        cache.set_num_shard_bits(2);
        let cache = Cache::new_lru_cache_opts(&cache);
        // Memtables are charged to the cache, so one number bounds both. A third of it in all; a flush of all families
        // begins before that is used up. No stall: a flush that cannot keep up is slowed down by max_write_buffer_number.
        let memtables = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 3, false, cache.clone());
        Self { cache, memtables }
    }
}

/// Options of the database as a whole.
pub(crate) fn database(settings: &Settings, memory: &Memory, fresh: bool) -> Options {
    let mut options = Options::default();
    // A missing database is an error unless the caller saw that there never was one: creating one over what is left
    // of another would lose it.
    options.create_if_missing(fresh);
    options.create_missing_column_families(fresh);
    options.set_error_if_exists(fresh);
    // Without a write-ahead log this is what keeps the families and the applied mark together across a crash.
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(&memory.memtables);
    options.set_max_background_jobs(i32::from(settings.background_jobs.max(2)));
    // One writer: the plain skip list insert beats the concurrent one, and no other writer is worth waiting for.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    // Writes out what flushes and compactions produce as they go, so that the log's fdatasync does not wait for it.
    options.set_bytes_per_sync(MIB as u64);
    // Whoever drops the last reference to old files must not be the one who deletes them: readers and apply do not wait.
    options.set_avoid_unnecessary_blocking_io(true);
    // All files stay open: there are few (see `target_file_size`), and opening them finds missing and cut ones.
    options.set_max_open_files(-1);
    // Statistics of each file would be read at open, for a heuristic that universal compaction does not use.
    options.set_skip_stats_update_on_db_open(true);
    // The list of files is replayed at open; each flush adds to it.
    options.set_max_manifest_file_size(4 * MIB);
    // Periodic dumps wake a thread for figures that `usage` gives when asked.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Info, log));
    options
}

/// RocksDB's own log goes where ours goes, not into files beside the data.
fn log(level: LogLevel, line: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => tracing::error!(target: "rocksdb", "{line}"),
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{line}"),
        // What RocksDB calls information is a page a flush.
        LogLevel::Info | LogLevel::Debug | LogLevel::Header => tracing::debug!(target: "rocksdb", "{line}"),
    }
}

/// All families, `default` first (RocksDB demands it; nothing is ever written to it).
pub(crate) fn families(settings: &Settings, memory: &Memory, floor: &Floor) -> Vec<ColumnFamilyDescriptor> {
    // With memtables of RocksDB's usual 64 MiB it would resume after a full disk only once so much is free.
    let mut unused = Options::default();
    unused.set_write_buffer_size(settings.memtable_bytes.max(64 * KIB));
    let none = ColumnFamilyDescriptor::new("default", unused);
    let ours = FAMILIES.map(|family| {
        let options = family_options(family, settings, memory, floor);
        ColumnFamilyDescriptor::new(family.name(), options)
    });
    std::iter::once(none).chain(ours).collect()
}

fn family_options(family: Family, settings: &Settings, memory: &Memory, floor: &Floor) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(settings.memtable_bytes.max(64 * KIB));
    // Three more may wait for their flush before a write has to: bursts and slow disks.
    options.set_max_write_buffer_number(4);
    // Eleven memtables with a block of a megabyte each would be mostly empty.
    options.set_arena_block_size(64 * KIB);
    // Queue ids are noise, but what follows them is not. Cheap enough to be on for the young files too.
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(family, memory));
    // An atomic flush gives each family that has a row a file, most of them tiny: merging eight at a time halves the
    // files that compactions sync. Filters keep eight runs cheap to read.
    options.set_level_zero_file_num_compaction_trigger(8);
    match family {
        Family::Entry => {
            // All reads of entries stay within one queue, most queues are in few files: the filter is over queue ids.
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(QUEUE_PREFIX));
            written_once(&mut options);
            options.set_compaction_filter_factory(Reclaim::new(family, floor));
        }
        Family::Key => {
            written_once(&mut options);
            options.set_compaction_filter_factory(Reclaim::new(family, floor));
        }
        Family::Session | Family::Timer | Family::Pin | Family::Client => {
            // Rows come and go, often from one end: a scan would step over every tombstone. Files that are half
            // tombstones are compacted at once.
            options.add_compact_on_deletion_collector_factory(1024, 512, 0.5);
        }
        Family::Meta | Family::Queue | Family::Filter | Family::Group | Family::Retained => {}
    }
    options
}

/// Universal compaction: a row with a random key is rewritten about once each time the data grows by a half, where
/// levels would rewrite it some ten times a level. Readers pay with more sorted runs, which the filters skip.
fn written_once(options: &mut Options) {
    options.set_compaction_style(DBCompactionStyle::Universal);
    let mut universal = UniversalCompactOptions::default();
    // Only a compaction of everything drops what fell below the floor: let dead rows be at most as much as live ones.
    universal.set_max_size_amplification_percent(100);
    options.set_universal_compaction_options(&universal);
    // A handful of files however large the index, so that opening them all stays quick.
    options.set_target_file_size_base(64 * MIB as u64);
}

fn table(family: Family, memory: &Memory) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&memory.cache);
    // Twice the default: a third less index; a seek decompresses one block either way.
    table.set_block_size(8 * KIB);
    // Indexes and filters count against the one budget; cut into pieces, so that a seek loads a piece and not the
    // filter of a million queues; the pieces' directory stays.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    // Nobody asks for one entry: only its queue id goes into the filter.
    table.set_whole_key_filtering(family != Family::Entry);
    table
}
