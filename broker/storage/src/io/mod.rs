//! The only file-system code: what the log may ask of a disk, as two small traits.
//!
//! ```text
//! log ──► Fs, File ──┬── Disk   the operating system's, on the caller's thread
//!                    └── Sim    a seeded twin in memory: a crash tears or forgets whatever was not synced,
//!                               any operation can be made to fail, and it can fill up
//! ```
//!
//! **A write is durable once `sync_data` on its file returned; a name (created, renamed, removed) once `sync_dir` on its
//! directory returned.** Nothing else is promised, and the log assumes nothing else.

mod disk;
mod sim;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

pub use disk::Disk;
pub use sim::{Op, Sim};

/// A file system.
pub trait Fs: Send + Sync + fmt::Debug + 'static {
    /// Makes a directory and its parents, durably. One that exists is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name in the same directory, in place of any that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Whoever has it open can go on reading.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, in the order of names.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Makes the directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock that this file stands for, or says who has it. Never waits.
    fn lock(&self, path: &Path) -> io::Result<Lock>;
    /// How large the file system is, and what of it this process may still use.
    fn space(&self, dir: &Path) -> io::Result<Space>;
}

/// An open file. Reads and writes name their place, so one handle serves many threads.
pub trait File: Send + Sync + fmt::Debug + 'static {
    /// Fills `buf` from `at` on; fewer bytes only where the file ends.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `parts`, one after the other, from `at` on. On an error any part of it may have been written.
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()>;
    /// Makes what was written durable, the length included.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Its length.
    fn size(&self) -> io::Result<u64>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To read; it must exist.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To read and write; it must not exist.
    Create,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name; an odd character is replaced.
    pub name: String,
    /// Whether it is a directory.
    pub dir: bool,
    /// The length of the file.
    pub len: u64,
}

/// The answer to [`Fs::lock`].
#[derive(Debug)]
pub enum Lock {
    /// It is ours until the guard is dropped or the process ends.
    Ours(Box<dyn Guard>),
    /// Somebody has it: the process id in the lock file, if one can be read there.
    Held(Option<u32>),
}

/// Holds a lock until it is dropped.
pub trait Guard: Send + Sync + fmt::Debug {}

/// Room on a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All there is.
    pub total: u64,
    /// What this process may still use.
    pub free: u64,
}

/// Whether an error says that there is no room (the disk's or a quota's).
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub(crate) static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes zeros over `from..to`, up to 1 MiB a call.
pub(crate) fn zero(file: &dyn File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let mut left = to - at;
        let mut parts = [IoSlice::new(&[]); 16];
        let mut bytes = 0;
        for part in &mut parts {
            let slice = ZEROS.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            *part = IoSlice::new(slice);
            bytes += slice.len() as u64;
            left -= slice.len() as u64;
        }
        file.write_at(&mut parts, at)?;
        at += bytes;
    }
    Ok(())
}

/// Reads a small file whole; `None` if there is none.
pub(crate) fn read_small(fs: &dyn Fs, path: &Path, max: usize) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, Mode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; max];
    let length = file.read_at(&mut bytes, 0)?;
    bytes.truncate(length);
    Ok(Some(bytes))
}

/// Replaces a small file: after a crash it has the old bytes or the new, whole. `new` is the name it is written under.
pub(crate) fn write_small_atomic(fs: &dyn Fs, dir: &Path, new: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (new, name) = (dir.join(new), dir.join(name));
    remove_if_any(fs, &new)?;
    let file = fs.open(&new, Mode::Create)?;
    file.write_at(&mut [IoSlice::new(bytes)], 0)?;
    file.sync_data()?;
    fs.rename(&new, &name)?;
    fs.sync_dir(dir)
}

/// Removes a file; none is fine.
pub(crate) fn remove_if_any(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
