//! The behaviour of a committer: what callers and state machines may rely on, whoever commits.
//!
//! An implementation brings a [`Harness`], one directory in which it can be started again and again, and expands
//! [`committer_suite!`](crate::committer_suite) in a test. Behaviours wait for answers, never for time to pass.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests that others run")]

mod recorder;

use std::sync::Arc;
use std::thread;

use bytes::BufMut;
use causeway_model::Position;
use causeway_storage::{Group, GroupBuilder, Reader};

use crate::{Committer, Failure, Pending, Priority, Refused, Role};

use self::recorder::text;
pub use self::recorder::{Journal, Poison, Recorder, Seen};

/// The budgets that a harness sets up, so that behaviours can reach them.
pub const BATCH_BYTES: usize = 64 << 10;
/// The largest group.
pub const GROUP_BYTES: usize = 256 << 10;
/// What may wait to be appended, in bytes, and what may be durable and not yet applied.
pub const WAITING_BYTES: usize = 128 << 10;
/// The size of a segment.
pub const SEGMENT_BYTES: u64 = 128 << 10;

/// One directory with the committer under test.
pub trait Harness {
    /// Starts on the directory, with the log that earlier runs left.
    fn start(&self, machine: Recorder) -> Running;
}

/// A committer that was started.
pub struct Running {
    /// It.
    pub committer: Arc<dyn Committer<u64>>,
    /// Its log.
    pub reader: Reader,
    /// Stops it and gives the directory back.
    pub stop: Box<dyn FnOnce()>,
}

/// Expands to one test a behaviour. `$harness` is an expression that makes a fresh [`Harness`].
#[macro_export]
macro_rules! committer_suite {
    ($harness:expr) => {
        $crate::committer_suite! { @each $harness;
            outcomes_come_in_order_with_positions_once_durable_and_applied;
            groups_are_contiguous_and_each_proposer_keeps_its_order;
            answers_that_nobody_waits_for_change_nothing;
            a_restart_replays_what_the_machine_has_not_seen_without_outcomes;
            each_open_starts_a_term_and_no_index_is_used_twice;
            a_proposal_for_another_term_is_refused;
            over_the_budget_is_busy_and_not_appended;
            a_group_over_the_limit_is_refused;
            a_large_group_makes_a_batch_of_its_own;
            stopping_answers_what_was_taken;
            a_batch_that_cannot_be_applied_stops_the_shard;
            holds_keep_the_log_and_releases_let_it_go;
            a_barrier_covers_what_was_acknowledged;
        }
    };
    (@each $harness:expr; $($name:ident;)*) => {$(
        #[test]
        fn $name() {
            $crate::suite::$name(&$harness);
        }
    )*};
}

/// A group of text records.
pub fn group(texts: &[&str]) -> Group {
    let mut builder = GroupBuilder::with_capacity(texts.iter().map(|text| text.len() + 8).sum());
    for text in texts {
        builder.record(|buf| buf.put_slice(text.as_bytes()));
    }
    builder.finish()
}

fn fresh(harness: &impl Harness) -> (Arc<Journal>, Running) {
    let journal = Arc::new(Journal::default());
    let running = harness.start(Recorder(Arc::clone(&journal)));
    (journal, running)
}

fn propose(committer: &Arc<dyn Committer<u64>>, texts: &[&str]) -> Pending<u64> {
    committer.propose(group(texts), None, Priority::Ordinary).unwrap()
}

/// One outcome a record; the watches cover a record before its proposer hears of it.
pub fn outcomes_come_in_order_with_positions_once_durable_and_applied(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let started = journal.seen().records.len() as u64;
    for n in 0..50 {
        let outcomes = propose(&running.committer, &["a", "b", "c"]).wait().unwrap();
        let numbers: Vec<_> = outcomes.iter().map(|applied| applied.outcome).collect();
        assert_eq!(numbers, [started + 3 * n, started + 3 * n + 1, started + 3 * n + 2]);
        let last = outcomes[2].position;
        assert!(*running.committer.applied().borrow() > last);
        assert!(*running.committer.durable().borrow() > last);
        assert!(running.reader.durable() > last);
        assert_eq!(running.reader.cached(last).unwrap(), "c");
    }
    let records = journal.seen().records;
    assert!(records.is_sorted_by(|a, b| a.0 < b.0));
    assert!(records.iter().skip(usize::try_from(started).unwrap()).all(|(_, _, live)| *live));
    (running.stop)();
}

