use bytes::Bytes;
use causeway_model::{Millis, Position};
use proptest::prelude::*;

use super::*;
use crate::record::{Limits, SUPPORTED_LEVEL};
use crate::sample::{Batch, Log, Random, Shard, cluster_init, encode, publish};
use crate::{Durable, Twin};

/// A log of random records: the first is `ClusterInit` with small limits, so that limits are met.
fn random_log(seed: u64, batches: usize) -> Vec<Batch> {
    let mut random = Random::new(seed);
    let (mut log, mut time, mut all) = (Log::default(), 1_000_000, Vec::new());
    // A reference shard says what digests a leader would name in its checks.
    let tables = Twin::new();
    let (mut apply, mut effects) = (Apply::open(&tables).unwrap(), Effects::new());
    for number in 0..batches {
        let mut at = log.next();
        let mut payloads = Vec::new();
        if number == 0 {
            let limits = Limits { session_filters: 3, active_filters: 6, matches: 2 };
            payloads.push(encode(&Record::ClusterInit(cluster_init(limits))));
            at = at.plus(8 + payloads[0].len() as u64);
        }
        for _ in 0..random.below(12) {
            let payload = random.payload(at);
            at = at.plus(8 + payload.len() as u64);
            payloads.push(payload);
        }
        // Clocks step back now and then, and far ahead, so that sessions expire.
        time = time + [0, 0, 1, 1, 60, 60, 60, 4_000_000][random.below(8)] - random.below(2) as u64;
        let batch = log.batch(Millis(time), payloads);
        effects.clear();
        if apply.batch(&tables, &batch.meta, batch.records.iter().cloned(), &mut effects).is_err() {
            // A damaged check named a digest that nobody had: such a log ends here.
            break;
        }
        tables.write(&effects.mutations).unwrap();
        for outcome in &effects.outcomes {
            if let Outcome::Opened(opened) = outcome {
                random.sessions.push((opened.sid, opened.epoch));
            }
        }
        random.digests.push((apply.applied().position, apply.applied().digest));
        all.push(batch);
    }
    all
}

