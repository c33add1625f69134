use causeway_compute::port::{EntryFlags, Notice};
use causeway_model::Stamp;
use proptest::prelude::*;

use super::*;

const SHARD: ShardId = ShardId(3);

fn queue(number: u8) -> QueueId {
    QueueId([number; 16])
}

/// A frame with a notice for each list of queues, a position apart.
fn frame(from: u64, to: u64, notices: &[&[u8]]) -> Frame {
    let notice = |(at, queues): (u64, &&[u8])| Notice {
        stamp: Stamp(from + 1 + at),
        position: Position(from + 1 + at),
        length: 10,
        flags: EntryFlags::default(),
        queues: queues.len().try_into().unwrap(),
    };
    Frame {
        shard: SHARD,
        from: Position(from),
        to: Position(to),
        collapsed: false,
        notices: (0..).zip(notices).map(notice).collect(),
        queues: notices.iter().flat_map(|queues| queues.iter().copied().map(queue)).collect(),
    }
}

fn told(narrow: &mut Narrow, frame: &Frame) -> Vec<Frame> {
    let mut told = Vec::new();
    narrow.tell(frame, |frame| told.push(frame.clone()));
    told
}

fn listed(queues: &[u8]) -> Narrow {
    let mut narrow = Narrow::new(SHARD, 8);
    let queues: Vec<_> = queues.iter().copied().map(queue).collect();
    assert!(narrow.change(&queues, &[], false));
    narrow
}

#[test]
fn without_a_whole_list_frames_are_told_as_they_are() {
    let mut narrow = Narrow::new(SHARD, 8);
    let full = frame(0, 50, &[&[1, 2], &[3]]);
    let whole = vec![full.clone()];
    assert_eq!(told(&mut narrow, &full), whole);
    assert!(narrow.change(&[queue(1)], &[], true));
    assert_eq!(told(&mut narrow, &full), whole, "more of the list is to come");
    assert!(narrow.change(&[], &[], false));
    let part = Frame { notices: vec![Notice { queues: 1, ..full.notices[0] }], queues: vec![queue(1)], ..full.clone() };
    assert_eq!(told(&mut narrow, &full), [part]);
}

#[test]
fn what_is_left_out_is_joined_with_the_next_frame_that_has_content() {
    let mut narrow = listed(&[1]);
    assert_eq!(told(&mut narrow, &frame(0, 10, &[&[2]])), []);
    assert_eq!(told(&mut narrow, &frame(10, 20, &[])), []);
    let next = frame(20, 30, &[&[1]]);
    assert_eq!(told(&mut narrow, &next), [Frame { from: Position(0), ..next }]);
    assert_eq!(narrow.flush(), None);
    assert_eq!(told(&mut narrow, &frame(30, 40, &[&[2]])), []);
    assert_eq!(narrow.flush(), Some(frame(30, 40, &[])));
}

#[test]
fn a_hole_stays_where_it_is_and_a_collapsed_frame_is_told() {
    let mut narrow = listed(&[1]);
    assert_eq!(told(&mut narrow, &frame(0, 10, &[])), []);
    let after = frame(15, 20, &[&[1]]);
    assert_eq!(told(&mut narrow, &after), [frame(0, 10, &[]), after]);
    let collapsed = Frame { collapsed: true, ..frame(20, 90, &[]) };
    assert_eq!(told(&mut narrow, &collapsed), [collapsed]);
}

#[test]
fn a_list_that_is_too_long_is_dropped_and_the_reader_hears_of_all() {
    let mut narrow = listed(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(told(&mut narrow, &frame(0, 10, &[&[9]])), []);
    assert!(!narrow.change(&[queue(9)], &[], false));
    let full = frame(10, 20, &[&[10]]);
    assert_eq!(told(&mut narrow, &full), [Frame { from: Position(0), ..full.clone() }]);
    assert!(narrow.change(&[queue(9)], &[queue(1)], false), "said once");
    let empty = frame(20, 30, &[]);
    assert_eq!(told(&mut narrow, &empty), [empty]);
}

#[test]
fn a_queue_that_was_removed_is_left_out() {
    let mut narrow = listed(&[1, 2]);
    assert!(narrow.change(&[], &[queue(1)], false));
    assert_eq!(told(&mut narrow, &frame(0, 10, &[&[1]])), []);
}

/// One step of a stream.
#[derive(Clone, Debug)]
enum Step {
    /// A frame with a notice for each queue; `true`: some before it were missed.
    Frame(Vec<u8>, bool),
    Add(u8),
    Remove(u8),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (proptest::collection::vec(0..4_u8, 0..4), proptest::bool::weighted(0.2))
            .prop_map(|(queues, hole)| Step::Frame(queues, hole)),
        1 => (0..4_u8).prop_map(Step::Add),
        1 => (0..4_u8).prop_map(Step::Remove),
        1 => Just(Step::Tick),
    ]
}

proptest! {
    /// Whatever comes, what is told ascends, has no overlap, shows each hole, and names what is listed just then.
    #[test]
    fn frames_stay_contiguous_and_name_what_is_listed(steps in proptest::collection::vec(step(), 1..60)) {
        let mut narrow = listed(&[1, 2]);
        let mut list = std::collections::BTreeSet::from([1, 2]);
        let (mut at, mut holes, mut named) = (0, Vec::new(), Vec::new());
        let mut heard: Vec<Frame> = Vec::new();
        for step in steps {
            match step {
                Step::Frame(queues, hole) => {
                    if hole && at > 0 {
                        holes.push((at, at + 5));
                        at += 5;
                    }
                    let lists: Vec<_> = queues.chunks(1).collect();
                    let frame = frame(at, at + 10, &lists);
                    let wanted = queues.iter().zip(&frame.notices).filter(|(queue, _)| list.contains(*queue));
                    named.extend(wanted.map(|(_, notice)| notice.stamp));
                    at += 10;
                    heard.extend(told(&mut narrow, &frame));
                }
                Step::Add(number) => {
                    list.insert(number);
                    assert!(narrow.change(&[queue(number)], &[], false));
                }
                Step::Remove(number) => {
                    list.remove(&number);
                    assert!(narrow.change(&[], &[queue(number)], false));
                }
                Step::Tick => heard.extend(narrow.flush()),
            }
        }
        heard.extend(narrow.flush());
        let stamps: Vec<_> = heard.iter().flat_map(|frame| &frame.notices).map(|notice| notice.stamp).collect();
        prop_assert_eq!(stamps, named);
        let ends = heard.windows(2).map(|pair| (pair[0].to.0, pair[1].from.0));
        prop_assert_eq!(ends.filter(|(to, from)| to != from).collect::<Vec<_>>(), holes);
        let whole = (heard.first().map_or(0, |frame| frame.from.0), heard.last().map_or(0, |frame| frame.to.0));
        prop_assert_eq!(whole, (0, at));
    }
}
