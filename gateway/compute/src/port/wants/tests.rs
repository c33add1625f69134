use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

fn queue(number: u8) -> QueueId {
    QueueId([number; 16])
}

/// What the newest stream would send next.
fn change(wants: &Wants) -> Option<Change> {
    let stream = wants.state.lock().streams;
    wants.change(stream).now_or_never()?
}

#[test]
fn a_queue_is_named_once_its_change_is_answered() {
    let wants = Wants::default();
    assert_eq!(wants.add(queue(1)), None);
    assert_eq!(wants.add(queue(1)), None, "twice is once, and not registered yet either");
    assert_eq!(wants.registered(queue(1)).now_or_never(), None);
    let first = change(&wants).unwrap();
    assert_eq!((first.number, first.add, first.remove, first.more), (1, vec![queue(1)], vec![], false));
    assert_eq!(change(&wants), None);
    for number in 2..5 {
        assert_eq!(wants.add(queue(number)), None);
    }
    assert_eq!(change(&wants), None, "it waits for the answer to the one before");
    wants.answered(1, Position(70));
    assert_eq!(wants.registered(queue(1)).now_or_never(), Some(Position(70)));
    assert_eq!(wants.add(queue(1)), Some(Position(70)), "frames below may still be on their way");
    assert_eq!(wants.registered(queue(2)).now_or_never(), None, "its change has not even been handed out");
    assert_eq!(change(&wants).unwrap().add.len(), 3, "what came meanwhile is one change");
}

#[test]
fn of_one_queue_the_last_word_counts() {
    let wants = Wants::default();
    wants.add(queue(1));
    wants.add(queue(2));
    wants.remove(queue(1));
    wants.remove(queue(3));
    let mut first = change(&wants).unwrap();
    first.remove.sort_unstable();
    assert_eq!((first.add, first.remove), (vec![queue(2)], vec![queue(1)]));
    assert_eq!(wants.len(), 1);
}

#[test]
fn a_stream_that_begins_anew_gets_the_whole_list_in_parts_of_which_only_the_last_narrows() {
    let wants = Wants::default();
    for number in 0..u32::try_from(CHANGE * 2 + 1).unwrap() {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        wants.add(QueueId(id));
    }
    wants.begin();
    let parts: Vec<_> = std::iter::from_fn(|| change(&wants)).collect();
    let shape: Vec<_> = parts.iter().map(|part| (part.number, part.add.len(), part.more)).collect();
    assert_eq!(shape, [(1, CHANGE, true), (2, CHANGE, true), (3, 1, false)]);
    let all: BTreeSet<_> = parts.iter().flat_map(|part| &part.add).collect();
    assert_eq!(all.len(), CHANGE * 2 + 1);
}

#[test]
fn the_list_of_a_reader_of_nothing_narrows_too() {
    let wants = Wants::default();
    wants.begin();
    assert_eq!(change(&wants).unwrap(), Change { number: 1, add: vec![], remove: vec![], more: false });
}

#[test]
fn where_everything_is_named_nobody_waits_and_nothing_is_kept() {
    let wants = Wants::default();
    wants.add(queue(1));
    wants.everything();
    assert!(wants.registered(queue(1)).now_or_never().is_some());
    assert_eq!(wants.add(queue(2)), Some(Position(0)));
    wants.remove(queue(2));
    assert!(wants.is_empty());
    assert_eq!(change(&wants), None);
}

#[tokio::test]
async fn a_stream_whose_end_is_late_takes_nothing_from_the_one_after_it() {
    let wants = Wants::default();
    let old = wants.begin();
    assert!(wants.change(old).await.is_some());
    wants.answered(1, Position(1));
    let mut late = std::pin::pin!(wants.change(old));
    assert!(futures_util::poll!(late.as_mut()).is_pending());
    let new = wants.begin();
    assert!(wants.change(new).await.is_some());
    wants.answered(2, Position(1));
    let mut next = std::pin::pin!(wants.change(new));
    assert!(futures_util::poll!(next.as_mut()).is_pending());
    // Whichever of the two is called, the change is the new one's.
    wants.add(queue(1));
    assert_eq!(late.await, None);
    assert_eq!(next.await.unwrap().add, [queue(1)]);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Add(u8),
    Remove(u8),
    /// The stream breaks with all that is under way, and another begins.
    Begin,
    /// A change is handed out and sent.
    Send,
    /// The broker takes the next change and answers.
    Take,
    /// The reader hears the next answer.
    Hear,
    /// The broker sends a frame.
    Frame,
    /// The reader gets the next one.
    Read,
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0..4_u8;
    prop_oneof![
        2 => number.clone().prop_map(Op::Add),
        2 => number.prop_map(Op::Remove),
        1 => Just(Op::Begin),
        3 => Just(Op::Send),
        3 => Just(Op::Take),
        3 => Just(Op::Hear),
        4 => Just(Op::Frame),
        4 => Just(Op::Read),
    ]
}

/// The broker's end of a stream.
#[derive(Default)]
struct Stream {
    list: BTreeSet<QueueId>,
    narrow: bool,
    sent: VecDeque<Change>,
    answers: VecDeque<(u64, Position)>,
}

/// What the broker names in the frame above a position; `None`: all.
type Frame = (Position, Option<BTreeSet<QueueId>>);

proptest! {
    /// However changes, answers, frames and broken streams interleave: above the position at which a queue was
    /// registered every frame names it.
    #[test]
    fn what_is_registered_is_named(ops in proptest::collection::vec(op(), 1..200)) {
        let wants = Wants::default();
        let (mut stream, mut at) = (Stream::default(), Position(0));
        let (mut frames, mut read): (VecDeque<Frame>, _) = (VecDeque::new(), Position(0));
        // Queues that the reader has added; each time the position above which it relies on frames.
        let mut added: BTreeMap<QueueId, Vec<Option<Position>>> = BTreeMap::new();
        wants.begin();
        for op in ops {
            match op {
                Op::Add(number) => {
                    let from = wants.add(queue(number));
                    added.entry(queue(number)).or_default().push(from.map(|from| from.max(read)));
                }
                Op::Remove(number) => {
                    wants.remove(queue(number));
                    added.remove(&queue(number));
                }
                Op::Begin => {
                    stream = Stream::default();
                    wants.begin();
                }
                Op::Send => stream.sent.extend(change(&wants)),
                Op::Take => if let Some(change) = stream.sent.pop_front() {
                    stream.list.extend(change.add);
                    change.remove.iter().for_each(|queue| { stream.list.remove(queue); });
                    stream.narrow |= !change.more;
                    stream.answers.push_back((change.number, at));
                },
                Op::Hear => if let Some((number, from)) = stream.answers.pop_front() {
                    wants.answered(number, from);
                },
                Op::Frame => {
                    frames.push_back((at, stream.narrow.then(|| stream.list.clone())));
                    at.0 += 1;
                }
                Op::Read => if let Some((above, named)) = frames.pop_front() {
                    for (queue, from) in &added {
                        let relied = from.iter().flatten().any(|from| above >= *from);
                        let named = named.as_ref().is_none_or(|named| named.contains(queue));
                        prop_assert!(!relied || named, "{queue} above {above:?}");
                    }
                    read = Position(above.0 + 1);
                },
            }
            for (queue, from) in &mut added {
                for from in from.iter_mut().filter(|from| from.is_none()) {
                    *from = wants.registered(*queue).now_or_never().map(|from| from.max(read));
                }
            }
        }
    }
}
