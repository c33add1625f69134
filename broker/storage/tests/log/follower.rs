//! A follower's log: sealed batches as the leader wrote them, and suffixes that go.

use bytes::Bytes;
use causeway_model::{Lineage, Position};
use causeway_storage::{Batch, Error, Header, Mark, Opened, Options, Sim};

use crate::world::{self, draft, image, replay, write};

/// What goes over the wire: header and body.
fn ship(batch: &Batch) -> Batch {
    let (header, body) = image(batch);
    Batch::decode(&header.bytes(), body).unwrap()
}

#[test]
fn a_follower_has_the_leaders_bytes_at_the_leaders_positions() {
    let (leading, following) = (Sim::new(1), Sim::new(2));
    let (mut leader, mut follower) = (world::create(&leading), world::create(&following));
    for i in 0..30_usize {
        let batch = write(&mut leader, 1 + i as u64 / 10, &[1 + i * 61 % 2000, 5]).unwrap();
        follower.writer.append_sealed(ship(&batch)).unwrap();
    }
    follower.writer.sync().unwrap();
    let (ours, theirs) = (replay(&leader, Position(0)).unwrap(), replay(&follower, Position(0)).unwrap());
    assert_eq!(ours.len(), 30);
    assert!(ours.iter().zip(&theirs).all(|(ours, theirs)| image(ours) == image(theirs)));
    drop((leader, follower));
    for first in [0, ours.iter().find(|batch| batch.end().0 > 8192).unwrap().header.position.0] {
        let path = world::segment_path(first);
        assert_eq!(leading.contents(&path).unwrap(), following.contents(&path).unwrap());
    }
}

#[test]
fn a_sealed_batch_that_does_not_continue_this_log_is_a_fork() {
    let (mut ours, mut theirs) = (world::create(&Sim::new(1)), world::create(&Sim::new(2)));
    write(&mut ours, 1, &[50]).unwrap();
    write(&mut theirs, 2, &[50]).unwrap();
    let next = write(&mut theirs, 2, &[50]).unwrap();
    let error = ours.writer.append_sealed(ship(&next)).unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { what: "chain", .. }), "{error}");
    let later = write(&mut theirs, 2, &[50]).unwrap();
    let error = ours.writer.append_sealed(ship(&later)).unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { what: "position", .. }), "{error}");
    // Well sealed, and still not what comes next here.
    write(&mut ours, 3, &[1]).unwrap();
    let first = write(&mut ours, 3, &[1]).unwrap();
    let (header, body) = image(&first);
    let next = Header {
        index: header.index + 1,
        position: header.end(),
        committed: header.committed,
        prev_header_crc: header.header_crc,
        ..header
    };
    for (wrong, field) in [
        (Header { term: 2, ..next }, "term"),
        (Header { index: 9, ..next }, "index"),
        (Header { lineage: Lineage(1), ..next }, "lineage"),
        (Header { committed: 0, ..next }, "committed index"),
    ] {
        let error = ours.writer.append_sealed(Batch::decode(&wrong.bytes(), body.clone()).unwrap()).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { what, .. } if what == field), "{error}");
    }
    ours.writer.append_sealed(Batch::decode(&next.bytes(), body).unwrap()).unwrap();
}

#[test]
fn a_damaged_batch_is_refused_before_it_reaches_the_log() {
    let mut opened = world::create(&Sim::new(1));
    let (header, body) = image(&write(&mut opened, 1, &[50, 60]).unwrap());
    for at in 0..body.len() {
        let mut flipped = body.to_vec();
        flipped[at] ^= 1;
        assert!(Batch::decode(&header.bytes(), flipped.into()).is_err(), "byte {at}");
    }
    assert!(Batch::decode(&header.bytes(), body.slice(1..)).is_err());
    assert!(Batch::decode(&header.bytes(), Bytes::new()).is_err());
}

/// What a header calls committed is durable here before the header is written: recovery takes it as proof.
#[test]
fn no_batch_is_written_while_one_that_it_calls_committed_is_not_durable() {
    let (mut leader, mut follower) = (world::create(&Sim::new(1)), world::create(&Sim::new(2)));
    for i in 0..10_u64 {
        // The leader's batches know the one before them as committed, as a follower that catches up gets them.
        let batch = write(&mut leader, 1, &[30]).unwrap();
        follower.writer.append_sealed(ship(&batch)).unwrap();
        assert!(
            follower.reader.durable()
                >= leader
                    .reader
                    .batches(Position(0))
                    .nth(usize::try_from(i).unwrap())
                    .unwrap()
                    .unwrap()
                    .header
                    .position
        );
    }
}

