use std::ops::ControlFlow;
use std::thread;

use causeway_apply::{FAMILIES, Twin};
use proptest::prelude::*;

use super::*;
use crate::Settings;
use crate::testing::{END, kill, rows};

#[test]
fn only_a_range_that_cannot_leave_its_queue_uses_the_prefix_filter() {
    let key = |queue: u128, rest: &[u8]| [&queue.to_be_bytes(), rest].concat();
    assert!(within_one_prefix(&key(7, b""), &key(7, b"\xff")));
    assert!(within_one_prefix(&key(7, b"from"), &key(8, b"")));
    assert!(within_one_prefix(&key(0xff, b""), &key(0x100, b"")));
    assert!(!within_one_prefix(&key(7, b""), &key(8, b"\0")));
    assert!(!within_one_prefix(&key(7, b""), &key(9, b"")));
    // How `beyond` ends the range of a queue whose id ends in ones.
    assert!(within_one_prefix(&key(0x7ff, b"from"), &key(0x800, b"")[..15]));
    assert!(!within_one_prefix(&key(0x7fe, b"from"), &key(0x800, b"")[..15]));
    assert!(within_one_prefix(&key(u128::MAX, b""), &[0xff; 17]));
    assert!(!within_one_prefix(&key(7, b""), &[0xff; 64]));
    assert!(!within_one_prefix(b"short", &key(8, b"")));
    assert!(!within_one_prefix(b"", &[0xff; 64]));
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(Family, Vec<u8>, Option<Vec<u8>>)>),
    Scan(Family, Vec<u8>, Vec<u8>, usize),
    Flush,
    Compact,
    Reopen,
    Kill,
}

/// Keys like those of queues, few enough to meet again, and others that are shorter than a queue id.
fn keys() -> impl Strategy<Value = Vec<u8>> {
    let queue = prop_oneof![Just(7_u128), Just(8), Just(0xff), Just(u128::MAX - 0xff), Just(u128::MAX)];
    let entry =
        (queue, 0..6_u64).prop_map(|(queue, offset)| [&queue.to_be_bytes()[..], &offset.to_be_bytes()].concat());
    prop_oneof![3 => entry, 1 => proptest::collection::vec(0..3_u8, 0..4)]
}

fn bounds() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let beyond = |key: Vec<u8>| (causeway_apply::key::beyond(key.get(..16).unwrap_or(&key)), key);
    prop_oneof![
        (keys(), keys()),
        keys().prop_map(|key| (key, END.to_vec())),
        keys().prop_map(move |key| {
            let (end, key) = beyond(key);
            (key, end)
        }),
        keys().prop_map(|key| (key.get(..16).unwrap_or(&key).to_vec(), key)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let family = proptest::sample::select(FAMILIES.as_slice());
    let row = (family.clone(), keys(), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)));
    let write = proptest::collection::vec(row, 0..12).prop_map(Step::Write);
    let scan =
        (family, bounds(), 0..8_usize).prop_map(|(family, (from, upto), limit)| Step::Scan(family, from, upto, limit));
    let step = prop_oneof![
        12 => write,
        12 => scan,
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ];
    proptest::collection::vec(step, 1..60)
}

fn scanned(tables: &impl Tables, family: Family, from: &[u8], upto: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    tables.scan(family, from, upto, visit).unwrap();
    rows
}

/// The database and its twin, and the directories that the database has lived in.
struct Pair {
    twin: Twin,
    db: Option<Db>,
    homes: Vec<tempfile::TempDir>,
}

impl Pair {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let db = Db::open(home.path(), &Settings::default()).unwrap();
        Self { twin: Twin::new(), db: Some(db), homes: vec![home] }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.db = None;
        self.db = Some(Db::open(self.homes.last().unwrap().path(), &Settings::default()).unwrap());
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(changes) => {
                let mut mutations = Mutations::new();
                for (family, key, value) in changes {
                    match value {
                        Some(value) => mutations.put(family, &key, &value),
                        None => mutations.delete(family, &key),
                    }
                }
                self.twin.write(&mutations).unwrap();
                self.db().write(&mutations).unwrap();
                for mutation in &mutations {
                    let (family, key) = (mutation.family, mutation.key);
                    prop_assert_eq!(self.db().get(family, key).unwrap(), self.twin.get(family, key).unwrap());
                }
            }
            Step::Scan(family, from, upto, limit) => {
                let of_twin = scanned(&self.twin, family, &from, &upto, limit);
                prop_assert_eq!(scanned(self.db(), family, &from, &upto, limit), of_twin);
            }
            Step::Flush => {
                self.twin.flush().unwrap();
                self.db().flush().unwrap();
            }
            Step::Compact => {
                // It has to flush what it compacts.
                self.twin.flush().unwrap();
                self.db().compact().unwrap();
            }
            Step::Reopen => {
                // An orderly close flushes.
                self.twin.flush().unwrap();
                self.reopen();
            }
            Step::Kill => {
                let home = tempfile::tempdir().unwrap();
                kill(self.db(), home.path());
                self.homes.push(home);
                self.reopen();
                self.twin.crash();
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_behaves_as_its_twin_through_flushes_compactions_restarts_and_kills(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step)?;
            prop_assert_eq!(rows(pair.db()).unwrap(), rows(&pair.twin).unwrap());
        }
    }
}

#[test]
fn a_scan_sees_one_state_whatever_is_written_meanwhile() {
    let home = tempfile::tempdir().unwrap();
    let db = Db::open(home.path(), &Settings::default()).unwrap();
    let put = |number: u8| {
        let mut mutations = Mutations::new();
        mutations.put(Family::Session, &[number], &[number]);
        db.write(&mutations).unwrap();
    };
    (0..10).for_each(put);
    let mut seen = 0;
    db.scan(Family::Session, &[], &END, &mut |_, _| {
        seen += 1;
        thread::scope(|threads| threads.spawn(|| put(100 + seen)).join().unwrap());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, 10);
}
