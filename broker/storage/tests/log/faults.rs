//! The disk says no: what each failing call leaves true, while the log runs and after a restart.

use std::io::ErrorKind;

use causeway_model::Position;
use causeway_storage::io::Op;
use causeway_storage::{Error, Mark, Opened, Operation, Sim};

use crate::world::{self, draft, image, replay, write};

/// Appends and syncs until something fails for good, and says how many batches were acknowledged.
fn run(opened: &mut Opened, upto: u64) -> (usize, Vec<Error>) {
    let (mut acknowledged, mut errors) = (usize::try_from(opened.writer.next_index()).unwrap(), Vec::new());
    for i in 0..upto {
        let size = 1 + usize::try_from(i * 331 % 2500).unwrap();
        match write(opened, 1, &[size]) {
            Ok(_) => acknowledged = usize::try_from(opened.writer.next_index()).unwrap(),
            Err(error) => errors.push(error),
        }
    }
    (acknowledged, errors)
}

#[test]
fn the_first_failed_sync_poisons_the_log_reads_go_on_and_a_restart_helps() {
    let mut poisoned = 0;
    for failing in 0..12 {
        let sim = Sim::new(failing);
        let mut opened = world::create(&sim);
        let first = write(&mut opened, 1, &[50]).unwrap();
        let (position, payload) = first.records().next().unwrap();
        sim.fail(Op::Sync, failing, 1, ErrorKind::Other);
        let (acknowledged, errors) = run(&mut opened, 25);
        // The sync of a slice made ahead is not the log's own: it is made again.
        if opened.reader.poisoned().is_none() {
            assert_eq!(replay(&opened, Position(0)).unwrap().len(), acknowledged);
            continue;
        }
        poisoned += 1;
        let (first_error, later) = errors.split_first().expect("a sync failed");
        assert!(matches!(first_error, Error::Io { operation: Operation::Sync, .. }), "sync {failing}: {first_error}");
        assert!(later.iter().all(|error| matches!(error, Error::Poisoned { .. })), "{later:?}");
        assert!(opened.reader.poisoned().unwrap().contains("cannot sync"));
        assert!(opened.writer.sync().is_err() && opened.writer.reclaim(Position(9)).is_err());
        assert_eq!(opened.reader.read(&[position])[0].as_ref().unwrap(), &payload);
        let durable = replay(&opened, Position(0)).unwrap();
        assert_eq!(durable.len(), acknowledged);
        drop(opened);
        sim.crash();
        let mut opened = world::open(&sim, Mark::default()).unwrap();
        let kept = replay(&opened, Position(0)).unwrap();
        assert!(kept.len() >= acknowledged);
        assert!(kept.iter().zip(&durable).all(|(kept, durable)| image(kept) == image(durable)));
        write(&mut opened, 2, &[1]).unwrap();
    }
    assert!(poisoned > 6, "{poisoned} of 12");
}

/// After a failed sync the kernel calls the pages clean: reading them back and syncing again proves nothing.
#[test]
fn what_a_restart_adopts_after_a_failed_sync_is_written_again_before_it_is_called_durable() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let mut opened = world::create(&sim);
        for _ in 0..3 {
            write(&mut opened, 1, &[700]).unwrap();
        }
        for index in 3..6 {
            opened.writer.append(draft(1, index, 2, &[300])).unwrap();
        }
        sim.fail(Op::Sync, 0, 1, ErrorKind::Other);
        opened.writer.sync().unwrap_err();
        // The process ends, the machine does not.
        drop(opened);
        let opened = world::open(&sim, Mark::default()).unwrap();
        let adopted = replay(&opened, Position(0)).unwrap().len();
        assert_eq!((adopted, opened.reader.durable()), (6, opened.writer.end()));
        drop(opened);
        sim.crash();
        let opened = world::open(&sim, Mark::default()).unwrap();
        assert_eq!(replay(&opened, Position(0)).unwrap().len(), adopted, "seed {seed}");
    }
}

