//! Files that are not as they were: cut, flipped, zeroed, moved, missing, foreign. Each is refused with its name and a
//! position, or it is the last sync group, which is cut and reported. Nothing acknowledged goes in silence.

use std::path::PathBuf;

use causeway_model::{Lineage, Position};
use causeway_storage::format::SegmentHeader;
use causeway_storage::{Error, Evidence, Fault, Header, Mark, Opened, Result, Sim, Stranger};

use crate::world::{self, image, mark, replay, segment_path, write};

type Image = (Header, bytes::Bytes);

const BATCHES: usize = 28;

/// A log of a few segments, each batch synced by itself, as a single node writes it.
struct Log {
    sim: Sim,
    batches: Vec<Image>,
    mark: Mark,
    files: Vec<(Position, Vec<u8>)>,
}

fn log() -> Log {
    let sim = Sim::new(3);
    let mut opened = world::create(&sim);
    let mut last = Mark::default();
    for i in 0..BATCHES {
        last = mark(&write(&mut opened, 1, &[100 + i * 41, 9]).unwrap());
    }
    let batches: Vec<Image> = replay(&opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect();
    drop(opened);
    let inspection = causeway_storage::inspect(std::sync::Arc::new(sim.clone()), &world::dir()).unwrap();
    let files: Vec<_> =
        inspection.segments().map(|first| (first, sim.contents(&segment_path(first.0)).unwrap())).collect();
    assert!(files.len() > 2, "{} segments", files.len());
    let newest = files.last().unwrap().0;
    let in_newest = batches.iter().filter(|(header, _)| header.position >= newest).count();
    assert!(in_newest > 3, "{in_newest} batches in the newest segment: some of them are not the last group");
    Log { sim, batches, mark: last, files }
}

impl Log {
    /// Where the batches of a segment end in its file.
    fn used(&self, first: Position) -> usize {
        let next = self.files.iter().map(|(first, _)| *first).find(|next| *next > first);
        4096 + usize::try_from(next.unwrap_or(self.mark.position).0 - first.0).unwrap()
    }

    /// Opens with one file replaced, and puts the files back.
    fn open_with(&self, first: Position, bytes: Vec<u8>, mark: Mark) -> Result<Opened> {
        self.sim.put(&segment_path(first.0), bytes);
        let result = world::open(&self.sim, mark);
        if let Ok(opened) = &result {
            self.check(opened);
        }
        for (first, bytes) in &self.files {
            self.sim.put(&segment_path(first.0), bytes.clone());
        }
        result
    }

    /// At most the last group is gone, and then it is reported.
    fn check(&self, opened: &Opened) {
        let kept = replay(opened, Position(0)).unwrap_or_else(|error| panic!("opened, and then: {error}"));
        let kept: Vec<_> = kept.iter().map(|batch| image(batch)).collect();
        assert_eq!(kept, self.batches[..kept.len()]);
        let cut = opened.recovered.cut.as_ref().map(|cut| cut.index);
        match self.batches.len() - kept.len() {
            0 => {}
            1 => assert_eq!(cut, Some(kept.len() as u64), "what is cut is reported"),
            lost => panic!("{lost} acknowledged batches are gone in silence"),
        }
    }

    /// What must come out: an error with this file and a position in it, or at most the last group cut.
    fn refused_or_last_cut(&self, first: Position, bytes: Vec<u8>, what: &str) -> bool {
        let newest = self.files.last().unwrap().0;
        match self.open_with(first, bytes, Mark::default()) {
            Ok(opened) => {
                let whole = opened.writer.next_index() == self.batches.len() as u64;
                assert!(whole || first == newest, "{what}: a batch of an older segment is gone");
                !whole
            }
            Err(error) => {
                assert_eq!(file_of(&error), Some(segment_path(first.0)), "{what}: {error}");
                if let Error::Corrupt { position, .. } = error {
                    assert!(position >= first, "{what}: {error}");
                }
                true
            }
        }
    }
}

fn file_of(error: &Error) -> Option<PathBuf> {
    if let Error::Corrupt { file, .. } | Error::Foreign { file, .. } | Error::Unsupported { file, .. } = error {
        Some(file.clone())
    } else {
        None
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_is_the_last_group() {
    let log = log();
    for (first, bytes) in &log.files {
        let used = log.used(*first);
        for at in (0..80).chain(4096..used) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            let noticed = log.refused_or_last_cut(*first, flipped, &format!("byte {at} of segment {first}"));
            assert!(noticed, "byte {at} of segment {first}: nobody noticed");
        }
    }
}

#[test]
fn with_the_tables_mark_even_the_last_group_is_refused() {
    let log = log();
    let (first, bytes) = log.files.last().unwrap();
    let start = usize::try_from(log.batches.last().unwrap().0.position.0 - first.0).unwrap() + 4096;
    for at in start..log.used(*first) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        let error = log.open_with(*first, flipped, log.mark).map(|_| ()).unwrap_err();
        let Error::Corrupt { file, position, evidence, .. } = &error else { panic!("byte {at}: {error}") };
        assert_eq!((file, *position), (&segment_path(first.0), log.batches.last().unwrap().0.position));
        assert!(matches!(evidence, Evidence::Mark { .. } | Evidence::Whole), "{error}");
    }
}

#[test]
fn garbage_behind_the_end_is_cut_and_costs_nothing() {
    let log = log();
    let (first, bytes) = log.files.last().unwrap();
    for at in log.used(*first)..bytes.len() {
        let mut dirty = bytes.clone();
        dirty[at] = 0xA5;
        let opened = log.open_with(*first, dirty, log.mark).unwrap();
        let cut = opened.recovered.cut.unwrap();
        assert_eq!((cut.position, cut.last_index), (log.mark.position, None));
    }
}

#[test]
fn a_file_cut_short_is_refused_at_whatever_length() {
    let log = log();
    for (first, bytes) in &log.files {
        for len in (0..bytes.len()).step_by(7).chain([79, 80, 4095, 4096, log.used(*first), bytes.len() - 1]) {
            let error = log.open_with(*first, bytes[..len].to_vec(), Mark::default()).map(|_| ()).unwrap_err();
            let Error::Corrupt { file, fault, .. } = &error else { panic!("{len} bytes: {error}") };
            assert_eq!((file, *fault), (&segment_path(first.0), Fault::Short), "{len} bytes of segment {first}");
        }
    }
}

#[test]
fn zeros_from_any_place_on_are_refused_or_are_the_last_group() {
    let log = log();
    for (first, bytes) in &log.files {
        let (used, last) = (log.used(*first), log.batches.last().unwrap().0.position);
        for at in (0..used).step_by(3) {
            let mut zeroed = bytes.clone();
            zeroed[at..used.min(at + 512)].fill(0);
            if zeroed == *bytes {
                continue;
            }
            // The last header is the only witness of the batch before it. Without it only the mark tells: the end of the
            // log looks as if both had been in the last group.
            let start = usize::try_from(last.0.saturating_sub(first.0)).unwrap() + 4096;
            if *first <= last && at < start + 80 && at + 512 > start {
                let refused = log.open_with(*first, zeroed, log.mark).map(|_| ()).unwrap_err();
                assert_eq!(file_of(&refused), Some(segment_path(first.0)));
                continue;
            }
            let noticed = log.refused_or_last_cut(*first, zeroed, &format!("512 zeros at {at} of segment {first}"));
            assert!(noticed, "512 zeros at {at} of segment {first}: nobody noticed");
        }
    }
}

#[test]
fn bytes_that_moved_are_refused() {
    let log = log();
    for (first, bytes) in &log.files {
        let used = log.used(*first);
        for at in (4096..used - 900).step_by(101) {
            let mut moved = bytes.clone();
            moved.drain(at..at + 13);
            moved.resize(bytes.len(), 0);
            let noticed = log.refused_or_last_cut(*first, moved, &format!("13 bytes out at {at} of segment {first}"));
            assert!(noticed);
        }
    }
}

#[test]
fn a_missing_or_misnamed_segment_is_refused() {
    let log = log();
    let [(a, first), (b, middle), .., (c, newest)] = &log.files[..] else { panic!() };
    let fresh = |skip: Position| {
        let sim = Sim::new(1);
        causeway_storage::Fs::create_dir(&sim, &world::dir()).unwrap();
        for (first, bytes) in log.files.iter().filter(|(first, _)| *first != skip) {
            sim.put(&segment_path(first.0), bytes.clone());
        }
        sim
    };
    // Found without reading a batch, so also where the tables' mark says that nothing before it need be read.
    for mark in [Mark::default(), log.mark] {
        let error = world::open(&fresh(*b), mark).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { file, .. } if *file == segment_path(a.0)), "{error}");
    }
    let mut header = SegmentHeader::decode(middle.first_chunk().unwrap()).unwrap();
    header.first = a.plus(100);
    (header.first_index, header.prev) = (0, None);
    let mut inside = middle.clone();
    inside[..80].copy_from_slice(&header.bytes());
    let sim = fresh(Position(u64::MAX));
    sim.put(&segment_path(header.first.0), inside);
    let error = world::open(&sim, log.mark).unwrap_err();
    assert!(
        matches!(&error, Error::Foreign { file, stranger: Stranger::Overlap { before } }
            if *file == segment_path(header.first.0) && before == a),
        "{error}"
    );
    let error = world::open(&fresh(*c), log.mark).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { evidence: Evidence::Mark { .. }, .. }), "{error}");

    for (name, bytes) in [(c.0 + 8, newest), (b.0 - 1, middle), (c.0 + 5000, first)] {
        let sim = fresh(Position(u64::MAX));
        sim.put(&segment_path(name), bytes.clone());
        let error = world::open(&sim, Mark::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Foreign { file, stranger: Stranger::Renamed { .. } } if *file == segment_path(name)),
            "{error}"
        );
    }
}

