//! The suite on the simulated disk, and what only this committer does: full disks, failed syncs, lost power.

use std::io::ErrorKind;
use std::path::Path;

use causeway_model::{Lineage, ManualClock, Millis};
use causeway_storage::io::{Fs, Op};
use causeway_storage::{Ahead, Error as LogError, Mark, Reader, Sim};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::suite::{self, Harness, Journal, Recorder, Running, group};
use crate::{Applied, Failure};

const DIR: &str = "/log";

fn log_options() -> causeway_storage::Options {
    causeway_storage::Options {
        segment_bytes: suite::SEGMENT_BYTES,
        tail_bytes: 1 << 20,
        ahead: Ahead::Inline,
        ..causeway_storage::Options::default()
    }
}

fn options() -> Options {
    Options {
        batch_bytes: suite::BATCH_BYTES,
        group_bytes: suite::GROUP_BYTES,
        waiting_bytes: suite::WAITING_BYTES,
        unapplied_bytes: suite::WAITING_BYTES,
        reserve_bytes: 16 << 10,
        ..Options::default()
    }
}

fn open(sim: &Sim, mark: Mark) -> Result<Opened, LogError> {
    sim.create_dir(Path::new(DIR)).unwrap();
    match causeway_storage::open(Arc::new(sim.clone()), Path::new(DIR), log_options(), mark) {
        Err(LogError::Missing { .. }) => {
            causeway_storage::create(Arc::new(sim.clone()), Path::new(DIR), log_options(), Lineage(7))
        }
        other => other,
    }
}

struct Started {
    single: Arc<Single<u64>>,
    reader: Reader,
    stopper: Stopper,
}

fn start(sim: &Sim, journal: &Arc<Journal>) -> Started {
    let machine = Recorder(Arc::clone(journal));
    let opened = open(sim, machine.applied()).unwrap();
    let reader = opened.reader.clone();
    let clock = Arc::new(ManualClock::new(Millis(1_000)));
    let (single, stopper) =
        Single::start(opened, machine, Some(group(&["first"])), clock, options(), &mut |_| {}).unwrap();
    Started { single, reader, stopper }
}

struct OnSim(Sim);

impl Harness for OnSim {
    fn start(&self, machine: Recorder) -> Running {
        let Started { single, reader, stopper } = start(&self.0, &machine.0);
        Running { committer: single, reader, stop: Box::new(move || stopper.stop()) }
    }
}

crate::committer_suite!(OnSim(Sim::new(1)));

fn ordinary(single: &Single<u64>, text: &str) -> Result<Vec<Applied<u64>>, Failure> {
    single.propose(group(&[text]), None, Priority::Ordinary).unwrap().wait()
}

#[test]
fn a_full_disk_refuses_ordinary_groups_keeps_room_for_trims_and_recovers_by_itself() {
    let sim = Sim::new(2);
    let journal = Arc::new(Journal::default());
    let Started { single, stopper, .. } = start(&sim, &journal);
    sim.set_capacity(Some(sim.used()));
    let filler = "x".repeat(8 << 10);
    let mut written = Vec::new();
    let full = loop {
        match ordinary(&single, &filler) {
            Ok(outcomes) => written.extend(outcomes),
            Err(failure) => break failure,
        }
        assert!(written.len() < 1_000, "the disk has an end");
    };
    assert_eq!(full, Failure::Refused(Refused::DiskFull));
    assert_eq!(ordinary(&single, "small").unwrap_err(), full, "a smaller one must not get ahead of a refused one");
    let trim = "t".repeat(filler.len());
    let pending = single.propose(group(&[&trim]), None, Priority::MakesRoom).unwrap();
    pending.wait().expect("the reserve is for what makes room");
    assert_eq!(ordinary(&single, &filler).unwrap_err(), full, "and for nothing else");
    assert!(single.failed.borrow().is_none(), "a full disk is no failure");

    sim.set_capacity(None);
    ordinary(&single, "again").unwrap();
    let mut expected: Vec<String> = vec!["first".into()];
    expected.extend(written.iter().map(|_| filler.clone()));
    expected.extend([trim, "again".into()]);
    assert_eq!(journal.texts(), expected, "what was refused was not appended");
    stopper.stop();
}

#[test]
fn reclaiming_makes_a_full_disk_writable_again() {
    let sim = Sim::new(3);
    let journal = Arc::new(Journal::default());
    let Started { single, reader, stopper } = start(&sim, &journal);
    let filler = "y".repeat(8 << 10);
    let mut last = Position(0);
    for _ in 0..60 {
        last = ordinary(&single, &filler).unwrap()[0].position;
    }
    sim.set_capacity(Some(sim.used()));
    while ordinary(&single, &filler).is_ok() {}
    let first = reader.first();
    single.release(last);
    // The floor is looked at before the next batch; that one still finds the disk full, or already not.
    let _ = ordinary(&single, &filler);
    ordinary(&single, &filler).unwrap();
    assert!(reader.first() > first);
    stopper.stop();
}

