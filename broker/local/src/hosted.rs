//! The file that names the gateway process that was hosted here last.
//!
//! A gateway that runs inside the broker dies with it and cannot say so. Its incarnation is written down before it is
//! announced in the log, so that the next start can declare it lost.
//!
//! ```text
//! hosted = incarnation u128, big-endian: sixteen bytes, replaced as a whole by a rename
//! ```

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use causeway_model::Incarnation;
use causeway_storage::io::{Fs, Mode};

use crate::Error;

const NAME: &str = "hosted";
const NEW: &str = "hosted.new";

/// Who was hosted here last; none on a new directory.
pub(crate) fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Incarnation>, Error> {
    let path = dir.join(NAME);
    let mut bytes = [0; 16];
    let read = match fs.open(&path, Mode::Read) {
        Ok(file) => file.read_at(&mut bytes, 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    match read {
        Ok(16) => Ok(Some(Incarnation(u128::from_be_bytes(bytes)))),
        Ok(_) => Err(failed("read", path, io::Error::from(io::ErrorKind::UnexpectedEof))),
        Err(source) => Err(failed("read", path, source)),
    }
}

/// Replaces the name: after a crash the file has the old one or the new one.
pub(crate) fn write(fs: &dyn Fs, dir: &Path, incarnation: Incarnation) -> Result<(), Error> {
    replace(fs, dir, incarnation).map_err(|source| failed("write", dir.join(NAME), source))
}

fn replace(fs: &dyn Fs, dir: &Path, incarnation: Incarnation) -> io::Result<()> {
    let new = dir.join(NEW);
    match fs.remove(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs.open(&new, Mode::Create)?;
    file.write_at(&mut [IoSlice::new(&incarnation.0.to_be_bytes())], 0)?;
    file.sync_data()?;
    fs.rename(&new, &dir.join(NAME))?;
    fs.sync_dir(dir)
}

fn failed(operation: &'static str, file: PathBuf, source: io::Error) -> Error {
    Error::Hosted { operation, file, source }
}
