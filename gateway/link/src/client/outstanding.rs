//! Calls that wait for an answer: their order, what is sent of them and when, and what becomes of them when the link is
//! lost. Values in, values out; [`super::calls`] puts a lock and a waker around it.
//!
//! ```text
//!   answered ──┤ sent, no answer yet ├─┤ not sent ├── newest          a barrier holds back what is behind it
//!              first                   next
//!   lost: next goes back to first; what may not be sent twice is answered at once or cut out of its call
//! ```
//!
//! Invariants, each tested:
//! - Calls are sent in the order of their numbers, on each link from the oldest unanswered one on, whatever was answered
//!   in between and whether or not anybody still waits for them. Only on a new link those are left out that are their
//!   caller's own, when he has gone.
//! - Bytes held never pass the budget, but for one call that is alone.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// What a call costs beyond its bytes: its entry here and its answer's channel.
const OVERHEAD: usize = 256;

/// What becomes of a call when it was sent and its link was lost before the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Again {
    /// It is sent as it is.
    #[default]
    Whole,
    /// It is sent without these commands (index and bytes of each, ascending): they are sent once or not at all.
    Without(Vec<(usize, Range<usize>)>),
    /// It is not sent: nobody knows what came of it.
    Never,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call<W> {
    /// Its encoding.
    pub(crate) body: Bytes,
    /// How many commands it has; 0 where that says nothing.
    pub(crate) commands: usize,
    /// See [`Again`].
    pub(crate) again: Again,
    /// Of no use to anybody but its caller: it is not sent on another link when he has gone. His client has sent it
    /// again elsewhere by then, and this one would come after what followed it there.
    pub(crate) callers_own: bool,
    /// Commands that were cut out of it since, by index in the original call.
    pub(crate) cut: Vec<usize>,
    /// Who waits.
    pub(crate) waiter: W,
}

impl<W> Call<W> {
    fn cost(&self) -> usize {
        self.body.len() + OVERHEAD
    }
}

/// A call that ends with its link.
#[derive(Debug)]
pub(crate) enum Ended<W> {
    /// All its commands were cut out.
    Cut(Call<W>),
    /// It may have been done or not.
    Unknown(Call<W>),
}

#[derive(Debug)]
enum Slot<W> {
    Call(Call<W>),
    Barrier,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Outstanding<W> {
    slots: BTreeMap<u64, Slot<W>>,
    /// The number of the next call.
    newest: u64,
    /// The first number that was not sent on this link.
    next: u64,
    calls: usize,
    bytes: usize,
    budget: usize,
}

impl<W> Outstanding<W> {
    /// Nothing yet; at most `budget` bytes of calls.
    pub(crate) fn new(budget: usize) -> Self {
        Self { slots: BTreeMap::new(), newest: 0, next: 0, calls: 0, bytes: 0, budget }
    }

    /// Takes a call at the end of the order.
    ///
    /// # Errors
    /// The call, when the budget is used up.
    pub(crate) fn push(&mut self, call: Call<W>) -> Result<(), Call<W>> {
        if self.bytes > 0 && self.bytes.saturating_add(call.cost()) > self.budget {
            return Err(call);
        }
        self.calls += 1;
        self.bytes += call.cost();
        self.slot(Slot::Call(call));
        Ok(())
    }

    /// How many calls wait, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.calls, self.bytes)
    }

    /// Holds back every later call until it is lifted.
    pub(crate) fn barrier(&mut self) -> u64 {
        self.slot(Slot::Barrier)
    }

    /// Takes a barrier away; false if it is gone already.
    pub(crate) fn lift(&mut self, barrier: u64) -> bool {
        let is_barrier = matches!(self.slots.get(&barrier), Some(Slot::Barrier));
        if is_barrier {
            self.slots.remove(&barrier);
        }
        is_barrier
    }

    /// The next calls to send, up to a barrier, about `bytes` and `count`.
    pub(crate) fn take(&mut self, bytes: usize, count: usize) -> (Vec<u64>, Vec<Bytes>) {
        let (mut ids, mut bodies, mut taken) = (Vec::new(), Vec::new(), 0);
        for (id, slot) in self.slots.range(self.next..) {
            let Slot::Call(call) = slot else { break };
            if ids.len() >= count || (taken > 0 && taken + call.body.len() > bytes) {
                break;
            }
            taken += call.body.len();
            ids.push(*id);
            bodies.push(call.body.clone());
        }
        if let Some(last) = ids.last() {
            self.next = last + 1;
        }
        (ids, bodies)
    }

    /// The call that is answered; `None` for a number that was not sent or is answered already.
    pub(crate) fn answer(&mut self, id: u64) -> Option<Call<W>> {
        if id >= self.next {
            return None;
        }
        self.remove(id)
    }

