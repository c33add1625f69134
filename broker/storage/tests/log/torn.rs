//! The last sync group, cut at every byte, with zeros or a stale tail of equal length behind it.

use proptest::prelude::*;

use causeway_model::{Millis, Position};
use causeway_storage::{Draft, Mark, Opened, Sim};

use crate::world::{self, draft, image, replay, segment_path};

/// Bytes of a segment's file up to the log's end.
fn written(sim: &Sim, opened: &Opened) -> Vec<u8> {
    let mut bytes = sim.contents(&segment_path(0)).unwrap();
    bytes.truncate(offset(opened.writer.end()));
    bytes
}

/// A log with an acknowledged part, the same in both lives, and a last sync group that was written in this term at this
/// time. Both lives' groups have batches of the same sizes: every byte of one has the place of a byte of the other.
fn life(term: u64, time: u64, before: &[usize], group: &[usize]) -> (Sim, Opened) {
    let sim = Sim::new(0);
    let mut opened = world::create(&sim);
    for &size in before {
        world::write(&mut opened, 1, &[size]).unwrap();
    }
    let committed = opened.writer.next_index().saturating_sub(1);
    for &size in group {
        let index = opened.writer.next_index();
        let time = Millis(time + index);
        opened.writer.append(Draft { time, ..draft(term, index, committed, &[size]) }).unwrap();
    }
    (sim, opened)
}

/// Lays `bytes` over the segment and opens it.
fn open_with(sim: &Sim, whole: &[u8], bytes: &[u8]) -> Opened {
    let mut file = bytes.to_vec();
    file.resize(whole.len(), 0);
    sim.put(&segment_path(0), file);
    world::open(sim, Mark::default()).unwrap()
}

fn sizes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    (prop::collection::vec(1_usize..120, 1..5), prop::collection::vec(1_usize..120, 1..4))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_torn_at_any_byte_keeps_its_whole_batches_and_adopts_no_stale_one(
        (before, group) in sizes(),
        // The term of the stale tail: older, the same (only the time differs), or newer, as a follower may have it whose
        // suffix went because a leader of a later term has entries of an earlier one.
        stale_term in 2_u64..=4,
    ) {
        let (sim, new) = life(3, 5000, &before, &group);
        let (old_sim, old) = life(stale_term, 4000, &before, &group);
        let whole = sim.contents(&segment_path(0)).unwrap();
        let (new_bytes, old_bytes) = (written(&sim, &new), written(&old_sim, &old));
        prop_assert_eq!(new_bytes.len(), old_bytes.len());
        let (new_log, old_log) = (all(new), all(old));
        let acknowledged = offset(new_log[before.len() - 1].0.end());
        for cut in acknowledged..=new_bytes.len() {
            for stale in [false, true] {
                let mut bytes = new_bytes[..cut].to_vec();
                if stale {
                    bytes.extend(&old_bytes[cut..]);
                }
                bytes.resize(new_bytes.len(), 0);
                // The batches of one life that are there from the group's start on: a torn one may be whole after all, where
                // both lives have the same bytes from the cut on, and at the cut's very start the old life is all there is.
                let whole_of = |log: &[Image], life: &[u8]| {
                    let group = log[before.len()..].iter().map(|(header, _)| offset(header.position)..offset(header.end()));
                    group.take_while(|place| bytes[place.clone()] == life[place.clone()]).count()
                };
                let (of_new, of_old) = (whole_of(&new_log, &new_bytes), whole_of(&old_log, &old_bytes));
                prop_assert!(of_new == 0 || of_old == 0);
                let log = if of_old > 0 { &old_log } else { &new_log };
                let expected = before.len() + of_new + of_old;
                let mut opened = open_with(&sim, &whole, &bytes);
                let read: Vec<_> = replay(&opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect();
                prop_assert_eq!(read.len(), expected, "cut at {}, stale {}", cut, stale);
                prop_assert_eq!(&read[..], &log[..expected]);
                let dirty = bytes[offset(opened.writer.end())..].iter().any(|&byte| byte != 0);
                prop_assert_eq!(opened.recovered.cut.is_some(), dirty, "what is cut is reported, and nothing else");
                // A new life of the same sizes goes over the same places; nothing behind it may come back.
                let next = opened.writer.next_index();
                opened.writer.append(draft(5, next, 0, &[group[0]])).unwrap();
                opened.writer.sync().unwrap();
                drop(opened);
                let opened = world::open(&sim, Mark::default()).unwrap();
                prop_assert!(opened.recovered.cut.is_none());
                prop_assert_eq!(opened.writer.next_index(), next + 1);
            }
        }
    }
}

/// Where a position is in the file of the first segment.
fn offset(at: Position) -> usize {
    4096 + usize::try_from(at.0).unwrap()
}

type Image = (causeway_storage::Header, bytes::Bytes);

fn all(mut opened: Opened) -> Vec<Image> {
    opened.writer.sync().unwrap();
    replay(&opened, Position(0)).unwrap().iter().map(|batch| image(batch)).collect()
}
