//! The other files of a log's directory: the spare, the vote; and the look at all of them without the lock.

use std::sync::Arc;

use causeway_model::Position;
use causeway_storage::format::{SPARE, SPARE_NEW, Vote};
use causeway_storage::{Ahead, Disk, Error, Fault, Found, Fs, Mark, Options, Sim, Space};

use crate::world::{self, LINEAGE, draft, image, replay, write};

#[test]
fn a_spare_that_an_earlier_process_made_is_used_and_one_half_made_or_spoiled_is_not() {
    let bytes = usize::try_from(world::options().segment_bytes).unwrap();
    let mut spoiled = vec![0; bytes];
    spoiled[7] = 1;
    for (name, contents, used) in [
        (SPARE, vec![0; bytes], true),
        (SPARE, vec![0; bytes - 4096], false),
        (SPARE, vec![0; bytes + 4096], false),
        (SPARE, spoiled, false),
        (SPARE_NEW, vec![0; 5000], false),
    ] {
        let sim = Sim::new(1);
        drop(world::create(&sim));
        sim.put(&world::dir().join(name), contents);
        let mut opened = world::open(&sim, Mark::default()).unwrap();
        assert_eq!(opened.writer.room().spare, used, "{name}");
        for _ in 0..20 {
            write(&mut opened, 1, &[1500]).unwrap();
        }
        drop(opened);
        sim.crash();
        let opened = world::open(&sim, Mark::default()).unwrap();
        assert_eq!(replay(&opened, Position(0)).unwrap().len(), 20);
    }
}

/// Rolls as fast as a log can: each file is needed before it was made ahead.
#[test]
fn a_log_that_outruns_its_spare_waits_for_it() {
    let (root, fs) = world::disk();
    let dir = root.path().join("log");
    let options = Options { segment_bytes: 8192, tail_bytes: 1 << 10, ahead: Ahead::Thread, ..Options::default() };
    let mut opened = causeway_storage::create(fs.clone(), &dir, options.clone(), LINEAGE).unwrap();
    for i in 0..150 {
        opened.writer.append(draft(1, i, 0, &[2500 + usize::try_from(i).unwrap() % 5 * 1000])).unwrap();
    }
    opened.writer.sync().unwrap();
    drop(opened);
    let opened = causeway_storage::open(fs, &dir, options, Mark::default()).unwrap();
    assert_eq!(replay(&opened, Position(0)).unwrap().len(), 150);
    assert!(opened.recovered.cut.is_none());
}

#[test]
fn room_and_space_say_how_far_the_log_can_go() {
    let (root, fs) = world::disk();
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let mut opened = causeway_storage::create(fs, &root.path().join("log"), options, LINEAGE).unwrap();
    assert_eq!(opened.writer.room().bytes, 60 << 10);
    write(&mut opened, 1, &[912]).unwrap();
    assert_eq!(opened.writer.room().bytes, (60 << 10) - 1000);
    let Space { total, free } = opened.writer.space().unwrap();
    assert!(free > 0 && free <= total);
}

#[test]
fn a_vote_is_the_old_one_or_the_new_one_after_a_crash_at_any_change() {
    let vote = |term| Vote { lineage: LINEAGE, node: 7, term, candidate: term * 3, committed: term % 2 == 0 };
    let dir = world::dir();
    let mut changes = 0;
    for cut in 0.. {
        let sim = Sim::new(cut);
        sim.create_dir(&dir).unwrap();
        assert_eq!(Vote::load(&sim, &dir).unwrap(), None);
        vote(1).save(&sim, &dir).unwrap();
        sim.cut_power(sim.changes() + cut);
        let saved = vote(2).save(&sim, &dir);
        sim.crash();
        let after = Vote::load(&sim, &dir).unwrap();
        if saved.is_ok() {
            assert_eq!(after, Some(vote(2)));
            break;
        }
        assert!(after == Some(vote(1)) || after == Some(vote(2)), "cut {cut}: {after:?}");
        vote(3).save(&sim, &dir).unwrap();
        assert_eq!(Vote::load(&sim, &dir).unwrap(), Some(vote(3)));
        changes += 1;
    }
    assert!(changes >= 5, "{changes} changes");
}

