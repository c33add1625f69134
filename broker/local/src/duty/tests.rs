use std::path::Path;

use causeway_model::{Lineage, Millis, Position};
use causeway_storage::{Ahead, BatchKind, Draft, GroupBuilder, Sim};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::trim::search;
use super::*;

#[test]
fn the_search_by_time_finds_what_a_look_at_every_batch_finds() {
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let options = causeway_storage::Options {
        ahead: Ahead::Inline,
        segment_bytes: 8 << 10,
        tail_bytes: 2 << 10,
        ..causeway_storage::Options::default()
    };
    let log = causeway_storage::create(Arc::new(Sim::new(seed)), Path::new("/log"), options, Lineage(1)).unwrap();
    let (mut writer, reader) = (log.writer, log.reader);
    let mut batches = Vec::new();
    let mut time = Millis(1000);
    for index in 0..200 {
        time.0 += rng.random_range(0..4);
        let mut group = GroupBuilder::with_capacity(16);
        group.record(|buf| buf.resize(buf.len() + rng.random_range(1..1500), 7));
        let (kind, groups) = (BatchKind::Data, vec![group.finish()]);
        let batch = writer.append(Draft { kind, term: 1, index, committed: index, time, groups }).unwrap();
        writer.sync().unwrap();
        batches.push((batch.header.position, batch.end(), time));
    }
    let end = writer.end();
    for _ in 0..200 {
        // From the start of a batch or from inside one, as a trim to a record leaves it.
        let (start, stop, _) = batches[rng.random_range(0..batches.len())];
        let first = Position(rng.random_range(start.0..stop.0));
        let cutoff = Millis(rng.random_range(990..time.0 + 10));
        let expected = batches.iter().find(|(_, stop, time)| *stop > first && *time >= cutoff);
        let expected = expected.map_or(end, |(start, ..)| (*start).max(first));
        let found = search(&reader, first, end, cutoff).unwrap();
        assert_eq!(found, expected, "seed {seed}, first {first}, cutoff {cutoff}");
    }
}
