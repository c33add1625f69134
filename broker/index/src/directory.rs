//! The index's directory: where the database is, where its checkpoints are, and which of them can be trusted.
//!
//! ```text
//! tables/                            the database; RocksDB alone writes here
//! checkpoints/00000000000012345678-0 a database as of that applied position or a little later, made of hard links;
//!                                    the digit tells apart those of one position
//! checkpoints/making                 one that is not finished, or whose removal was cut off
//! DAMAGED                            why the next open must rebuild; written when a read or write met corruption
//! ```
//!
//! A name appears by a rename after what it names is on disk, and goes by a rename before it is deleted, so a name is
//! always whole. This is the only module here that touches files itself, and never one of RocksDB's while it is open.
#![expect(clippy::disallowed_methods, reason = "the one module of this crate that names files, links and removes them")]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use causeway_model::Position;

use crate::Error;

const TABLES: &str = "tables";
const CHECKPOINTS: &str = "checkpoints";
const MAKING: &str = "making";
const DAMAGED: &str = "DAMAGED";
/// RocksDB's own file that names its newest list of files.
const CURRENT: &str = "CURRENT";
/// Decimal digits of a checkpoint's position: any u64, in the order of numbers.
const DIGITS: usize = 20;

/// A checkpoint's name. Orders them by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    /// It holds at least everything below.
    pub(crate) at: Position,
    /// Counts those of one position.
    pub(crate) copy: u8,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let (at, copy) = name.split_once('-')?;
        let parsed = Self { at: Position(at.parse().ok()?), copy: copy.parse().ok()? };
        // One spelling each: what a person put beside them is none.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$}-{}", self.at.0, self.copy)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

/// What is at the database's place, as far as names tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There never was one.
    Nothing,
    /// One that may be opened.
    Database,
    /// One that must not be opened, or the lack of one that was there.
    Damage(String),
}

impl Directory {
    /// Creates what is missing of it.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let directory = Self { root: root.to_owned() };
        let checkpoints = root.join(CHECKPOINTS);
        fs::create_dir_all(&checkpoints).map_err(|e| failed("create", &checkpoints, e))?;
        // What a crash left half made or half removed.
        remove_all(&checkpoints.join(MAKING))?;
        remove_all(&checkpoints.join(MAKING).with_extension("tmp"))?;
        sync(root)?;
        Ok(directory)
    }

    /// Makes the name of a database that was just created durable; what is in it RocksDB sees to.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        sync(&self.root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.root.join(TABLES)
    }

    pub(crate) fn checkpoint(&self, name: Name) -> PathBuf {
        self.root.join(CHECKPOINTS).join(name.to_string())
    }

    /// Where RocksDB makes the next one.
    pub(crate) fn making(&self) -> PathBuf {
        self.root.join(CHECKPOINTS).join(MAKING)
    }

    /// The whole checkpoints, oldest first.
    pub(crate) fn checkpoints(&self) -> Result<Vec<Name>, Error> {
        let mut found: Vec<Name> =
            names(&self.root.join(CHECKPOINTS))?.iter().filter_map(|name| Name::parse(name)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Gives the one that was made its name.
    pub(crate) fn publish(&self, name: Name) -> Result<(), Error> {
        let to = self.checkpoint(name);
        fs::rename(self.making(), &to).map_err(|e| failed("name", &to, e))?;
        sync(&self.root.join(CHECKPOINTS))
    }

    /// Removes a checkpoint.
    pub(crate) fn discard(&self, name: Name) -> Result<(), Error> {
        let from = self.checkpoint(name);
        fs::rename(&from, self.making()).map_err(|e| failed("unname", &from, e))?;
        sync(&self.root.join(CHECKPOINTS))?;
        remove_all(&self.making())
    }

    /// What is there.
    pub(crate) fn find(&self) -> Result<Found, Error> {
        let mark = self.root.join(DAMAGED);
        match fs::read_to_string(&mark) {
            Ok(reason) => return Ok(Found::Damage(reason)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("read", &mark, e)),
        }
        let tables = self.tables();
        let files = names(&tables)?;
        if files.is_empty() {
            let lost = !self.checkpoints()?.is_empty();
            return Ok(if lost { Found::Damage("it is gone".into()) } else { Found::Nothing });
        }
        // RocksDB would take either for a database that is not there yet.
        let current = tables.join(CURRENT);
        let manifest = match fs::read_to_string(&current) {
            Ok(manifest) => manifest,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Damage("CURRENT is gone".into())),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Ok(Found::Damage("CURRENT is no text".into())),
            Err(e) => return Err(failed("read", &current, e)),
        };
        let manifest = manifest.trim_end_matches('\n');
        Ok(if files.iter().any(|file| file == manifest) {
            Found::Database
        } else {
            Found::Damage(format!("CURRENT names {manifest:?}, which is not there"))
        })
    }

    /// Makes the next open rebuild.
    pub(crate) fn distrust(&self, reason: &str) -> Result<(), Error> {
        let mark = self.root.join(DAMAGED);
        let write = || {
            let mut file = File::create(&mark)?;
            file.write_all(reason.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|e| failed("write", &mark, e))?;
        sync(&self.root)
    }

    /// Puts a checkpoint, or nothing, in the database's place. Cut off anywhere, the next open begins again.
    pub(crate) fn restore(&self, from: Option<Name>) -> Result<(), Error> {
        let (tables, mark) = (self.tables(), self.root.join(DAMAGED));
        self.distrust("its rebuild was cut off")?;
        remove_all(&tables)?;
        if let Some(name) = from {
            let from = self.checkpoint(name);
            fs::create_dir(&tables).map_err(|e| failed("create", &tables, e))?;
            for name in names(&from)? {
                adopt(&from.join(&name), &tables.join(&name))?;
            }
            sync(&tables)?;
        }
        sync(&self.root)?;
        fs::remove_file(&mark).map_err(|e| failed("remove", &mark, e))?;
        sync(&self.root)
    }
}

/// Sorted files never change, so both directories can own one. The rest is small, and RocksDB goes on writing some of it.
fn adopt(from: &Path, to: &Path) -> Result<(), Error> {
    let copy = || fs::copy(from, to).and_then(|_| File::open(to)?.sync_all());
    let is_sorted = from.extension().is_some_and(|extension| extension == "sst");
    // Not every file system has links.
    let adopted = if is_sorted { fs::hard_link(from, to).or_else(|_| copy()) } else { copy() };
    adopted.map_err(|e| failed("link or copy", to, e))
}

/// The names in a directory; none if it is not there. Names that are not text are none of ours.
fn names(path: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", path, e)),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok())).collect::<io::Result<Vec<_>>>();
    Ok(names.map_err(|e| failed("list", path, e))?.into_iter().flatten().collect())
}

fn remove_all(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, e)),
        _ => Ok(()),
    }
}

/// Makes names in a directory durable.
fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|e| failed("sync", path, e))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Directory { operation, path: path.to_owned(), source }
}