/// Applies a log in runs of the lengths given, in turn; `crash` says after which runs power fails, `flush` after which
/// ones a flush was waited for.
fn apply_in_runs(log: &[Batch], runs: &[usize], flushes: &[bool], crashes: &[bool]) -> (Twin, AppliedMark) {
    let tables = Twin::new();
    tables.flush().unwrap();
    let mut apply = Apply::open(&tables).unwrap();
    let mut effects = Effects::for_replay();
    let (mut next, mut run) = (0, 0);
    while next < log.len() {
        let length = runs[run % runs.len()].clamp(1, log.len() - next);
        effects.clear();
        for batch in &log[next..next + length] {
            apply.batch(&tables, &batch.meta, batch.records.iter().cloned(), &mut effects).unwrap();
        }
        tables.write(&effects.mutations).unwrap();
        next += length;
        if flushes[run % flushes.len()] {
            tables.flush().unwrap();
        }
        // Each crash happens once, or the replay would never get past it.
        if crashes.get(run).copied().unwrap_or(false) {
            tables.crash();
            apply = Apply::open(&tables).unwrap();
            let mark = apply.applied();
            next = if mark.position == Position(0) { 0 } else { usize::try_from(mark.index).unwrap() + 1 };
        }
        run += 1;
    }
    (tables, apply.applied().clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn two_applies_of_one_log_agree_whatever_their_runs_flushes_and_crashes(
        seed: u64,
        runs in proptest::collection::vec(1..9_usize, 1..6),
        flushes in proptest::collection::vec(any::<bool>(), 1..6),
        crashes in proptest::collection::vec(any::<bool>(), 0..8),
    ) {
        let log = random_log(seed, 30);
        let (one, mark) = apply_in_runs(&log, &[1], &[false], &[]);
        let (other, again) = apply_in_runs(&log, &runs, &flushes, &crashes);
        prop_assert_eq!(&mark, &again, "digest or mark differ, seed {}", seed);
        prop_assert_eq!(one.dump(), other.dump(), "rows differ, seed {}", seed);
    }

    #[test]
    fn a_rebuild_from_a_checkpoint_and_the_log_after_it_gives_the_same_rows(
        seed: u64, at in 0..20_usize, floor in 0..2000_u64,
    ) {
        let log = random_log(seed, 25);
        let tables = Twin::new();
        let (mut apply, mut effects) = (Apply::open(&tables).unwrap(), Effects::for_replay());
        for (number, batch) in log.iter().enumerate() {
            effects.clear();
            apply.batch(&tables, &batch.meta, batch.records.iter().cloned(), &mut effects).unwrap();
            tables.write(&effects.mutations).unwrap();
            if number == at {
                tables.flush().unwrap();
                tables.checkpoint().unwrap();
            }
            // Compaction drops dead entries on this replica while it goes, on another only at the end.
            tables.set_floor(apply.first().min(Position(floor)));
        }
        let (rows, mark) = (tables.dump(), apply.applied().clone());
        tables.restore();
        let mut apply = Apply::open(&tables).unwrap();
        let from = apply.applied().position;
        for batch in log.iter().filter(|batch| batch.meta.end > from) {
            effects.clear();
            apply.batch(&tables, &batch.meta, batch.records.iter().cloned(), &mut effects).unwrap();
            tables.write(&effects.mutations).unwrap();
        }
        tables.set_floor(tables.floor());
        prop_assert_eq!(apply.applied(), &mark, "seed {}", seed);
        prop_assert_eq!(tables.dump(), rows, "seed {}", seed);
    }

    #[test]
    fn whatever_bytes_the_log_holds_a_batch_is_applied_or_refused_whole(
        seed: u64,
        payloads in proptest::collection::vec(
            (proptest::sample::select(Kind::ALL), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..80)), 0..12),
        raw in proptest::option::weighted(0.1, proptest::collection::vec(any::<u8>(), 0..40)),
    ) {
        let mut shard = Shard::new();
        let mut random = Random::new(seed);
        for _ in 0..5 {
            let at = shard.log.next();
            let _ = shard.batch(&[random.record(at)]);
        }
        let before = (shard.apply.applied().clone(), shard.tables.dump());
        let built = |kind: &Kind| kind.is_built();
        let all_built = raw.is_none() && payloads.iter().all(|(kind, ..)| built(kind));
        let payloads = payloads.into_iter().map(|(kind, bits, body)| [&[kind as u8, 1, 1, bits][..], &body].concat());
        let payloads: Vec<Bytes> = payloads.chain(raw).map(Bytes::from).collect();
        let count = payloads.len();
        match shard.try_batch(payloads) {
            Ok(outcomes) => prop_assert_eq!(outcomes.len(), count),
            // Only bytes of a kind that is not built, or by chance a check, stop a shard.
            Err(ApplyError::Forked { .. }) => {}
            Err(error) => {
                prop_assert!(!all_built, "{error}");
                prop_assert_eq!(&(shard.apply.applied().clone(), shard.tables.dump()), &before);
                prop_assert!(shard.effects.mutations.is_empty() && shard.effects.outcomes.is_empty());
            }
        }
    }
}

