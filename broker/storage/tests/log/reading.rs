//! Cursors, single records and look-ups, at the edges and beside a writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use causeway_model::Position;
use causeway_storage::{Ahead, Error, Mark, Options, Sim};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use crate::world::{self, LINEAGE, draft, image, replay, write};

#[test]
fn a_cursor_starts_with_the_batch_that_contains_the_position() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> = (0..40).map(|i| write(&mut opened, 1, &[1 + i * 37, 20]).unwrap()).collect();
    for batch in &log {
        for from in [batch.header.position, batch.header.position.plus(1), Position(batch.end().0 - 1)] {
            let first = opened.reader.batches(from).next().unwrap().unwrap();
            assert_eq!(first.header.index, batch.header.index, "from {from}");
            assert_eq!(replay(&opened, from).unwrap().len() as u64, 40 - batch.header.index);
        }
        assert_eq!(opened.reader.locate(batch.header.index).unwrap(), Some(batch.header.position));
    }
    assert_eq!(opened.reader.locate(40).unwrap(), None);
    assert!(opened.reader.batches(opened.writer.end()).next().is_none());
    assert!(opened.reader.batches(Position(u64::MAX)).next().is_none());
}

#[test]
fn a_cursor_ends_at_the_durable_end_and_goes_on_when_it_has_moved() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let mut cursor = opened.reader.batches(Position(0));
    let mut seen = 0;
    for round in 0..30_u64 {
        for _ in 0..=round % 3 {
            let index = opened.writer.next_index();
            opened.writer.append(draft(1, index, 0, &[usize::try_from(round * 97 % 1500).unwrap() + 1])).unwrap();
        }
        if opened.reader.durable() == cursor.position() {
            assert!(cursor.next().is_none(), "nothing new is durable");
        }
        opened.writer.sync().unwrap();
        for batch in cursor.by_ref() {
            assert_eq!(batch.unwrap().header.index, seen);
            seen += 1;
        }
        assert_eq!(seen, opened.writer.next_index());
    }
}

#[test]
fn what_is_appended_and_not_synced_can_be_read_by_its_position_at_once() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    // Far over the ring's budget, and all of it stays: it is not durable.
    let batches: Vec<_> = (0..30).map(|i| opened.writer.append(draft(1, i, 0, &[150])).unwrap()).collect();
    let unsynced = batches.iter().filter(|batch| batch.header.position >= opened.reader.durable());
    let mut count = 0;
    for (position, payload) in unsynced.flat_map(|batch| batch.records()) {
        assert_eq!(opened.reader.cached(position), Some(payload));
        count += 1;
    }
    assert_eq!(
        count,
        29,
        "{count} records, over {} bytes of budget (batch 0 is synced alone)",
        world::options().tail_bytes
    );
    opened.writer.sync().unwrap();
    let cached = batches.iter().filter(|batch| opened.reader.cached(batch.header.position.plus(80)).is_some()).count();
    assert!((1..20).contains(&cached), "{cached} batches are kept within the budget");
}

#[test]
fn positions_come_back_in_the_order_they_were_asked_for_each_with_its_own_answer() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> = (0..40).map(|i| write(&mut opened, 1, &[1 + i * 53, 3, 900]).unwrap()).collect();
    let removed = opened.writer.reclaim(log[20].end()).unwrap();
    let first = removed.last().unwrap().end;
    assert_eq!(opened.reader.first(), first);
    let mut asked: Vec<_> =
        log.iter().flat_map(|batch| batch.records()).map(|(at, payload)| (at, Some(payload))).collect();
    asked.push((opened.writer.end(), None));
    asked.push((Position(u64::MAX), None));
    asked.push((log[30].header.position.plus(81), None));
    asked.shuffle(&mut StdRng::seed_from_u64(7));
    let positions: Vec<_> = asked.iter().map(|(at, _)| *at).collect();
    let read = opened.reader.read(&positions);
    assert_eq!(read.len(), asked.len());
    for ((at, expected), read) in asked.into_iter().zip(read) {
        match (read, expected) {
            (Ok(read), Some(expected)) => assert_eq!(read, expected, "at {at}"),
            (Err(Error::Trimmed { position, first: from }), Some(_)) => {
                assert!(position == at && at < first && from == first);
            }
            (Err(Error::Beyond { .. }), None) => assert!(at >= opened.writer.end()),
            (Err(Error::Corrupt { position, .. }), None) => assert_eq!(position, at, "no record starts there"),
            (read, _) => panic!("at {at}: {read:?}"),
        }
    }
    assert!(matches!(opened.reader.batches(Position(0)).next(), Some(Err(Error::Trimmed { .. }))));
    assert!(matches!(opened.reader.locate(0), Err(Error::Trimmed { .. })));
    assert!(opened.reader.read(&[]).is_empty());
}