#[test]
fn the_first_failed_sync_ends_writing_for_good_and_reads_go_on() {
    let sim = Sim::new(4);
    let journal = Arc::new(Journal::default());
    let Started { single, reader, stopper } = start(&sim, &journal);
    let kept = ordinary(&single, "kept").unwrap()[0].position;
    sim.fail(Op::Sync, 0, 1, ErrorKind::Other);
    assert_eq!(ordinary(&single, "lost or not").unwrap_err(), Failure::Unknown);
    assert!(matches!(single.failed.borrow().as_deref(), Some(Error::Sync { .. })));
    sim.heal();
    let refused = single.propose(group(&["late"]), None, Priority::Ordinary).unwrap_err();
    assert_eq!(refused, Refused::Unavailable);
    assert_eq!(reader.read(&[kept])[0].as_ref().unwrap(), "kept");
    assert_eq!(journal.texts(), ["first", "kept"], "what is not known to be durable is not applied");
    stopper.stop();
}

#[test]
fn whoever_waits_when_writing_fails_is_refused_or_does_not_know_but_is_answered() {
    let sim = Sim::new(5);
    let journal = Arc::new(Journal::default());
    let Started { single, stopper, .. } = start(&sim, &journal);
    let paused = journal.pause();
    sim.fail(Op::Sync, 1, u64::MAX, ErrorKind::Other);
    let filler = "w".repeat(8 << 10);
    let taken: Vec<_> =
        (0..200).map_while(|_| single.propose(group(&[&filler]), None, Priority::Ordinary).ok()).collect();
    let count = taken.len();
    drop(paused);
    let mut answers = taken.into_iter().map(Pending::wait);
    let known: Vec<_> = answers.by_ref().take_while(Result::is_ok).collect();
    assert!(known.len() < count);
    for answer in answers {
        let failure = answer.unwrap_err();
        assert!(matches!(failure, Failure::Unknown | Failure::Refused(Refused::Unavailable)), "{failure}");
    }
    stopper.stop();
}

#[test]
fn an_empty_log_needs_something_to_begin_with() {
    let sim = Sim::new(6);
    let opened = open(&sim, Mark::default()).unwrap();
    let clock = Arc::new(ManualClock::new(Millis(1_000)));
    let machine = Recorder(Arc::new(Journal::default()));
    let result = Single::start(opened, machine, None, clock, options(), &mut |_| {});
    assert!(matches!(result, Err(Error::NoFirstBatch)));
}

#[test]
fn tables_of_another_log_are_refused() {
    let sim = Sim::new(7);
    let journal = Arc::new(Journal::default());
    start(&sim, &journal).stopper.stop();
    let mut ahead = journal.seen();
    ahead.mark.position = ahead.mark.position.plus(1_000_000);
    let begin = |mark: suite::Seen| {
        let journal = Arc::new(Journal::default());
        journal.rewind(&mark);
        let opened = open(&sim, Mark::default()).unwrap();
        let clock = Arc::new(ManualClock::new(Millis(1_000)));
        Single::start(opened, Recorder(journal), None, clock, options(), &mut |_| {}).map(drop)
    };
    assert!(matches!(begin(ahead), Err(Error::LogEndsEarlier { .. })));
    let mut inside = journal.seen();
    inside.mark.position = Position(inside.mark.position.0 - 1);
    assert!(matches!(begin(inside), Err(Error::LogEndsEarlier { .. })));
}

#[test]
fn a_replay_says_how_far_it_is() {
    let sim = Sim::new(8);
    let journal = Arc::new(Journal::default());
    let Started { single, stopper, .. } = start(&sim, &journal);
    for n in 0..50 {
        ordinary(&single, &n.to_string()).unwrap();
    }
    stopper.stop();
    let opened = open(&sim, Mark::default()).unwrap();
    let clock = Arc::new(ManualClock::new(Millis(1_000)));
    let mut seen = Vec::new();
    let machine = Recorder(Arc::new(Journal::default()));
    let end = opened.reader.durable();
    let (_, stopper) = Single::start(opened, machine, None, clock, options(), &mut |at| seen.push(at)).unwrap();
    assert_eq!(seen.first(), Some(&Progress { from: Position(0), at: Position(0), to: end }));
    assert_eq!(seen.last(), Some(&Progress { from: Position(0), at: end, to: end }));
    stopper.stop();
}

/// Power goes at a random change, again and again: whatever was acknowledged is there after every restart, in order.
#[test]
fn whatever_was_acknowledged_survives_lost_power() {
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let sim = Sim::new(seed);
    let mut acknowledged: Vec<String> = Vec::new();
    let mut number = 0;
    for life in 0..25 {
        let journal = Arc::new(Journal::default());
        let Started { single, stopper, .. } = start(&sim, &journal);
        let found = journal.texts();
        let mut rest = found.iter();
        for text in &acknowledged {
            assert!(rest.any(|found| found == text), "seed {seed}, life {life}: {text} is missing or out of order");
        }
        sim.cut_power(sim.changes() + rng.random_range(1..60));
        loop {
            let text = format!("{number} {}", "p".repeat(rng.random_range(0..20_000)));
            number += 1;
            match single.propose(group(&[&text]), None, Priority::Ordinary).map(Pending::wait) {
                Ok(Ok(_)) => acknowledged.push(text),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        stopper.stop();
        sim.crash();
    }
    assert!(acknowledged.len() > 25, "seed {seed}: little was shown");
}