#[test]
fn each_call_that_fails_once_leaves_a_log_that_goes_on_or_is_poisoned_and_a_restart_that_loses_nothing() {
    for op in [Op::Open, Op::Read, Op::Write, Op::SetLen, Op::Sync, Op::SyncDir, Op::Rename, Op::Remove] {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            for skip in 0..40 {
                let what = format!("{op:?} number {skip} fails with {kind:?}");
                let sim = Sim::new(skip);
                let mut opened = world::create(&sim);
                sim.fail(op, skip, 1, kind);
                let (acknowledged, errors) = run(&mut opened, 30);
                let poisoned = opened.reader.poisoned().is_some();
                if !poisoned {
                    assert!(errors.len() <= 1, "{what}: {errors:?}");
                    write(&mut opened, 1, &[5]).unwrap_or_else(|error| panic!("{what}, going on: {error}"));
                }
                let acknowledged =
                    if poisoned { acknowledged } else { usize::try_from(opened.writer.next_index()).unwrap() };
                sim.heal();
                let before: Vec<_> = replay(&opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect();
                assert_eq!(before.len(), acknowledged, "{what}");
                drop(opened);
                let mut acknowledged = acknowledged;
                if skip % 2 == 0 {
                    // The process restarts and the machine goes on: what was never made durable is all there to be read.
                    let mut opened =
                        world::open(&sim, Mark::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
                    write(&mut opened, 2, &[7]).unwrap_or_else(|error| panic!("{what}, restarted: {error}"));
                    acknowledged = usize::try_from(opened.writer.next_index()).unwrap();
                }
                sim.crash();
                let opened = world::open(&sim, Mark::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
                let after: Vec<_> = replay(&opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect();
                assert!(after.len() >= acknowledged, "{what}: {} of {acknowledged}", after.len());
                assert_eq!(after[..before.len()], before[..], "{what}");
            }
        }
    }
}

#[test]
fn a_call_that_fails_while_the_log_is_opened_is_named_and_the_next_open_works() {
    let sim = Sim::new(5);
    let mut opened = world::create(&sim);
    let (acknowledged, _) = run(&mut opened, 30);
    opened.writer.append(draft(1, acknowledged as u64, 0, &[200])).unwrap();
    drop(opened);
    sim.crash();
    for op in [Op::Open, Op::Read, Op::Write, Op::Sync, Op::SyncDir, Op::Remove] {
        for skip in 0..30 {
            sim.fail(op, skip, 1, ErrorKind::Other);
            match world::open(&sim, Mark::default()) {
                Err(error) => assert!(matches!(error, Error::Io { .. }), "{error}"),
                Ok(opened) => assert!(opened.writer.next_index() >= acknowledged as u64),
            }
        }
    }
    sim.heal();
    let opened = world::open(&sim, Mark::default()).unwrap();
    assert!(replay(&opened, Position(0)).unwrap().len() >= acknowledged);
}

#[test]
fn a_full_disk_refuses_appends_before_anything_is_written_and_takes_them_when_space_returns() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    write(&mut opened, 1, &[100]).unwrap();
    sim.set_capacity(Some(sim.used()));
    let (acknowledged, errors) = run(&mut opened, 30);
    assert!(acknowledged > 1, "what was made ahead can still be used");
    assert!(errors.iter().all(|error| matches!(error, Error::Full { .. })), "{errors:?}");
    assert!(opened.reader.poisoned().is_none());
    let (end, used) = (opened.writer.end(), sim.used());
    let index = opened.writer.next_index();
    for size in [5000, 50_000] {
        opened.writer.sync().unwrap();
        let changes = sim.changes();
        let error = opened.writer.append(draft(1, index, 0, &[size])).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!((opened.writer.end(), sim.used()), (end, used), "nothing was written, no space was kept");
        assert_eq!(sim.changes(), changes, "and the disk was not written full only to find out");
    }
    // A batch that fits what is left of the segment is taken, full disk or not.
    let room = usize::try_from(opened.writer.room().bytes).unwrap();
    assert!(room > 88, "{room} bytes");
    write(&mut opened, 1, &[room - 88]).unwrap();
    opened.writer.append(draft(1, index + 1, 0, &[1])).unwrap_err();
    assert_eq!(replay(&opened, Position(0)).unwrap().len() as u64, index + 1, "reads go on");
    sim.set_capacity(None);
    for size in [5000, 50_000, 5000, 1] {
        write(&mut opened, 1, &[size]).unwrap();
    }
    drop(opened);
    sim.crash();
    let opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(replay(&opened, Position(0)).unwrap().len() as u64, index + 5);
}

#[test]
fn a_batch_too_large_for_a_full_disk_leaves_the_spare_to_smaller_ones() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    for _ in 0..5 {
        write(&mut opened, 1, &[1500]).unwrap();
    }
    assert!(opened.writer.room().spare);
    sim.set_capacity(Some(sim.used() + 4096));
    let used = sim.used();
    for _ in 0..3 {
        let index = opened.writer.next_index();
        let error = opened.writer.append(draft(1, index, 0, &[60_000])).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!((sim.used(), opened.writer.room().spare), (used, true));
    }
    write(&mut opened, 1, &[1500]).unwrap();
    assert!(!opened.writer.room().spare, "it rolled into the spare");
}

#[test]
fn a_full_disk_is_survived_by_a_restart_and_space_comes_back_by_reclaim() {
    let sim = Sim::new(2);
    let mut opened = world::create(&sim);
    let _ = run(&mut opened, 30);
    sim.set_capacity(Some(sim.used()));
    let _ = run(&mut opened, 20);
    let index = opened.writer.next_index();
    drop(opened);
    let mut opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(opened.writer.next_index(), index);
    opened.writer.append(draft(1, index, 0, &[6000])).unwrap_err();
    let durable = opened.reader.durable();
    assert!(!opened.writer.reclaim(durable).unwrap().is_empty());
    write(&mut opened, 1, &[6000]).unwrap();
}

/// A disk that copies on write can be full in the middle of a write into zeros that are there.
#[test]
fn a_write_that_the_full_disk_cut_short_is_zeroed_again() {
    for skip in 0..10 {
        let sim = Sim::new(skip);
        let mut opened = world::create(&sim);
        for _ in 0..skip {
            write(&mut opened, 1, &[900]).unwrap();
        }
        let index = opened.writer.next_index();
        let end = opened.writer.end();
        sim.fail(Op::Write, 0, 1, ErrorKind::StorageFull);
        let error = opened.writer.append(draft(1, index, 0, &[400, 400])).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!((opened.writer.end(), opened.writer.next_index()), (end, index));
        write(&mut opened, 1, &[3]).unwrap();
        drop(opened);
        let opened = world::open(&sim, Mark::default()).unwrap();
        assert_eq!(opened.recovered.cut, None, "nothing of the refused write is left behind the shorter one");
        assert_eq!(replay(&opened, Position(0)).unwrap().len() as u64, index + 1);
    }
}

#[test]
fn a_write_that_can_be_neither_done_nor_undone_poisons() {
    let sim = Sim::new(4);
    let mut opened = world::create(&sim);
    write(&mut opened, 1, &[10]).unwrap();
    sim.fail(Op::Write, 0, 2, ErrorKind::StorageFull);
    assert!(matches!(opened.writer.append(draft(1, 1, 0, &[10])), Err(Error::Io { .. })));
    assert!(matches!(opened.writer.append(draft(1, 1, 0, &[10])), Err(Error::Poisoned { .. })));
}

#[test]
fn a_failed_read_is_that_reads_error_and_nothing_else() {
    let sim = Sim::new(6);
    let mut opened = world::create(&sim);
    let (_, errors) = run(&mut opened, 30);
    assert!(errors.is_empty());
    let log = replay(&opened, Position(0)).unwrap();
    let positions: Vec<_> = log.iter().take(3).flat_map(|batch| batch.records()).map(|(at, _)| at).collect();
    assert!(opened.reader.cached(positions[0]).is_none(), "on disk only");
    sim.fail(Op::Read, 0, 1, ErrorKind::Other);
    let read = opened.reader.read(&positions);
    assert!(matches!(&read[0], Err(Error::Io { operation: Operation::Read, .. })), "{:?}", read[0]);
    assert!(read[1..].iter().all(Result::is_ok));
    sim.fail(Op::Read, 0, 1, ErrorKind::Other);
    let mut cursor = opened.reader.batches(Position(0));
    assert!(matches!(cursor.next(), Some(Err(Error::Io { .. }))));
    assert!(cursor.next().is_none(), "a cursor stops at its first error");
    assert!(opened.reader.poisoned().is_none());
    write(&mut opened, 1, &[1]).unwrap();
}
