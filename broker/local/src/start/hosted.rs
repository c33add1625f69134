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

#[cfg(test)]
mod tests {
    use causeway_storage::Sim;

    use super::*;

    #[test]
    fn the_last_name_written_is_read_even_after_lost_power() {
        let sim = Sim::new(1);
        let dir = Path::new("/shard");
        sim.create_dir(dir).unwrap();
        assert_eq!(read(&sim, dir).unwrap(), None);
        write(&sim, dir, Incarnation(1)).unwrap();
        assert_eq!(read(&sim, dir).unwrap(), Some(Incarnation(1)));
        for cut in 0..5 {
            let next = Incarnation(100 + cut);
            sim.cut_power(sim.changes() + u64::try_from(cut).unwrap());
            let before = read(&sim, dir).unwrap();
            let written = write(&sim, dir, next);
            sim.crash();
            let after = read(&sim, dir).unwrap();
            assert!(after == before || after == Some(next), "cut {cut}: {after:?}");
            if written.is_ok() {
                assert_eq!(after, Some(next));
            }
        }
    }

    #[test]
    fn a_file_of_another_length_is_an_error_that_names_it() {
        let sim = Sim::new(2);
        sim.put(Path::new("/shard/hosted"), vec![1, 2, 3]);
        let error = read(&sim, Path::new("/shard")).unwrap_err();
        assert!(error.to_string().contains("/shard/hosted"), "{error}");
    }
}
