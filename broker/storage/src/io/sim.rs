//! A disk in memory that loses what a real one may lose.
//!
//! Each file has the bytes that a reader sees *now* and those that are *durable*, and between them the changes since its
//! last sync; each directory likewise with its names. [`Sim::crash`] decides by the seed, for every file anew, how much
//! of the changes a power cut leaves: none, all, the first few with the last one torn at a byte, or any set of their
//! sectors. What was synced always stays.
//!
//! A test cuts the power at the n-th change ([`Sim::cut_power`]) or makes an operation fail ([`Sim::fail`]). A failed
//! sync behaves like that of a real disk: the changes it was asked for are not durable and *no later sync makes them so*.
//!
//! The same seed and the same calls give the same losses; a handle from before a crash is dead after it.

mod loss;
mod state;

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use self::loss::{Change, NameChange};
use self::state::{Inode, Plan, State};
use super::{Entry, File, Fs, Guard, Lock, Mode, Space};

/// A simulated disk. A clone is another handle to it.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Mutex<State>>);

/// An operation that [`Sim::fail`] can make fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opening a file, to create it or not.
    Open,
    /// Reading from a file.
    Read,
    /// Writing to a file; some of it may get there.
    Write,
    /// Cutting or extending a file.
    SetLen,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming a file.
    Rename,
    /// Removing a file.
    Remove,
}

impl Sim {
    /// An empty disk without end, whose losses follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State::new(seed))))
    }

    /// How many changes were made so far: a run of n changes has n places where the power can go.
    pub fn changes(&self) -> u64 {
        self.0.lock().changes
    }

    /// How many syncs of files succeeded so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Cuts the power at change number `at` (counted from 0 since the start): it is half done, and everything from then
    /// on fails until [`Sim::crash`].
    pub fn cut_power(&self, at: u64) {
        self.0.lock().cut_at = Some(at);
    }

    /// Lets the next `skip` operations of this kind pass and the `times` after them fail.
    pub fn fail(&self, op: Op, skip: u64, times: u64, kind: io::ErrorKind) {
        self.0.lock().plan = Some(Plan { op, skip, kind, times });
    }

    /// Takes back [`Sim::fail`].
    pub fn heal(&self) {
        self.0.lock().plan = None;
    }

    /// Limits the sum of all files' lengths; `None` is without end.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// The sum of all files' lengths.
    pub fn used(&self) -> u64 {
        self.0.lock().used()
    }

    /// The power goes, if it has not gone yet, and comes back: what was not synced is lost or torn, locks are free.
    pub fn crash(&self) {
        self.0.lock().crash();
    }

    /// The bytes of a file as a reader sees them; `None` if there is none.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.lock();
        let file = state.names.get(path)?;
        Some(state.files.get(file)?.now.clone())
    }

    /// Puts a file there, durable, as if somebody had copied it in or edited it.
    pub fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut state = self.0.lock();
        let file = match state.names.get(path) {
            Some(&file) => file,
            None => state.new_file(),
        };
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
        state.files.insert(file, Inode { now: bytes.clone(), durable: bytes, changes: Vec::new() });
    }
}

impl Fs for Sim {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.lock().dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        state.admit(Op::Open, epoch, mode == Mode::Create)?;
        let file = match (state.names.get(path), mode) {
            (Some(_), Mode::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(&file), Mode::Read | Mode::Write) => file,
            (None, Mode::Read | Mode::Write) => return Err(io::ErrorKind::NotFound.into()),
            (None, Mode::Create) => {
                let file = state.new_file();
                state.names.insert(path.to_owned(), file);
                state.name_changes.push(NameChange::Created { path: path.to_owned(), file });
                file
            }
        };
        Ok(Arc::new(SimFile { disk: self.clone(), file, epoch }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        state.admit(Op::Rename, epoch, true)?;
        let file = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), file);
        state.name_changes.push(NameChange::Renamed { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.admit(Op::Remove, epoch, true)?;
        state.names.remove(path);
        state.name_changes.push(NameChange::Removed { path: path.to_owned() });
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.0.lock();
        if !state.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let files = state.names.iter().filter(|(path, _)| path.parent() == Some(dir)).filter_map(|(path, file)| {
            let len = state.files.get(file)?.now.len() as u64;
            Some(Entry { name: name(path)?, dir: false, len })
        });
        let dirs = state.dirs.iter().filter(|path| path.parent() == Some(dir));
        let dirs = dirs.filter_map(|path| Some(Entry { name: name(path)?, dir: true, len: 0 }));
        let mut entries: Vec<Entry> = files.chain(dirs).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let epoch = state.epoch;
        state.admit(Op::SyncDir, epoch, true)?;
        let (here, elsewhere) =
            std::mem::take(&mut state.name_changes).into_iter().partition(|change| change.is_in(dir));
        state.name_changes = elsewhere;
        for change in here {
            change.apply(&mut state.durable_names);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.0.lock();
        if !path.parent().is_some_and(|dir| state.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if !state.locks.insert(path.to_owned()) {
            return Ok(Lock::Held(Some(std::process::id())));
        }
        let epoch = state.epoch;
        Ok(Lock::Ours(Box::new(SimLock { disk: self.clone(), path: path.to_owned(), epoch })))
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let state = self.0.lock();
        let total = state.capacity.unwrap_or(u64::MAX);
        Ok(Space { total, free: total.saturating_sub(state.used()) })
    }
}

#[derive(Debug)]
struct SimLock {
    disk: Sim,
    path: PathBuf,
    epoch: u64,
}

impl Guard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.0.lock();
        if state.epoch == self.epoch {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Sim,
    file: u64,
    epoch: u64,
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.0.lock();
        state.admit(Op::Read, self.epoch, false)?;
        let now = &state.inode(self.file)?.now;
        let from = now.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let bytes = buf.len().min(from.len());
        for (to, from) in buf.iter_mut().zip(from) {
            *to = *from;
        }
        Ok(bytes)
    }

    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut state = self.disk.0.lock();
        match state.admit(Op::Write, self.epoch, true) {
            Ok(()) => state.write(self.file, at, &bytes),
            // Not for a dead handle: its epoch's writes are over.
            Err(error) if self.epoch != state.epoch => Err(error),
            Err(error) => {
                let some = state.random.below(bytes.len() as u64 + 1);
                let some = bytes.get(..usize::try_from(some).unwrap_or(0)).unwrap_or_default();
                state.write(self.file, at, some)?;
                Err(error)
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let admitted = state.admit(Op::Sync, self.epoch, true);
        let off = state.off;
        let inode = state.inode(self.file)?;
        match admitted {
            Ok(()) => {
                for change in inode.changes.drain(..) {
                    change.apply(&mut inode.durable);
                }
                state.syncs += 1;
                Ok(())
            }
            Err(error) => {
                // The kernel reports a failed write-back once and then calls the pages clean: they are lost for good.
                if !off {
                    inode.changes.clear();
                }
                Err(error)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        state.admit(Op::SetLen, self.epoch, true)?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.inode(self.file)?.apply(Change::Length(len));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let mut state = self.disk.0.lock();
        state.admit(Op::Read, self.epoch, false)?;
        Ok(state.inode(self.file)?.now.len() as u64)
    }
}

#[cfg(test)]
mod tests;