#[test]
fn a_foreign_file_is_refused_by_name_and_the_directory_is_left_as_it_is() {
    let log = log();
    for name in ["000000000000000000001", "1.log", "core", "00000000000000000000.bak", "MANIFEST"] {
        let sim = log.sim.clone();
        let path = world::dir().join(name);
        sim.put(&path, b"something else".to_vec());
        let before = sim.changes();
        let error = world::open(&sim, log.mark).unwrap_err();
        assert!(matches!(&error, Error::Foreign { file, stranger: Stranger::Name } if *file == path), "{error}");
        assert_eq!(sim.changes(), before);
        causeway_storage::Fs::remove(&sim, &path).unwrap();
    }
    world::open(&log.sim, log.mark).unwrap();
}

#[test]
fn a_segment_of_another_log_is_refused() {
    let log = log();
    let (newest, bytes) = log.files.last().unwrap();
    let mut header = SegmentHeader::decode(bytes.first_chunk().unwrap()).unwrap();
    header.lineage = Lineage(77);
    let mut foreign = header.bytes().to_vec();
    foreign.extend(&bytes[80..]);
    let error = log.open_with(*newest, foreign, Mark::default()).map(|_| ()).unwrap_err();
    let Error::Foreign { file, stranger: Stranger::Lineage { found, .. } } = &error else { panic!("{error}") };
    assert_eq!((file, *found), (&segment_path(newest.0), Lineage(77)));
}