/// Truncation to each index of a log of several segments, followed by a new suffix of equal sizes and a crash.
#[test]
fn a_truncated_suffix_is_gone_for_good_wherever_it_is_cut() {
    for keep in 0..24_u64 {
        let sim = Sim::new(keep);
        let mut opened = world::create(&sim);
        let sizes: Vec<usize> = (0..24).map(|i| 100 + i * 71 % 900).collect();
        for (i, &size) in (0..).zip(&sizes) {
            opened.writer.append(draft(1, i, 0, &[size])).unwrap();
            opened.writer.sync().unwrap();
        }
        let before = images(&opened);
        opened.writer.truncate_after(keep).unwrap();
        assert_eq!(opened.writer.last(), Some((1, keep)));
        assert_eq!(images(&opened), before[..=usize::try_from(keep).unwrap()]);
        assert!(opened.reader.cached(before.last().unwrap().0.position.plus(80)).is_none() || keep == 23);
        for (i, &size) in (0..).zip(&sizes).skip(usize::try_from(keep + 1).unwrap()) {
            opened.writer.append(draft(2, i, 0, &[size])).unwrap();
            if i % 3 == 0 {
                opened.writer.sync().unwrap();
            }
        }
        let durable = images(&opened).len();
        drop(opened);
        sim.crash();
        let opened = world::open(&sim, Mark::default()).unwrap();
        let after = images(&opened);
        assert!(after.len() >= durable);
        for (i, (header, _)) in (0..).zip(&after) {
            assert_eq!(header.term, if i <= keep { 1 } else { 2 }, "kept {keep}, batch {i}");
        }
    }
}

fn images(opened: &Opened) -> Vec<(Header, Bytes)> {
    replay(opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect()
}

/// Look-ups in a large segment start at batches that were noted on the way. None of a suffix that went may stay noted.
#[test]
fn look_ups_find_the_new_suffix_after_a_truncation() {
    let options = Options { segment_bytes: 4 << 20, ..world::options() };
    let sim = Sim::new(1);
    let mut opened =
        causeway_storage::create(std::sync::Arc::new(sim.clone()), &world::dir(), options, world::LINEAGE).unwrap();
    for i in 0..40 {
        opened.writer.append(draft(1, i, 0, &[50_000])).unwrap();
    }
    opened.writer.sync().unwrap();
    opened.writer.truncate_after(9).unwrap();
    for i in 10..40 {
        opened.writer.append(draft(2, i, 0, &[33_000])).unwrap();
    }
    opened.writer.sync().unwrap();
    for batch in replay(&opened, Position(0)).unwrap() {
        let at = batch.header.position;
        assert_eq!(opened.reader.locate(batch.header.index).unwrap(), Some(at));
        assert_eq!(image(&opened.reader.batches(at).next().unwrap().unwrap()), image(&batch));
    }
    opened.writer.truncate_after(25).unwrap();
    assert_eq!(opened.writer.last(), Some((2, 25)));
}

#[test]
fn truncation_refuses_what_is_committed_or_trimmed_and_ignores_what_is_not_there() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    for i in 0..20 {
        opened.writer.append(draft(1, i, i.min(12).saturating_sub(1), &[700])).unwrap();
        opened.writer.sync().unwrap();
    }
    assert_eq!(opened.writer.committed(), 11);
    assert!(matches!(opened.writer.truncate_after(10), Err(Error::Committed { committed: 11, .. })));
    opened.writer.truncate_after(99).unwrap();
    assert_eq!(opened.writer.next_index(), 20);
    opened.writer.truncate_after(11).unwrap();
    assert_eq!(opened.writer.next_index(), 12);
    assert!(opened.reader.poisoned().is_none());
}

/// A batch that is larger than its empty segment makes the file longer. The header must not survive where that did not.
#[test]
fn a_large_first_batch_torn_by_a_crash_is_cut() {
    for seed in 0..300 {
        let sim = Sim::new(seed);
        let mut opened = world::create(&sim);
        // It ends with the file: a lost last sector is a shorter file.
        opened.writer.append(draft(1, 0, 0, &[7 * 4096 - 88])).unwrap();
        sim.crash();
        drop(opened);
        let mut opened = world::open(&sim, Mark::default()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        write(&mut opened, 2, &[20_000]).unwrap();
    }
}

#[test]
fn a_segment_may_be_left_empty_by_truncation_and_filled_again() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let mut i = 0;
    while opened.writer.end().0 < 8192 {
        opened.writer.append(draft(1, i, 0, &[900])).unwrap();
        i += 1;
    }
    opened.writer.sync().unwrap();
    let second = opened.reader.locate(i - 1).unwrap().unwrap();
    assert!(sim.contents(&world::segment_path(second.0)).is_some(), "the last batch starts a segment");
    opened.writer.truncate_after(i - 2).unwrap();
    assert_eq!(opened.writer.end(), second);
    for size in [60_000, 10, 9000] {
        write(&mut opened, 2, &[size]).unwrap();
    }
    drop(opened);
    sim.crash();
    let opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(opened.writer.next_index(), i + 2);
    assert_eq!(replay(&opened, second).unwrap().len(), 3);
}
