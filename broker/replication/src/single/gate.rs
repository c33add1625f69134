//! Where proposals wait for the log thread: ordered, budgeted, and asleep when empty.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use causeway_storage::Group;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::committer::Answer;
use crate::{Pending, Priority, Refused};

/// A group with the one who waits for it.
pub(super) struct Waiting<O> {
    pub(super) group: Group,
    pub(super) priority: Priority,
    pub(super) done: oneshot::Sender<Answer<O>>,
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes: usize,
    pub(super) groups: usize,
    pub(super) retry_after: Duration,
}

/// What the log thread was woken for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// There are groups to append.
    Groups,
    /// The floor may have risen.
    Reclaim,
    /// No more groups will come, and none is left.
    Closed,
}

pub(super) struct Gate<O> {
    state: Mutex<State<O>>,
    wake: Condvar,
    budget: Budget,
}

struct State<O> {
    groups: VecDeque<Waiting<O>>,
    /// Bytes and groups that wait, here or in the log thread's backlog.
    bytes: usize,
    count: usize,
    reclaim: bool,
    open: bool,
}

impl<O> Gate<O> {
    pub(super) fn new(budget: Budget) -> Self {
        let state = State { groups: VecDeque::new(), bytes: 0, count: 0, reclaim: false, open: true };
        Self { state: Mutex::new(state), wake: Condvar::new(), budget }
    }

    /// Lines a group up. A group over the byte budget passes when nothing else waits, or it never would.
    pub(super) fn enter(&self, group: Group, priority: Priority) -> Result<Pending<O>, Refused> {
        let bytes = group.len();
        let mut state = self.state.lock();
        if !state.open {
            return Err(Refused::Unavailable);
        }
        let full = state.count >= self.budget.groups || state.bytes.saturating_add(bytes) > self.budget.bytes;
        if full && state.count > 0 {
            return Err(Refused::Busy { retry_after: self.budget.retry_after });
        }
        let (done, pending) = Pending::channel();
        state.groups.push_back(Waiting { group, priority, done });
        state.bytes += bytes;
        state.count += 1;
        drop(state);
        self.wake.notify_one();
        Ok(pending)
    }

    /// Sleeps until there is something to do, unless `backlog` still holds groups, and moves all that waits behind it.
    pub(super) fn take(&self, backlog: &mut VecDeque<Waiting<O>>) -> Wake {
        let mut state = self.state.lock();
        while backlog.is_empty() && state.groups.is_empty() {
            if mem::take(&mut state.reclaim) {
                return Wake::Reclaim;
            }
            if !state.open {
                return Wake::Closed;
            }
            self.wake.wait(&mut state);
        }
        if backlog.is_empty() {
            mem::swap(backlog, &mut state.groups);
        } else {
            backlog.append(&mut state.groups);
        }
        Wake::Groups
    }

    /// Gives back the budget of groups that left the backlog.
    pub(super) fn left(&self, groups: usize, bytes: usize) {
        let mut state = self.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        state.count = state.count.saturating_sub(groups);
    }

    /// Whether the floor may have risen since the last time this was asked.
    pub(super) fn take_reclaim(&self) -> bool {
        mem::take(&mut self.state.lock().reclaim)
    }

    /// Asks the log thread to look at the floor.
    pub(super) fn reclaim(&self) {
        self.state.lock().reclaim = true;
        self.wake.notify_one();
    }

    /// Takes no more groups; those inside still go through.
    pub(super) fn close(&self) {
        self.state.lock().open = false;
        self.wake.notify_one();
    }

    /// Takes no more groups and refuses those inside, which were not appended.
    pub(super) fn fail(&self) {
        let groups = {
            let mut state = self.state.lock();
            state.open = false;
            mem::take(&mut state.groups)
        };
        self.wake.notify_one();
        for waiting in groups {
            // Nobody waits any more: nothing to say.
            let _ = waiting.done.send(Err(Refused::Unavailable));
        }
    }
}

#[cfg(test)]
mod tests {
    use causeway_storage::GroupBuilder;

    use super::*;

    fn group(bytes: usize) -> Group {
        let mut builder = GroupBuilder::with_capacity(bytes);
        builder.record(|buf| buf.resize(buf.len() + bytes, 7));
        builder.finish()
    }

    fn gate(bytes: usize, groups: usize) -> Gate<()> {
        Gate::new(Budget { bytes, groups, retry_after: Duration::from_millis(5) })
    }

    #[test]
    fn over_the_budget_is_busy_until_groups_leave_the_backlog() {
        let gate = gate(10_000, 2);
        let first = gate.enter(group(10), Priority::Ordinary).unwrap();
        let second = gate.enter(group(10), Priority::Ordinary).unwrap();
        let busy = Refused::Busy { retry_after: Duration::from_millis(5) };
        assert_eq!(gate.enter(group(10), Priority::Ordinary).unwrap_err(), busy);

        let mut backlog = VecDeque::new();
        assert_eq!(gate.take(&mut backlog), Wake::Groups);
        assert_eq!(backlog.len(), 2);
        assert_eq!(gate.enter(group(10), Priority::Ordinary).unwrap_err(), busy, "the backlog still counts");
        let gone = backlog.pop_front().unwrap();
        gate.left(1, gone.group.len());
        gate.enter(group(10), Priority::Ordinary).unwrap();
        drop((first, second));
    }

    #[test]
    fn a_group_over_the_byte_budget_passes_alone() {
        let gate = gate(100, 10);
        let _large = gate.enter(group(1000), Priority::Ordinary).unwrap();
        assert!(matches!(gate.enter(group(1), Priority::Ordinary), Err(Refused::Busy { .. })));
    }

    #[test]
    fn closing_lets_through_what_is_inside_and_failing_refuses_it() {
        let gate = gate(10_000, 10);
        let pending = gate.enter(group(1), Priority::Ordinary).unwrap();
        gate.close();
        assert_eq!(gate.enter(group(1), Priority::Ordinary).unwrap_err(), Refused::Unavailable);
        let mut backlog = VecDeque::new();
        assert_eq!(gate.take(&mut backlog), Wake::Groups);
        backlog.pop_front().unwrap().done.send(Ok(vec![])).unwrap();
        assert_eq!(gate.take(&mut backlog), Wake::Closed);
        assert_eq!(pending.wait().unwrap(), vec![]);

        let gate = self::gate(10_000, 10);
        let pending = gate.enter(group(1), Priority::Ordinary).unwrap();
        gate.fail();
        assert_eq!(pending.wait().unwrap_err(), crate::Failure::Refused(Refused::Unavailable));
    }
}
