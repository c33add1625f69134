//! Opening the database and reaching its families.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use causeway_apply::{FAMILIES, Family, TablesError};
use causeway_model::Position;
use rocksdb::{ColumnFamily, DB, ErrorKind, properties};

use crate::directory::{Directory, Found};
use crate::options::{self, Memory};
use crate::rebuild::{self, Progress, Rebuilt};
use crate::reclaim::Floor;
use crate::{Error, Settings};

/// The tables of one shard; see the crate. Shared by reference: one thread writes, any number reads.
pub struct Db {
    pub(crate) rocks: DB,
    pub(crate) directory: Directory,
    pub(crate) floor: Floor,
    pub(crate) flushed: AtomicU64,
    /// Held while a checkpoint is made: two at once would make it in the same place.
    pub(crate) checkpointing: Mutex<()>,
    pub(crate) full_wait: Duration,
    memory: Memory,
}

/// What the database holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of rows that are in memory only, and of those being flushed.
    pub memtable_bytes: u64,
    /// Bytes of the one cache: memtables' share, blocks, indexes, filters.
    pub cache_bytes: u64,
    /// Bytes of the sorted files.
    pub file_bytes: u64,
    /// Rows, as RocksDB guesses.
    pub rows: u64,
    /// Bytes that compactions want to rewrite.
    pub compaction_bytes: u64,
}

impl Db {
    /// Opens the tables in `directory`, or makes empty ones where there never were any. Reads nothing per queue: what
    /// it costs follows the number of files, which is small.
    ///
    /// # Errors
    /// [`Error::Damaged`] asks for [`rebuild`](crate::rebuild()); any other error leaves everything as it is.
    pub fn open(directory: &Path, settings: &Settings) -> Result<Self, Error> {
        let directory = Directory::open(directory)?;
        let path = directory.tables();
        let fresh = match directory.find()? {
            Found::Nothing => true,
            Found::Database => false,
            Found::Damage(reason) => return Err(Error::Damaged { path, reason }),
        };
        let (memory, floor) = (Memory::new(settings), Floor::default());
        let database = options::database(settings, &memory, fresh);
        let families = options::families(settings, &memory, &floor);
        let rocks = DB::open_cf_descriptors(&database, &path, families).map_err(|source| refused(&path, source))?;
        if fresh {
            directory.settle()?;
        }
        let db = Self {
            rocks,
            directory,
            floor,
            flushed: AtomicU64::new(0),
            checkpointing: Mutex::new(()),
            full_wait: settings.full_wait,
            memory,
        };
        // Whatever opened was on disk.
        match db.applied() {
            Ok(applied) => db.covered(applied),
            Err(error) if is_corruption(&error) => return Err(Error::Damaged { path, reason: error.to_string() }),
            Err(error) => return Err(error.into()),
        }
        Ok(db)
    }

    /// Opens the tables, and where they are damaged, lost or older than the log, first puts the newest good checkpoint
    /// in their place. The caller replays the log after [`Db::applied`] in either case.
    ///
    /// `log_first` is the first position that the log still has; zero where that is not known, which never refuses.
    ///
    /// # Errors
    /// [`Error::Unrecoverable`] where nothing reaches up to `log_first`; see [`rebuild`](crate::rebuild()).
    pub fn open_or_rebuild(
        directory: &Path,
        settings: &Settings,
        log_first: Position,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(Self, Option<Rebuilt>), Error> {
        let reason = match Self::open(directory, settings) {
            Ok(db) => {
                let applied = db.applied()?;
                if applied >= log_first {
                    return Ok((db, None));
                }
                format!("it ends at {applied}")
            }
            Err(Error::Damaged { reason, .. }) => reason,
            Err(error) => return Err(error),
        };
        let rebuilt = rebuild::replace(directory, settings, log_first, reason, progress)?;
        Ok((Self::open(directory, settings)?, Some(rebuilt)))
    }

    /// Rewrites every family without its dropped rows and tombstones, and waits. For tools and tests: compactions run
    /// by themselves.
    pub fn compact(&self) -> Result<(), TablesError> {
        for family in FAMILIES {
            self.rocks.compact_range_cf(self.family("compact", family)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }

    /// What it holds now. Cheap enough for every scrape.
    pub fn usage(&self) -> Usage {
        let sum = |property| {
            let handles = FAMILIES.iter().filter_map(|family| self.rocks.cf_handle(family.name()));
            // A property that cannot be read counts as nothing: this is for people to look at.
            handles.filter_map(|handle| self.rocks.property_int_value_cf(handle, property).ok()?).sum()
        };
        Usage {
            memtable_bytes: sum(properties::SIZE_ALL_MEM_TABLES),
            cache_bytes: self.memory.cache.get_usage() as u64,
            file_bytes: sum(properties::TOTAL_SST_FILES_SIZE),
            rows: sum(properties::ESTIMATE_NUM_KEYS),
            compaction_bytes: sum(properties::ESTIMATE_PENDING_COMPACTION_BYTES),
        }
    }

    pub(crate) fn family(&self, operation: &'static str, family: Family) -> Result<&ColumnFamily, TablesError> {
        self.rocks.cf_handle(family.name()).ok_or_else(|| TablesError {
            operation,
            family,
            // All are opened at open; without one of them there is no Db.
            source: "the family is not open".into(),
        })
    }

    /// All of them, in the order of their numbers.
    pub(crate) fn families(&self, operation: &'static str) -> Result<Vec<&ColumnFamily>, TablesError> {
        FAMILIES.iter().map(|family| self.family(operation, *family)).collect()
    }

    /// The error of a call. Where RocksDB met something it did not write, the next open rebuilds.
    pub(crate) fn failed(&self, operation: &'static str, family: Family, source: rocksdb::Error) -> TablesError {
        if source.kind() == ErrorKind::Corruption {
            let reason = format!("{operation} {family}: {source}");
            tracing::error!(path = %self.directory.root().display(), reason, "the index is damaged");
            if let Err(error) = self.directory.distrust(&reason) {
                tracing::error!(%error, "cannot note that the index is damaged: the next open may not see it");
            }
        }
        TablesError { operation, family, source: source.into() }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("root", &self.directory.root()).finish_non_exhaustive()
    }
}

fn is_corruption(error: &TablesError) -> bool {
    error.source.downcast_ref::<rocksdb::Error>().is_some_and(|source| source.kind() == ErrorKind::Corruption)
}

/// Only corruption speaks against the files; a lock, a permission or a full disk does not.
fn refused(path: &Path, source: rocksdb::Error) -> Error {
    let path = path.to_owned();
    if source.kind() == ErrorKind::Corruption {
        Error::Damaged { path, reason: source.into_string() }
    } else {
        Error::Open { path, source }
    }
}