    /// The link is lost: everything unanswered will be sent again, but for what is returned.
    pub(crate) fn lose(&mut self) -> Vec<Ended<W>> {
        let mut ended = Vec::new();
        let sent: Vec<u64> = self.slots.range(..self.next).map(|(id, _)| *id).collect();
        for id in sent {
            let Some(Slot::Call(call)) = self.slots.get_mut(&id) else { continue };
            let gone: fn(Call<W>) -> Ended<W> = match std::mem::take(&mut call.again) {
                Again::Whole => continue,
                Again::Never => Ended::Unknown,
                Again::Without(ranges) => {
                    let before = call.body.len();
                    call.body = without(&call.body, &ranges);
                    call.cut = ranges.into_iter().map(|(index, _)| index).collect();
                    self.bytes -= before - call.body.len();
                    if call.cut.len() < call.commands {
                        continue;
                    }
                    Ended::Cut
                }
            };
            ended.extend(self.remove(id).map(gone));
        }
        self.next = 0;
        ended
    }

    /// A new link begins: forgets calls that are their callers' own, of callers who have gone.
    pub(crate) fn forget(&mut self, gone: impl Fn(&W) -> bool) {
        let own = |slot: &Slot<W>| matches!(slot, Slot::Call(call) if call.callers_own && gone(&call.waiter));
        let forgotten: Vec<u64> = self.slots.iter().filter(|(_, slot)| own(slot)).map(|(id, _)| *id).collect();
        for id in forgotten {
            self.remove(id);
        }
    }

    /// Gives up what was sent and not answered: sending it again would end the next link as well.
    pub(crate) fn give_up_sent(&mut self) -> Vec<Call<W>> {
        let rest = self.slots.split_off(&self.next);
        let sent = std::mem::replace(&mut self.slots, rest);
        self.calls(sent)
    }

    /// Ends everything: what was sent and what was not.
    pub(crate) fn close(&mut self) -> (Vec<Call<W>>, Vec<Call<W>>) {
        let sent = self.give_up_sent();
        let unsent = std::mem::take(&mut self.slots);
        (sent, self.calls(unsent))
    }

    fn calls(&mut self, slots: BTreeMap<u64, Slot<W>>) -> Vec<Call<W>> {
        let call = |slot| if let Slot::Call(call) = slot { Some(call) } else { None };
        let calls: Vec<_> = slots.into_values().filter_map(call).collect();
        self.calls -= calls.len();
        self.bytes -= calls.iter().map(Call::cost).sum::<usize>();
        calls
    }

    fn remove(&mut self, id: u64) -> Option<Call<W>> {
        match self.slots.remove(&id)? {
            Slot::Call(call) => {
                self.calls -= 1;
                self.bytes -= call.cost();
                Some(call)
            }
            barrier @ Slot::Barrier => {
                self.slots.insert(id, barrier);
                None
            }
        }
    }

    fn slot(&mut self, slot: Slot<W>) -> u64 {
        let id = self.newest;
        self.newest += 1;
        self.slots.insert(id, slot);
        id
    }
}

