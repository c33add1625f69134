//! Appending and reading back, in order.

use causeway_model::Position;
use causeway_storage::{Ahead, Error, Mark, Options};

use crate::world::{self, LINEAGE, draft, image, replay, write};
use causeway_storage::Sim;

#[test]
fn what_is_appended_is_read_back_in_order_from_memory_and_from_disk() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    let mut written = Vec::new();
    for i in 0..200_usize {
        written.push(write(&mut opened, 1, &[1 + i % 90, 17]).unwrap());
    }
    assert!(sim.contents(&world::segment_path(0)).is_some());
    assert!(opened.writer.end() > Position(3 * 8192), "several segments");
    let check = |opened: &causeway_storage::Opened| {
        let read = replay(opened, Position(0)).unwrap();
        assert_eq!(read.len(), written.len());
        for (read, written) in read.iter().zip(&written) {
            assert_eq!(image(read), image(written));
        }
        let (positions, payloads): (Vec<_>, Vec<_>) = written.iter().flat_map(|batch| batch.records()).unzip();
        let read: Vec<_> = opened.reader.read(&positions).into_iter().map(Result::unwrap).collect();
        assert_eq!(read, payloads);
    };
    check(&opened);
    drop(opened);
    let opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(opened.lineage, LINEAGE);
    check(&opened);
}

#[test]
fn a_log_on_the_disk_goes_on_where_it_ended() {
    let (root, fs) = world::disk();
    let dir = root.path().join("deep/log");
    let options = Options { segment_bytes: 64 << 10, ahead: Ahead::Thread, ..Options::default() };
    let mut opened = causeway_storage::create(fs.clone(), &dir, options.clone(), LINEAGE).unwrap();
    let mut written = Vec::new();
    for _ in 0..100 {
        written.push(write(&mut opened, 1, &[1000, 1000]).unwrap());
    }
    drop(opened);
    let mark = world::mark(&written[60]);
    let mut opened = causeway_storage::open(fs, &dir, options, mark).unwrap();
    assert_eq!(opened.writer.last(), Some((1, 99)));
    written.push(write(&mut opened, 2, &[5]).unwrap());
    let read = replay(&opened, Position(0)).unwrap();
    assert_eq!(
        read.iter().map(|batch| image(batch)).collect::<Vec<_>>(),
        written.iter().map(|batch| image(batch)).collect::<Vec<_>>()
    );
}

#[test]
fn what_a_header_knows_as_committed_never_goes_back() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    for (index, committed, expected) in [(0, 0, 0), (1, 0, 0), (2, 1, 1), (3, 0, 1), (4, 3, 3)] {
        let batch = opened.writer.append(draft(1, index, committed, &[10])).unwrap();
        assert_eq!(batch.header.committed, expected);
    }
    opened.writer.sync().unwrap();
    drop(opened);
    let mut opened = world::open(&sim, Mark::default()).unwrap();
    assert_eq!(opened.writer.committed(), 3);
    assert_eq!(opened.writer.append(draft(2, 5, 0, &[10])).unwrap().header.committed, 3);
}

#[test]
fn a_batch_that_does_not_continue_the_log_is_refused_and_changes_nothing() {
    let sim = Sim::new(1);
    let mut opened = world::create(&sim);
    write(&mut opened, 3, &[10]).unwrap();
    let end = opened.writer.end();
    for (term, index, what) in [(3, 0, "index"), (3, 2, "index"), (2, 1, "term")] {
        let error = opened.writer.append(draft(term, index, 0, &[1])).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { what: found, .. } if found == what), "{error}");
    }
    assert_eq!(opened.writer.end(), end);
    write(&mut opened, 3, &[10]).unwrap();
}
