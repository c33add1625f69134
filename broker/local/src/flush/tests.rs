use std::thread;

use bytes::Bytes;
use causeway_apply::{Family, Mutations, Tables, TablesError, Twin, Visit, key};
use parking_lot::Mutex;

use super::*;

/// Tables that write down what is asked of them.
#[derive(Default)]
struct Recording {
    twin: Twin,
    calls: Arc<Mutex<Vec<String>>>,
    broken: bool,
}

impl Recording {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().push(call.into());
    }

    /// As if everything below `mark` were applied, with a trim to `first`.
    fn applied(&self, mark: u64, first: u64) {
        let mut mutations = Mutations::new();
        // Version, index, term, position, time, digest, membership index.
        let mut row = vec![1];
        for number in [0, 0, mark, 0, 0, 0_u64] {
            row.extend(number.to_be_bytes());
        }
        mutations.put(Family::Meta, &key::APPLIED, &row);
        mutations.put(Family::Meta, &key::FIRST, &first.to_be_bytes());
        self.twin.write(&mutations).unwrap();
    }
}

impl Tables for Recording {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, TablesError> {
        self.twin.get(family, key)
    }

    fn scan(&self, family: Family, from: &[u8], upto: &[u8], visit: Visit<'_>) -> Result<(), TablesError> {
        self.twin.scan(family, from, upto, visit)
    }

    fn write(&self, mutations: &Mutations) -> Result<(), TablesError> {
        self.twin.write(mutations)
    }
}

impl Durable for Recording {
    fn flush(&self) -> Result<(), TablesError> {
        self.note("flush");
        if self.broken {
            return Err(TablesError { operation: "flush", family: Family::Meta, source: "broken".into() });
        }
        self.twin.flush()
    }

    fn set_floor(&self, flushed_first: Position) {
        self.note(format!("floor {flushed_first}"));
        self.twin.set_floor(flushed_first);
    }

    fn checkpoint(&self) -> Result<Position, TablesError> {
        self.note("checkpoint");
        self.twin.checkpoint()
    }
}

fn flusher(tables: Recording) -> (Flusher<Recording>, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::clone(&tables.calls);
    let released = Arc::clone(&calls);
    let flusher = Flusher {
        tables: Arc::new(tables),
        dirty: Arc::new(Dirty::new(1000)),
        settings: Flush { bytes: 1000, interval: Duration::from_hours(1) },
        step_bytes: 100,
        cut: Position(0),
        release: Box::new(move |below| released.lock().push(format!("release {below}"))),
    };
    (flusher, calls)
}

fn take(calls: &Mutex<Vec<String>>) -> Vec<String> {
    std::mem::take(&mut calls.lock())
}

#[test]
fn whatever_goes_is_covered_by_what_was_made_durable_before() {
    let (mut flusher, calls) = flusher(Recording::default());
    flusher.tables.applied(500, 0);
    flusher.flush().unwrap();
    assert_eq!(take(&calls), ["flush", "floor 0", "release 0"], "nothing was trimmed, nothing may go");

    flusher.tables.applied(900, 300);
    flusher.flush().unwrap();
    let pair = ["flush", "floor 300", "checkpoint", "checkpoint", "release 300"];
    assert_eq!(take(&calls), pair, "segments could go: two checkpoints first");

    flusher.tables.applied(2000, 950);
    flusher.flush().unwrap();
    assert_eq!(take(&calls), ["flush", "floor 950", "release 900"], "less than a step above the older checkpoint");

    flusher.tables.applied(2100, 1500);
    flusher.flush().unwrap();
    assert_eq!(take(&calls), ["flush", "floor 1500", "checkpoint", "checkpoint", "release 1500"]);

    flusher.tables.applied(9000, 2200);
    flusher.flush().unwrap();
    assert_eq!(take(&calls), ["flush", "floor 2200", "checkpoint", "checkpoint", "release 2200"]);
    flusher.tables.applied(9500, 8000);
    flusher.flush().unwrap();
    assert_eq!(take(&calls), ["flush", "floor 8000", "release 8000"], "the older one is far above what is trimmed");
}

#[test]
fn a_flush_comes_with_the_bytes_or_when_asked_and_an_idle_one_not_at_all() {
    let (flusher, calls) = flusher(Recording::default());
    let dirty = Arc::clone(&flusher.dirty);
    flusher.tables.applied(5000, 0);
    let thread = thread::spawn(move || flusher.run());
    dirty.applied(Position(1500));
    assert!(dirty.flush(), "1500 bytes are over the budget, and somebody asked");
    assert_eq!(take(&calls)[0], "flush");
    dirty.applied(Position(1600));
    assert!(dirty.flush(), "100 bytes are not, but somebody asked");
    take(&calls);
    dirty.applied(Position(4000));
    dirty.stop();
    thread.join().unwrap().unwrap();
    assert!(dirty.flush(), "the last flush covered it");
    take(&calls);

    let (flusher, calls) = self::flusher(Recording::default());
    let dirty = Arc::clone(&flusher.dirty);
    dirty.opened(Position(700));
    let thread = thread::spawn(move || flusher.run());
    dirty.stop();
    thread.join().unwrap().unwrap();
    assert_eq!(take(&calls), Vec::<String>::new(), "nothing was applied since the start");
}

#[test]
fn a_failed_flush_ends_the_flusher_and_nobody_waits_for_it() {
    let (flusher, calls) = flusher(Recording { broken: true, ..Recording::default() });
    let dirty = Arc::clone(&flusher.dirty);
    let thread = thread::spawn(move || flusher.run());
    dirty.applied(Position(10));
    assert!(!dirty.flush());
    assert!(thread.join().unwrap().is_err());
    assert_eq!(take(&calls), ["flush"], "nothing was released");
}