/// Many threads at once.
pub fn groups_are_contiguous_and_each_proposer_keeps_its_order(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let skip = journal.seen().records.len();
    thread::scope(|scope| {
        for proposer in 0..8 {
            let committer = Arc::clone(&running.committer);
            scope.spawn(move || {
                let pending: Vec<_> = (0..100)
                    .map(|n| propose(&committer, &[&format!("{proposer} {n} a"), &format!("{proposer} {n} b")]))
                    .collect();
                for pending in pending {
                    assert_eq!(pending.wait().unwrap().len(), 2);
                }
            });
        }
    });
    let texts = journal.texts().split_off(skip);
    assert_eq!(texts.len(), 8 * 100 * 2);
    let mut next = [0; 8];
    for pair in texts.chunks(2) {
        let proposer: usize = pair[0].split(' ').next().unwrap().parse().unwrap();
        let n = next[proposer];
        assert_eq!(pair, [format!("{proposer} {n} a"), format!("{proposer} {n} b")]);
        next[proposer] += 1;
    }
    (running.stop)();
}

/// A proposer that goes away is not the log's business.
pub fn answers_that_nobody_waits_for_change_nothing(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    drop(propose(&running.committer, &["dropped"]));
    propose(&running.committer, &["kept"]).wait().unwrap();
    assert!(journal.texts().ends_with(&["dropped".into(), "kept".into()]));
    (running.stop)();
}

/// All of it for a new machine, the rest for one that saw a part; never as live.
pub fn a_restart_replays_what_the_machine_has_not_seen_without_outcomes(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    propose(&running.committer, &["1", "2"]).wait().unwrap();
    let part = journal.seen();
    for n in 3..40 {
        propose(&running.committer, &[&n.to_string()]).wait().unwrap();
    }
    (running.stop)();
    let whole = journal.seen();

    let (second, running) = fresh(harness);
    let replayed = second.seen();
    let strip = |seen: &Seen| seen.records.iter().map(|(at, payload, _)| (*at, payload.clone())).collect::<Vec<_>>();
    assert_eq!(strip(&replayed), strip(&whole));
    assert!(replayed.records.iter().all(|(_, _, live)| !live));
    (running.stop)();

    journal.rewind(&part);
    let running = harness.start(Recorder(Arc::clone(&journal)));
    assert_eq!(strip(&journal.seen()), strip(&whole));
    propose(&running.committer, &["live"]).wait().unwrap();
    let (_, payload, live) = journal.seen().records.pop().unwrap();
    assert_eq!((text(&payload).as_str(), live), ("live", true));
    (running.stop)();
}

/// Terms grow, indexes have no hole, and the leader's blank batch comes before anything that it proposes.
pub fn each_open_starts_a_term_and_no_index_is_used_twice(harness: &impl Harness) {
    let mut last = 0;
    for open in 0..4 {
        let (journal, running) = fresh(harness);
        let Role { term, leader, since } = *running.committer.role().borrow();
        assert!(leader);
        assert!(term > last, "term {term} after {last}");
        last = term;
        assert!(*running.committer.applied().borrow() >= since, "the blank batch is applied");
        let at = propose(&running.committer, &[&open.to_string()]).wait().unwrap()[0].position;
        assert!(at > since);
        let batches = journal.seen().batches;
        assert!(batches.iter().enumerate().all(|(n, (_, index))| *index == n as u64), "{batches:?}");
        assert!(batches.is_sorted_by_key(|(term, _)| *term));
        assert_eq!(batches.last().unwrap().0, term);
        (running.stop)();
    }
}

/// For proposers who acted on what they read as the leader of a term.
pub fn a_proposal_for_another_term_is_refused(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let term = running.committer.role().borrow().term;
    let propose = |term| running.committer.propose(group(&["t"]), Some(term), Priority::Ordinary);
    assert!(matches!(propose(term - 1), Err(Refused::NotLeader { .. })));
    assert!(matches!(propose(term + 1), Err(Refused::NotLeader { .. })));
    propose(term).unwrap().wait().unwrap();
    assert_eq!(journal.texts().iter().filter(|text| *text == "t").count(), 1);
    (running.stop)();
}

/// While nothing is applied the budgets fill up; what was taken goes through, what was refused never does.
pub fn over_the_budget_is_busy_and_not_appended(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let skip = journal.seen().records.len();
    let paused = journal.pause();
    let filler = "x".repeat(4096);
    let mut taken = Vec::new();
    let refused = loop {
        let text = format!("{} {filler}", taken.len());
        match running.committer.propose(group(&[&text]), None, Priority::Ordinary) {
            Ok(pending) => taken.push((text, pending)),
            Err(refused) => break refused,
        }
        assert!(taken.len() < 10_000, "a budget that never fills is none");
    };
    assert!(matches!(refused, Refused::Busy { .. }), "{refused}");
    drop(paused);
    let mut expected = Vec::new();
    for (text, pending) in taken {
        pending.wait().unwrap();
        expected.push(text);
    }
    propose(&running.committer, &["after"]).wait().unwrap();
    expected.push("after".into());
    assert_eq!(journal.texts().split_off(skip), expected);
    (running.stop)();
}

