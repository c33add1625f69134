//! What the tests of this crate share: rows, copies of directories as a kill leaves them, and damage.
#![expect(clippy::disallowed_methods, reason = "plays the crash and the disk that lies")]

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use causeway_apply::{FAMILIES, Family, Mutations, Tables, TablesError, key};
use causeway_model::Position;

use crate::{Db, Error, Settings};

pub(crate) type Row = (Family, Vec<u8>, Vec<u8>);

/// Larger than any key of these tests.
pub(crate) const END: [u8; 64] = [0xff; 64];

/// Memtables that flush by themselves every few hundred rows.
pub(crate) fn tiny() -> Settings {
    Settings { memory_bytes: 0, memtable_bytes: 0, ..Settings::default() }
}

/// All rows of all families.
pub(crate) fn rows(tables: &impl Tables) -> Result<Vec<Row>, TablesError> {
    let mut rows = Vec::new();
    for family in FAMILIES {
        tables.scan(family, &[], &END, &mut |key, value| {
            rows.push((family, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
    }
    Ok(rows)
}

/// Puts the applied mark as apply encodes it, as far as these tests look.
pub(crate) fn put_mark(mutations: &mut Mutations, position: u64) {
    let numbers = [position, 1, position, 0, 0, 0].map(u64::to_be_bytes).concat();
    mutations.put(Family::Meta, &key::APPLIED, &[&[1], &numbers[..]].concat());
}

/// An entry's value: QoS 1, 300 bytes, body elsewhere if it is referred.
pub(crate) fn entry_value(body: Option<u64>) -> Vec<u8> {
    let flags = if body.is_some() { 0b1_0001 } else { 1 };
    [
        &[flags, 0xac, 0x02, 1, 2, 3, 4, 5, 6][..],
        &body.map(u64::to_be_bytes).unwrap_or_default()[..body.map_or(0, |_| 8)],
    ]
    .concat()
}

/// One batch that leaves a trace in every family: the row "newest" says which batch was last, and each batch adds one.
pub(crate) fn trace(db: &Db, batch: u64) {
    let mut mutations = Mutations::new();
    let id = batch.to_be_bytes();
    for family in FAMILIES {
        mutations.put(family, b"newest", &id);
        let spread = batch.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        mutations.put(family, &[&[0; 8][..], &spread, &id].concat(), &entry_value(None));
    }
    put_mark(&mut mutations, batch);
    db.write(&mutations).unwrap();
}

/// Checks that the rows are those that [`trace`] left after some batch, and says which.
pub(crate) fn traced(db: &Db) -> u64 {
    let last = db.applied().unwrap().0;
    let rows = rows(db).unwrap();
    for family in FAMILIES {
        let of =
            |wanted: &[u8]| rows.iter().find(|(f, key, _)| *f == family && key == wanted).map(|(_, _, v)| v.clone());
        assert_eq!(of(b"newest"), (last > 0).then(|| last.to_be_bytes().to_vec()), "{family}");
        let traces = rows.iter().filter(|(f, key, _)| *f == family && key.len() == 24);
        assert_eq!(traces.count() as u64, last, "{family}");
    }
    last
}

/// Copies the whole index as a kill at this moment would leave it.
pub(crate) fn kill(db: &Db, to: &Path) {
    // Only the copying needs this: in a real directory a file is there or it is not.
    db.rocks.disable_file_deletions().unwrap();
    // The list of files first and what is there only then: all that the copied list names.
    let (tables, copied) = (db.directory.tables(), to.join("tables"));
    copy(files(&tables, "CURRENT"), &copied);
    copy(files(&tables, "MANIFEST"), &copied);
    copy(files(&tables, ".sst"), &copied);
    db.rocks.enable_file_deletions().unwrap();
    copy_checkpoints(db.directory.root(), to);
}

/// Copies the whole index of a database that is closed.
pub(crate) fn copy_closed(from: &Path, to: &Path) {
    copy(files(&from.join("tables"), ""), &to.join("tables"));
    copy_checkpoints(from, to);
}

fn copy_checkpoints(from: &Path, to: &Path) {
    for checkpoint in files(&from.join("checkpoints"), "") {
        copy(files(&checkpoint, ""), &to.join("checkpoints").join(checkpoint.file_name().unwrap()));
    }
}

fn copy(files: Vec<PathBuf>, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in files {
        match fs::copy(&file, to.join(file.file_name().unwrap())) {
            // A removal that had begun before; what the list of files names cannot be among those.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            copied => drop(copied.unwrap()),
        }
    }
}

/// The files in a directory whose name contains `part`, in order.
pub(crate) fn files(directory: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains(part)).collect();
    files.sort();
    files
}

/// What a disk can do to a file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Harm {
    Gone,
    Empty,
    Half,
    /// All ones and zeros of the byte at this offset swapped.
    Flip(u64),
}

/// Does it.
pub(crate) fn harm(file: &Path, harm: Harm) {
    let open = || OpenOptions::new().read(true).write(true).open(file).unwrap();
    match harm {
        Harm::Gone => fs::remove_file(file).unwrap(),
        Harm::Empty => open().set_len(0).unwrap(),
        Harm::Half => open().set_len(file.metadata().unwrap().len() / 2).unwrap(),
        Harm::Flip(at) => {
            let mut byte = [0];
            open().read_exact_at(&mut byte, at).unwrap();
            open().write_all_at(&[!byte[0]], at).unwrap();
        }
    }
}

/// Opens, rebuilding if needed; the log has everything from `log_first` on.
pub(crate) fn recover(directory: &Path, log_first: u64) -> Result<(Db, Option<crate::Rebuilt>), Error> {
    Db::open_or_rebuild(directory, &tiny(), Position(log_first), &mut |_| {})
}