#[test]
fn a_vote_that_is_not_whole_is_never_taken_for_none() {
    let sim = Sim::new(1);
    let dir = world::dir();
    sim.create_dir(&dir).unwrap();
    Vote { lineage: LINEAGE, node: 7, term: 1, candidate: 7, committed: false }.save(&sim, &dir).unwrap();
    let path = dir.join("vote");
    let whole = sim.contents(&path).unwrap();
    let mut longer = whole.clone();
    longer.push(0);
    for bytes in (0..whole.len()).map(|len| whole[..len].to_vec()).chain([longer]) {
        sim.put(&path, bytes);
        let error = Vote::load(&sim, &dir).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { file, .. } if *file == path), "{error}");
    }
}

#[test]
fn inspection_shows_every_batch_beside_a_writer_and_what_is_damaged() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let log: Vec<_> = (0..30).map(|i| write(&mut opened, 1, &[400 + i]).unwrap()).collect();
    sim.put(&world::dir().join("stranger"), b"?".to_vec());
    let look = || causeway_storage::inspect(Arc::new(sim.clone()), &world::dir()).unwrap();
    let inspection = look();
    assert!(inspection.files.iter().any(|file| file.name == "stranger"), "shown, not refused");
    let mut seen = Vec::new();
    for first in inspection.segments() {
        let header = inspection.segment(first).unwrap().header.unwrap();
        assert_eq!((header.first, header.lineage), (first, LINEAGE));
        for found in inspection.batches(first).unwrap() {
            match found.unwrap() {
                Found::Batch(batch) => seen.push(image(&batch)),
                Found::End(at) => assert_eq!(at, seen.last().unwrap().0.end()),
                Found::Damage(at, fault) => panic!("{fault} at {at}"),
            }
        }
    }
    assert_eq!(seen, log.iter().map(|batch| image(batch)).collect::<Vec<_>>());

    let second = log[1].header.position;
    let mut bytes = sim.contents(&world::segment_path(0)).unwrap();
    bytes[4096 + usize::try_from(second.0).unwrap() + 100] ^= 1;
    sim.put(&world::segment_path(0), bytes.clone());
    let found: Vec<_> = look().batches(Position(0)).unwrap().map(Result::unwrap).collect();
    assert!(matches!(found[..], [Found::Batch(_), Found::Damage(at, Fault::BodyCrc)] if at == second), "{found:?}");
    bytes[20] ^= 1;
    sim.put(&world::segment_path(0), bytes);
    assert_eq!(look().segment(Position(0)).unwrap().header, Err(Fault::HeaderCrc));
    assert!(look().batches(Position(0)).is_err());
}

#[test]
fn the_disk_makes_deep_directories_and_writes_more_parts_than_one_call_takes() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/c");
    Disk.create_dir(&dir).unwrap();
    Disk.create_dir(&dir).unwrap();
    let file = Disk.open(&dir.join("f"), causeway_storage::io::Mode::Create).unwrap();
    let parts: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![u8::try_from(i % 251).unwrap(); i % 7]).collect();
    let mut slices: Vec<_> = parts.iter().map(|part| std::io::IoSlice::new(part)).collect();
    file.write_at(&mut slices, 11).unwrap();
    let whole = parts.concat();
    let mut read = vec![1; 11 + whole.len() + 5];
    assert_eq!(file.read_at(&mut read, 0).unwrap(), 11 + whole.len());
    assert_eq!(read[..11], [0; 11]);
    assert_eq!(read[11..11 + whole.len()], whole);
    assert_eq!(file.size().unwrap(), read.len() as u64 - 5);
}