/// The property above is only worth something if random logs do most things.
#[test]
fn random_logs_reach_every_outcome() {
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for seed in 0..150 {
        let (tables, mut effects) = (Twin::new(), Effects::new());
        let mut apply = Apply::open(&tables).unwrap();
        for batch in random_log(seed, 30) {
            effects.clear();
            apply.batch(&tables, &batch.meta, batch.records.into_iter(), &mut effects).unwrap();
            tables.write(&effects.mutations).unwrap();
            for outcome in &effects.outcomes {
                let name = if let Outcome::Opened(opened) = outcome {
                    format!("Opened present {}", opened.present)
                } else if let Outcome::Subscribed { existed, .. } = outcome {
                    format!("Subscribed {existed}")
                } else {
                    format!("{outcome:?}")
                };
                *seen.entry(name).or_default() += 1;
            }
            for event in &effects.events {
                let name = format!("{event:?}").split(' ').next().unwrap().to_owned();
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    let wanted = [
        "Published",
        "Interest",
        "Opened present true",
        "Opened present false",
        "Subscribed true",
        "Subscribed false",
        "Unsubscribed { existed: true }",
        "Unsubscribed { existed: false }",
        "Done",
        "Rejected(Fenced)",
        "Rejected(NotFound)",
        "Rejected(Quota)",
        "Rejected(Invalid)",
        "TakenOver",
        "Timer",
        "GatewayLost",
        "Trimmed",
    ];
    for name in wanted {
        assert!(seen.get(name).is_some_and(|count| *count >= 5), "{name} is rare: {seen:?}");
    }
}

#[test]
fn an_unknown_kind_stops_the_shard_before_anything_of_its_batch_took_effect() {
    let mut shard = Shard::new();
    let before = (shard.apply.applied().clone(), shard.tables.dump());
    let reserved = Bytes::from_static(&[Kind::Refer as u8, 1, 7, 0, 1, 2, 3]);
    let at = shard.log.next().plus(8 + encode(&publish("a")).len() as u64);
    let error = shard.try_batch(vec![encode(&publish("a")), reserved]).unwrap_err();
    let ApplyError::Unsupported { kind, version, position, level } = error else { panic!("{error}") };
    assert_eq!((kind, version, position, level), (Kind::Refer as u8, 1, at, 7));
    assert_eq!((shard.apply.applied().clone(), shard.tables.dump()), before);
    assert!(shard.effects.mutations.is_empty() && shard.effects.entered.is_empty());
}

#[test]
fn a_record_of_a_higher_level_stops_the_shard_and_says_which_level() {
    let mut shard = Shard::new();
    let above = Record::FeatureLevel(crate::record::FeatureLevel { level: SUPPORTED_LEVEL + 1 });
    let error = shard.try_batch(vec![encode(&above)]).unwrap_err();
    assert!(matches!(error, ApplyError::Unsupported { level, .. } if level == SUPPORTED_LEVEL + 1), "{error}");
}

#[test]
fn batches_come_in_order_and_once() {
    let mut shard = Shard::new();
    let mark = shard.apply.applied().clone();
    let good = BatchMeta {
        index: mark.index + 1,
        term: 1,
        position: mark.position,
        end: mark.position.plus(80),
        ..BatchMeta::default()
    };
    let bad = [
        BatchMeta { index: mark.index, ..good.clone() },
        BatchMeta { index: mark.index + 2, ..good.clone() },
        BatchMeta { position: Position(0), ..good.clone() },
        BatchMeta { position: mark.position.plus(1), ..good.clone() },
        BatchMeta { end: mark.position, ..good.clone() },
    ];
    for meta in bad {
        let error = shard.apply.batch(&shard.tables, &meta, std::iter::empty(), &mut shard.effects).unwrap_err();
        assert!(matches!(error, ApplyError::Order { .. }), "{meta:?}: {error}");
    }
    shard.apply.batch(&shard.tables, &good, std::iter::empty(), &mut shard.effects).unwrap();
    assert_eq!(shard.apply.applied().position, good.end);
}

#[test]
fn a_batch_without_records_moves_the_mark_and_a_membership_stays_in_it() {
    let mut shard = Shard::new();
    let mark = shard.apply.applied().clone();
    let meta = BatchMeta {
        index: mark.index + 1,
        term: 4,
        position: mark.position,
        end: mark.position.plus(99),
        time: Millis(2_000_000),
        membership: Some(Bytes::from_static(b"members")),
    };
    shard.effects.clear();
    shard.apply.batch(&shard.tables, &meta, std::iter::empty(), &mut shard.effects).unwrap();
    shard.tables.write(&shard.effects.mutations).unwrap();
    shard.reopen();
    let expected = AppliedMark {
        index: meta.index,
        term: 4,
        position: meta.end,
        time: Millis(2_000_000),
        digest: mark.digest,
        membership_index: meta.index,
        membership: Bytes::from_static(b"members"),
    };
    assert_eq!(shard.apply.applied(), &expected);
    assert_eq!(crate::read::applied(&shard.tables).unwrap(), expected);
}

#[test]
fn damaged_rows_are_reported_and_not_guessed() {
    for (family, row) in [(Family::Meta, &key::APPLIED[..]), (Family::Filter, b"no zero"), (Family::Queue, b"q")] {
        let shard = Shard::new();
        let mut damage = crate::Mutations::new();
        damage.put(family, row, b"\xff");
        shard.tables.write(&damage).unwrap();
        assert!(matches!(Apply::open(&shard.tables), Err(ApplyError::Damaged { .. })), "{family}");
    }
}
