//! One process a directory.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use causeway_storage::{Ahead, Error, Mark, Options, Sim};

use crate::world::{self, LINEAGE};

const CHILD_DIR: &str = "CAUSEWAY_TEST_LOCK_DIR";

fn options() -> Options {
    Options { segment_bytes: 8192, ahead: Ahead::Inline, ..Options::default() }
}

/// Not a test of its own: the second process of the next one. It opens the log and holds it until its input ends.
#[test]
fn child_that_holds_the_lock() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let opened =
        causeway_storage::open(std::sync::Arc::new(causeway_storage::Disk), dir.as_ref(), options(), Mark::default());
    println!("\nopened {}", opened.is_ok());
    std::io::stdin().lines().for_each(drop);
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_log() {
    let (root, fs) = world::disk();
    let dir = root.path().join("log");
    drop(causeway_storage::create(fs.clone(), &dir, options(), LINEAGE).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lock::child_that_holds_the_lock", "--nocapture"])
        .env(CHILD_DIR, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.find(|line| line.starts_with("opened")).unwrap(), "opened true");
    for error in [
        causeway_storage::open(fs.clone(), &dir, options(), Mark::default()).unwrap_err(),
        causeway_storage::create(fs.clone(), &dir, options(), LINEAGE).unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Locked { holder: Some(pid), .. } if *pid == child.id()), "{error}");
        assert_eq!(error.to_string(), format!("{} is in use by process {}", dir.display(), child.id()));
    }
    causeway_storage::inspect(fs.clone(), &dir).unwrap();
    drop(child.stdin.take());
    said.for_each(drop);
    child.wait().unwrap();
    causeway_storage::open(fs, &dir, options(), Mark::default()).unwrap();
}

#[test]
fn a_second_handle_in_one_process_is_refused_until_the_writer_is_gone() {
    let sim = Sim::new(1);
    let opened = world::create(&sim);
    assert!(matches!(world::open(&sim, Mark::default()), Err(Error::Locked { .. })));
    let reader = opened.reader.clone();
    drop(opened);
    world::open(&sim, Mark::default()).unwrap();
    drop(reader);
}

#[test]
fn create_refuses_a_log_and_open_refuses_none() {
    let sim = Sim::new(1);
    assert!(matches!(world::open(&sim, Mark::default()), Err(Error::Missing { .. })));
    drop(world::create(&sim));
    let again = causeway_storage::create(std::sync::Arc::new(sim.clone()), &world::dir(), world::options(), LINEAGE);
    assert!(matches!(again, Err(Error::Exists { .. })));
    let (root, fs) = world::disk();
    let missing = causeway_storage::open(fs.clone(), &root.path().join("no"), options(), Mark::default());
    assert!(matches!(missing, Err(Error::Missing { .. })));
    let empty = causeway_storage::open(fs, root.path(), options(), Mark::default());
    assert!(matches!(empty, Err(Error::Missing { .. })));
    assert_eq!(root.path().read_dir().unwrap().count(), 0, "nothing was put there");
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    for bytes in [0, 4096, 8191, 8193, u64::MAX] {
        let options = Options { segment_bytes: bytes, ..options() };
        let error =
            causeway_storage::create(std::sync::Arc::new(Sim::new(1)), &world::dir(), options, LINEAGE).unwrap_err();
        assert!(matches!(error, Error::Option { option: "segment_bytes", .. }), "{error}");
    }
}
