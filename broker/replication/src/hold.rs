//! Who still needs which part of the log.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use causeway_model::Position;
use parking_lot::Mutex;

/// Keeps the log from a position on, until dropped.
pub struct Hold {
    at: Position,
    floor: Arc<Floor>,
}

impl Hold {
    /// The log is kept from here on: where the hold was asked for, or higher if that part was already given up.
    pub fn position(&self) -> Position {
        self.at
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", self.at)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.floor.drop_hold(self.at);
    }
}

/// The log's floor: as high as the owner released it and as low as the lowest hold.
pub(crate) struct Floor {
    state: Mutex<State>,
    /// Called whenever the floor may have risen.
    risen: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    holds: BTreeMap<Position, usize>,
    released: Position,
    /// What was handed out for removal: no hold can be below it.
    given_up: Position,
}

impl State {
    fn floor(&self) -> Position {
        let lowest = self.holds.first_key_value().map_or(self.released, |(at, _)| *at);
        lowest.min(self.released)
    }
}

impl Floor {
    pub(crate) fn new(risen: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), risen: Box::new(risen) })
    }

    pub(crate) fn hold(self: &Arc<Self>, at: Position) -> Hold {
        let mut state = self.state.lock();
        let at = at.max(state.given_up);
        *state.holds.entry(at).or_default() += 1;
        Hold { at, floor: Arc::clone(self) }
    }

    fn drop_hold(&self, at: Position) {
        let risen = {
            let mut state = self.state.lock();
            let before = state.floor();
            if let Some(count) = state.holds.get_mut(&at) {
                *count -= 1;
                if *count == 0 {
                    state.holds.remove(&at);
                }
            }
            state.floor() > before
        };
        if risen {
            (self.risen)();
        }
    }

    pub(crate) fn release(&self, below: Position) {
        let risen = {
            let mut state = self.state.lock();
            let before = state.floor();
            state.released = state.released.max(below);
            state.floor() > before
        };
        if risen {
            (self.risen)();
        }
    }

    /// Gives up what is below the floor: from here on no hold reaches below the answer.
    pub(crate) fn give_up(&self) -> Position {
        let mut state = self.state.lock();
        state.given_up = state.given_up.max(state.floor());
        state.given_up
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn floor() -> (Arc<Floor>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let floor = Floor::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        });
        (floor, calls)
    }

    #[test]
    fn the_floor_is_the_lower_of_release_and_holds_and_says_when_it_rises() {
        let (floor, calls) = floor();
        let low = floor.hold(Position(10));
        let same = floor.hold(Position(10));
        let high = floor.hold(Position(30));
        floor.release(Position(50));
        assert_eq!(floor.give_up(), Position(10));
        let risen = calls.load(Ordering::SeqCst);
        drop(low);
        assert_eq!(calls.load(Ordering::SeqCst), risen, "the other hold at the same place still counts");
        drop(same);
        assert_eq!(calls.load(Ordering::SeqCst), risen + 1);
        assert_eq!(floor.give_up(), Position(30));
        drop(high);
        assert_eq!(floor.give_up(), Position(50));
        floor.release(Position(20));
        assert_eq!(floor.give_up(), Position(50), "a release never moves back");
    }

    #[test]
    fn a_hold_below_what_was_given_up_says_how_far_it_reaches() {
        let (floor, _) = floor();
        floor.release(Position(40));
        assert_eq!(floor.hold(Position(5)).position(), Position(5), "released, but not given up yet");
        assert_eq!(floor.give_up(), Position(40));
        assert_eq!(floor.hold(Position(5)).position(), Position(40));
    }
}