#[test]
fn a_mark_that_the_log_contradicts_is_refused() {
    let log = log();
    let ends: Vec<Mark> = log
        .batches
        .iter()
        .map(|(header, _)| Mark { index: header.index, term: header.term, position: header.end() })
        .collect();
    for (i, &right) in ends.iter().enumerate() {
        assert!(world::open(&log.sim, right).is_ok(), "batch {i}");
        let wrong = [
            Mark { index: right.index + 1, ..right },
            Mark { term: right.term + 1, ..right },
            Mark { position: right.position.plus(1), ..right },
            Mark { position: Position(right.position.0 - 1), ..right },
        ];
        for mark in wrong {
            let error = world::open(&log.sim, mark).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::Corrupt { evidence: Evidence::Mark { .. }, .. }), "{mark:?}: {error}");
        }
    }
}

#[test]
fn damage_below_the_mark_is_found_when_it_is_read() {
    let log = log();
    let (first, bytes) = &log.files[0];
    let mut flipped = bytes.clone();
    let at = 4096 + 80 + 8 + 3;
    flipped[at] ^= 1;
    log.sim.put(&segment_path(first.0), flipped);
    let opened = world::open(&log.sim, log.mark).unwrap();
    let error = replay(&opened, Position(0)).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { file, position: Position(0), fault: Fault::BodyCrc, evidence: Evidence::Durable }
            if *file == segment_path(0)),
        "{error}"
    );
    let read = opened.reader.read(&[Position(80), log.batches[1].0.position.plus(80)]);
    assert!(
        matches!(&read[0], Err(Error::Corrupt { position: Position(80), fault: Fault::RecordCrc, .. })),
        "{:?}",
        read[0]
    );
    assert!(read[1].is_ok(), "its neighbour is whole");
}

/// A header whose checksum holds was written whole: what is wrong with it is no crash's doing.
#[test]
fn a_whole_header_that_does_not_belong_at_the_end_is_refused() {
    let log = log();
    let (first, bytes) = log.files.last().unwrap();
    let (last, _) = log.batches.last().unwrap();
    let used = log.used(*first);
    let room = u32::try_from(bytes.len() - used).unwrap();
    let next = Header {
        index: last.index + 1,
        position: last.end(),
        prev_header_crc: last.header_crc,
        length: 16,
        body_crc: crc32c::crc32c(&[0; 16]),
        ..*last
    };
    for (header, expected) in [
        (Header { lineage: Lineage(5), ..next }, Fault::Lineage(Lineage(5))),
        (Header { position: Position(3), ..next }, Fault::Position(Position(3))),
        (Header { length: room, ..next }, Fault::Length(room)),
        // A body of zeros has this checksum and no record.
        (next, Fault::Frames),
    ] {
        let mut file = bytes.clone();
        file[used..used + 80].copy_from_slice(&header.bytes());
        let error = log.open_with(*first, file, Mark::default()).map(|_| ()).unwrap_err();
        let Error::Corrupt { position, fault, evidence: Evidence::Whole, .. } = error else { panic!("{error}") };
        assert_eq!((position, fault), (last.end(), expected));
    }
}

/// Two logs of one lineage that forked: the segments fit by name and length, and do not chain.
#[test]
fn a_segment_of_a_fork_is_refused() {
    let (ours, theirs) = (log(), {
        let sim = Sim::new(3);
        let mut opened = world::create(&sim);
        for i in 0..BATCHES {
            write(&mut opened, 2, &[100 + i * 41, 9]).unwrap();
        }
        sim
    });
    for (first, _) in &ours.files[1..] {
        let forked = theirs.contents(&segment_path(first.0)).unwrap();
        let error = ours.open_with(*first, forked, Mark::default()).map(|_| ()).unwrap_err();
        let Error::Corrupt { file, position, fault, .. } = &error else { panic!("{error}") };
        assert_eq!((file, *position, *fault), (&segment_path(first.0), *first, Fault::Chain));
    }
}