/// `TooLarge`, with both numbers.
pub fn a_group_over_the_limit_is_refused(harness: &impl Harness) {
    let (_, running) = fresh(harness);
    let over = group(&[&"x".repeat(GROUP_BYTES)]);
    let refused = running.committer.propose(over.clone(), None, Priority::Ordinary).unwrap_err();
    assert_eq!(refused, Refused::TooLarge { bytes: over.len(), max: GROUP_BYTES });
    propose(&running.committer, &[&"x".repeat(GROUP_BYTES - 8)]).wait().unwrap();
    (running.stop)();
}

/// Larger than a batch's budget, what may wait, and a segment: still whole, between its neighbours.
pub fn a_large_group_makes_a_batch_of_its_own(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let large = "y".repeat(WAITING_BYTES + BATCH_BYTES);
    let before = propose(&running.committer, &["before"]);
    before.wait().unwrap();
    let pending = propose(&running.committer, &[&large, "tail"]);
    assert_eq!(pending.wait().unwrap().len(), 2);
    propose(&running.committer, &["after"]).wait().unwrap();
    assert!(journal.texts().ends_with(&["before".into(), large, "tail".into(), "after".into()]));
    (running.stop)();
    let (again, running) = fresh(harness);
    assert_eq!(again.texts(), journal.texts());
    (running.stop)();
}

/// Nothing that was taken is left without an answer, nothing is taken afterwards.
pub fn stopping_answers_what_was_taken(harness: &impl Harness) {
    let (journal, running) = fresh(harness);
    let pending: Vec<_> = (0..20).map(|n| propose(&running.committer, &[&n.to_string()])).collect();
    let committer = Arc::clone(&running.committer);
    (running.stop)();
    for pending in pending {
        pending.wait().unwrap();
    }
    let refused = committer.propose(group(&["late"]), None, Priority::Ordinary).unwrap_err();
    assert_eq!(refused, Refused::Unavailable);
    assert_eq!(journal.texts().last().unwrap(), "19");
}

/// It is durable and will be met again: the proposer learns nothing, the shard takes nothing more and says why.
pub fn a_batch_that_cannot_be_applied_stops_the_shard(harness: &impl Harness) {
    let (_, running) = fresh(harness);
    propose(&running.committer, &["fine"]).wait().unwrap();
    let mut failed = running.committer.failed();
    assert!(failed.borrow_and_update().is_none());
    let poison = propose(&running.committer, &["poison"]);
    assert_eq!(poison.wait().unwrap_err(), Failure::Unknown);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(failed.wait_for(Option::is_some)).unwrap().clone().unwrap();
    assert!(matches!(&*error, crate::Error::Apply { .. }), "{error}");
    let late = running.committer.propose(group(&["late"]), None, Priority::Ordinary);
    assert_eq!(late.unwrap_err(), Refused::Unavailable);
    assert!(!running.reader.batches(Position(0)).any(|batch| batch.is_err()), "reads go on");
    (running.stop)();
}

/// Whole segments go, only below the release and every hold, and the rest stays readable.
pub fn holds_keep_the_log_and_releases_let_it_go(harness: &impl Harness) {
    let (_, running) = fresh(harness);
    let filler = "z".repeat(8 << 10);
    let mut at = Vec::new();
    for _ in 0..100 {
        at.push(propose(&running.committer, &[&filler]).wait().unwrap()[0].position);
    }
    let first = running.reader.first();
    let (low, high) = (running.committer.hold(at[40]), running.committer.hold(at[60]));
    running.committer.release(at[90]);
    settle(&running);
    let kept = running.reader.first();
    assert!(kept > first, "some segments went");
    assert!(kept <= at[40]);
    drop(low);
    settle(&running);
    assert!(running.reader.first() > kept && running.reader.first() <= at[60]);
    assert!(running.reader.read(&at[60..]).iter().all(Result::is_ok));
    let late = running.committer.hold(at[0]);
    assert!(late.position() >= running.reader.first(), "a late hold says how far it reaches");
    drop((late, high));
    (running.stop)();
}

/// The log thread looks at the floor between batches: after a batch that was proposed later it has looked.
fn settle(running: &Running) {
    for _ in 0..2 {
        propose(&running.committer, &["settle"]).wait().unwrap();
    }
}

/// Nobody else's acknowledged record can be missing from what is applied at the barrier.
pub fn a_barrier_covers_what_was_acknowledged(harness: &impl Harness) {
    let (_, running) = fresh(harness);
    let at = propose(&running.committer, &["seen"]).wait().unwrap()[0].position;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let barrier = runtime.block_on(running.committer.barrier()).unwrap();
    assert!(barrier > at);
    assert!(*running.committer.applied().borrow() >= barrier);
    (running.stop)();
}