/// The body without these ranges, which are ascending and within it.
fn without(body: &Bytes, ranges: &[(usize, Range<usize>)]) -> Bytes {
    let mut kept = BytesMut::with_capacity(body.len());
    let mut at = 0;
    for (_, range) in ranges {
        kept.extend_from_slice(body.get(at..range.start).unwrap_or_default());
        at = range.end;
    }
    kept.extend_from_slice(body.get(at..).unwrap_or_default());
    kept.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(name: u64) -> Call<u64> {
        Call {
            body: vec![0; 10].into(),
            commands: 1,
            again: Again::Whole,
            callers_own: false,
            cut: Vec::new(),
            waiter: name,
        }
    }

    fn queue(names: Range<u64>) -> Outstanding<u64> {
        let mut queue = Outstanding::new(usize::MAX);
        names.for_each(|name| queue.push(call(name)).unwrap());
        queue
    }

    fn take(queue: &mut Outstanding<u64>) -> Vec<u64> {
        queue.take(usize::MAX, usize::MAX).0
    }

    #[test]
    fn a_barrier_holds_back_what_is_behind_it_on_every_link_until_it_is_lifted() {
        let mut queue = queue(0..2);
        let barrier = queue.barrier();
        queue.push(call(3)).unwrap();
        assert_eq!(take(&mut queue), [0, 1]);
        assert!(queue.answer(barrier).is_none());
        assert!(queue.lose().is_empty());
        assert_eq!(take(&mut queue), [0, 1]);
        assert!(queue.lift(barrier) && !queue.lift(barrier));
        assert_eq!(take(&mut queue), [3]);
    }

    #[test]
    fn on_a_new_link_what_was_its_callers_own_is_forgotten_with_him() {
        let mut queue = Outstanding::new(usize::MAX);
        for name in 0..6 {
            queue.push(Call { callers_own: name % 2 == 0, ..call(name) }).unwrap();
        }
        assert_eq!(queue.take(usize::MAX, 3).0, [0, 1, 2]);
        queue.lose();
        queue.forget(|name| *name < 4);
        assert_eq!(take(&mut queue), [1, 3, 4, 5], "4 and 5 have somebody who waits, 1 and 3 are of use to others");
    }

    #[test]
    fn an_answer_to_what_was_not_sent_or_was_answered_is_ignored() {
        let mut queue = queue(0..2);
        assert!(queue.answer(0).is_none());
        assert_eq!(queue.take(usize::MAX, 1).0, [0]);
        assert!(queue.answer(1).is_none() && queue.answer(7).is_none());
        assert_eq!(queue.answer(0).unwrap().waiter, 0);
        assert!(queue.answer(0).is_none());
        queue.lose();
        assert!(queue.answer(1).is_none(), "sent on no link yet");
    }

    #[test]
    fn over_the_budget_a_call_comes_back_and_one_alone_is_always_taken() {
        let mut queue = Outstanding::new(2 * (10 + OVERHEAD));
        queue.push(call(0)).unwrap();
        queue.push(call(1)).unwrap();
        assert_eq!(queue.push(call(2)).unwrap_err().waiter, 2);
        take(&mut queue);
        assert_eq!(queue.answer(0).unwrap().waiter, 0);
        queue.push(call(3)).unwrap();
        let mut tiny = Outstanding::new(1);
        tiny.push(call(0)).unwrap();
        assert!(tiny.push(call(1)).is_err());
    }

    #[test]
    fn batches_end_at_their_size_and_a_large_call_goes_alone() {
        let mut queue = queue(0..5);
        assert_eq!(queue.take(25, 10).0, [0, 1]);
        assert_eq!(queue.take(1, 10).0, [2]);
        assert_eq!(queue.take(usize::MAX, 1).0, [3]);
        assert_eq!(take(&mut queue), [4]);
        assert!(take(&mut queue).is_empty());
    }

    #[test]
    fn what_is_sent_once_is_cut_out_of_its_call_or_ends_it() {
        let mut queue = Outstanding::new(usize::MAX);
        let mut push = |name, commands, again| {
            let body = Bytes::from_static(b"hAABBCC");
            queue.push(Call { body, commands, again, callers_own: false, cut: Vec::new(), waiter: name }).unwrap();
        };
        push(0, 3, Again::Without(vec![(0, 1..3), (2, 5..7)]));
        push(1, 3, Again::Without(vec![(0, 1..3), (1, 3..5), (2, 5..7)]));
        push(2, 1, Again::Never);
        push(3, 1, Again::Never);
        assert_eq!(queue.take(usize::MAX, 3).0, [0, 1, 2]);
        let ended = queue.lose();
        let [Ended::Cut(all), Ended::Unknown(open)] = &ended[..] else { panic!("{ended:?}") };
        assert_eq!((all.waiter, open.waiter), (1, 2));
        let (ids, bodies) = queue.take(usize::MAX, usize::MAX);
        assert_eq!(ids, [0, 3], "what was never sent is");
        assert_eq!(bodies[0], "hBB");
        queue.lose();
        assert_eq!(take(&mut queue), [0], "the second loss takes the opening, which was sent by then");
        assert_eq!(queue.answer(0).unwrap().cut, [0, 2]);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn giving_up_leaves_what_was_not_sent() {
        let mut queue = queue(0..3);
        queue.take(usize::MAX, 2);
        let names = |calls: Vec<Call<u64>>| calls.into_iter().map(|call| call.waiter).collect::<Vec<_>>();
        assert_eq!(names(queue.give_up_sent()), [0, 1]);
        queue.lose();
        queue.push(call(3)).unwrap();
        assert_eq!(queue.take(usize::MAX, 1).0, [2]);
        let (sent, unsent) = queue.close();
        assert_eq!((names(sent), names(unsent), queue.bytes), (vec![2], vec![3], 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Take(usize),
        Answer(usize),
        Lose,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            3 => (1..5usize).prop_map(Step::Take),
            3 => any::<usize>().prop_map(Step::Answer),
            1 => Just(Step::Lose),
        ]
    }

    proptest! {
        #[test]
        fn first_sendings_are_in_order_and_no_call_is_lost(steps in proptest::collection::vec(step(), 1..80)) {
            let mut queue = Outstanding::new(usize::MAX);
            let (mut pushed, mut answered, mut first, mut link) = (0, Vec::new(), Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push => {
                        queue.push(call(pushed)).unwrap();
                        pushed += 1;
                    }
                    Step::Take(count) => {
                        for id in queue.take(usize::MAX, count).0 {
                            prop_assert!(link.last().is_none_or(|last| *last < id), "ascending on a link");
                            link.push(id);
                            if !first.contains(&id) {
                                first.push(id);
                            }
                        }
                    }
                    Step::Answer(which) if !link.is_empty() => {
                        let id = link[which % link.len()];
                        let call = queue.answer(id);
                        prop_assert_eq!(call.is_some(), !answered.contains(&id));
                        answered.extend(call.map(|call| call.waiter));
                    }
                    Step::Answer(_) => {}
                    Step::Lose => {
                        prop_assert!(queue.lose().is_empty());
                        link.clear();
                    }
                }
            }
            prop_assert!(first.is_sorted());
            queue.lose();
            answered.extend(take(&mut queue));
            answered.sort_unstable();
            prop_assert_eq!(answered, (0..pushed).collect::<Vec<_>>());
        }
    }
}
