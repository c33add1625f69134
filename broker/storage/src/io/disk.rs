//! The operating system's files: positional reads and vectored writes on the caller's thread.

#![expect(clippy::disallowed_methods, reason = "the one module that touches files")]

use std::fs;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock, statvfs};

use super::{Entry, File, Fs, Guard, Lock, Mode, Space};

/// The disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

/// Linux takes at most this many parts a call.
const MAX_PARTS: usize = 1024;

impl Fs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut missing: Vec<&Path> = Vec::new();
        for path in dir.ancestors() {
            if path.as_os_str().is_empty() || path.try_exists()? {
                break;
            }
            missing.push(path);
        }
        fs::create_dir_all(dir)?;
        for path in missing {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        match mode {
            Mode::Read => options.read(true),
            Mode::Write => options.read(true).write(true),
            Mode::Create => options.read(true).write(true).create_new(true),
        };
        Ok(Arc::new(DiskFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A file may go between its listing and this: then it is as if it had never been listed.
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(Entry { name, dir: metadata.is_dir(), len: metadata.len() });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                // What the holder wrote is a courtesy: a lock file that cannot be read still says "held".
                let _ = file.take(20).read_to_string(&mut text);
                return Ok(Lock::Held(text.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock::Ours(Box::new(DiskLock(file))))
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let stat = statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
    }
}

/// The lock lives as long as its file is open. The file itself stays: removing it would let two processes hold the
/// locks of two files of one name.
#[derive(Debug)]
struct DiskLock(#[expect(dead_code, reason = "held for its drop")] fs::File);

impl Guard for DiskLock {}

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn read_at(&self, mut buf: &mut [u8], mut at: u64) -> io::Result<usize> {
        let mut done = 0;
        while !buf.is_empty() {
            match self.0.read_at(buf, at) {
                Ok(0) => break,
                Ok(bytes) => {
                    done += bytes;
                    at += bytes as u64;
                    buf = buf.get_mut(bytes..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, mut parts: &mut [IoSlice<'_>], mut at: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            let now = parts.get(..MAX_PARTS).unwrap_or(parts);
            match rustix::io::pwritev(&self.0, now, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    at += bytes as u64;
                    IoSlice::advance_slices(&mut parts, bytes);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