#[test]
fn records_over_a_page_and_over_a_segment_are_read_whole() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> =
        [10, 16_300, 16_400, 60_000, 3, 9000].map(|size| write(&mut opened, 1, &[size, 40_000]).unwrap()).into();
    let records: Vec<_> = log.iter().flat_map(|batch| batch.records()).collect();
    drop(opened);
    let opened = world::open(&sim, Mark::default()).unwrap();
    let positions: Vec<_> = records.iter().map(|(at, _)| *at).collect();
    for ((at, expected), read) in records.into_iter().zip(opened.reader.read(&positions)) {
        assert_eq!(read.unwrap(), expected, "at {at}");
    }
}

#[test]
fn reclaim_takes_whole_segments_from_the_oldest_on_and_never_the_last() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> = (0..40).map(|i| write(&mut opened, 1, &[200 + i]).unwrap()).collect();
    let inspection = causeway_storage::inspect(Arc::new(sim.clone()), &world::dir()).unwrap();
    let second = inspection.segments().nth(1).unwrap();
    assert!(log.iter().any(|batch| batch.end() == second), "segments start with batches");
    assert!(opened.writer.reclaim(Position(second.0 - 1)).unwrap().is_empty());
    let removed = opened.writer.reclaim(second).unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].first, removed[0].end), (Position(0), second));
    assert!(sim.contents(&removed[0].file).is_none());
    opened.writer.reclaim(Position(u64::MAX)).unwrap();
    assert!(opened.reader.first() < opened.writer.end());
    write(&mut opened, 1, &[5000]).unwrap();
    let first = opened.reader.first();
    drop(opened);
    sim.crash();
    let opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(opened.reader.first(), first);
    assert_eq!(opened.writer.next_index(), 41);
    let at_floor = replay(&opened, first).unwrap();
    assert_eq!(image(at_floor.last().unwrap()).0.index, 40);
}

#[test]
fn a_reclaimed_floor_agrees_with_a_mark_that_stands_exactly_there() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> = (0..30).map(|_| write(&mut opened, 4, &[900]).unwrap()).collect();
    let floor = opened.writer.reclaim(log[25].end()).unwrap().last().unwrap().end;
    drop(opened);
    let at = log.iter().find(|batch| batch.end() == floor).unwrap();
    world::open(&sim, world::mark(at)).unwrap();
    let wrong = Mark { term: 3, ..world::mark(at) };
    assert!(matches!(world::open(&sim, wrong), Err(Error::Corrupt { .. })));
}

/// Real files and threads: readers at every age of the log while it is written, rolled and reclaimed. Each record says its
/// own position's hash, so that a reader knows what it must see.
#[test]
fn readers_see_whole_records_or_trimmed_beside_a_writer_that_rolls_and_reclaims() {
    let (root, fs) = world::disk();
    let options = Options { segment_bytes: 32 << 10, tail_bytes: 16 << 10, ahead: Ahead::Thread, ..Options::default() };
    let mut opened = causeway_storage::create(fs, &root.path().join("log"), options, LINEAGE).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|seed| {
            let (reader, done) = (opened.reader.clone(), done.clone());
            std::thread::spawn(move || {
                let mut random = StdRng::seed_from_u64(seed);
                let (mut seen, mut trimmed) = (0_u64, 0_u64);
                loop {
                    let last = done.load(Ordering::Acquire);
                    let (first, end) = (reader.first().0, reader.durable().0);
                    let from = Position(random.random_range(first..=end));
                    for batch in reader.batches(from).take(20) {
                        let batch = match batch {
                            Ok(batch) => batch,
                            Err(Error::Trimmed { .. }) => {
                                trimmed += 1;
                                break;
                            }
                            Err(error) => panic!("{error}"),
                        };
                        let (at, payloads): (Vec<_>, Vec<_>) = batch.records().unzip();
                        for (read, payload) in reader.read(&at).into_iter().zip(payloads) {
                            match read {
                                Ok(read) => assert_eq!(read, payload),
                                Err(Error::Trimmed { .. }) => trimmed += 1,
                                Err(error) => panic!("{error}"),
                            }
                            seen += 1;
                        }
                    }
                    if last {
                        return (seen, trimmed);
                    }
                }
            })
        })
        .collect();
    for i in 0..600_usize {
        let batch = write(&mut opened, 1, &[1 + i % 700, 300]).unwrap();
        if i % 50 == 49 {
            let below = Position(batch.end().0.saturating_sub(100 << 10));
            opened.writer.reclaim(below).unwrap();
        }
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        let (seen, _) = reader.join().unwrap();
        assert!(seen > 0);
    }
    assert!(opened.reader.first() > Position(0));
}
