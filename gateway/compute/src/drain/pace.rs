//! Who is asked to go next, and when: clients in the order of their ids, evenly over time. No clock and no connection:
//! time comes in, decisions go out.

use std::time::Duration;

use causeway_model::QueueId;

use super::Progress;

/// How fast clients are asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Clients a second. More where `deadline` asks for it.
    pub rate: u32,
    /// When the drain ends whoever is left, counted from its begin. All are asked within four fifths of it, so that the
    /// last ones have time to go.
    pub deadline: Duration,
}

/// Most clients that are asked in one step, however many are due: a step walks them under the registry's locks.
const STEP: usize = 1024;

const SECOND: u64 = 1_000_000_000;

/// The eviction of all clients, step by step.
#[derive(Debug)]
pub struct Evictions {
    clients: usize,
    asked: usize,
    /// The last one that was asked.
    after: Option<QueueId>,
    /// From one client to the next, in nanoseconds.
    gap: u64,
    ended: bool,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask `count` clients, those that follow `after` in the order of their ids.
    Ask {
        /// `None`: from the first.
        after: Option<QueueId>,
        /// At least 1.
        count: usize,
    },
    /// Nobody is due before `until`, counted from the begin.
    Wait {
        /// When the next one is due.
        until: Duration,
    },
    /// Everybody has been asked.
    Done,
}

impl Evictions {
    /// Nobody has been asked; `clients` are connected, and nobody enters any more.
    pub fn new(pace: Pace, clients: usize) -> Self {
        let count = u64::try_from(clients).unwrap_or(u64::MAX).max(1);
        let window = u64::try_from((pace.deadline / 5 * 4).as_nanos()).unwrap_or(u64::MAX);
        let gap = (SECOND / u64::from(pace.rate.max(1))).min(window / count);
        Self { clients, asked: 0, after: None, gap, ended: false }
    }

    /// What is due `elapsed` after the begin.
    pub fn next(&self, elapsed: Duration) -> Next {
        if self.ended {
            return Next::Done;
        }
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        // The first one is due at once, and a gap of zero has everybody due.
        let due = elapsed.checked_div(self.gap).map_or(u64::MAX, |gaps| gaps.saturating_add(1));
        let due = usize::try_from(due).unwrap_or(usize::MAX);
        match due.saturating_sub(self.asked) {
            0 => Next::Wait { until: Duration::from_nanos(self.gap.saturating_mul(self.asked as u64)) },
            count => Next::Ask { after: self.after, count: count.min(STEP) },
        }
    }

    /// `count` clients were asked, `last` the last of them. None means that there are no more: some have left on their
    /// own account, and nobody waits for their turns.
    pub fn asked(&mut self, count: usize, last: Option<QueueId>) {
        self.asked = self.asked.saturating_add(count);
        self.after = last.or(self.after);
        self.ended = count == 0 || self.asked >= self.clients;
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let rate = SECOND.checked_div(self.gap).unwrap_or(SECOND);
        Progress { clients: self.clients, asked: self.asked, rate }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> QueueId {
        QueueId((number as u128).to_be_bytes())
    }

    /// Plays a drain of `clients`, of whom `leave` go on their own account meanwhile; when each was asked.
    fn play(pace: Pace, clients: usize, leave: usize) -> Vec<Duration> {
        let mut evictions = Evictions::new(pace, clients);
        let (mut now, mut asked) = (Duration::ZERO, Vec::new());
        let present = clients - leave;
        loop {
            match evictions.next(now) {
                Next::Ask { after, count } => {
                    assert_eq!(
                        after,
                        asked.len().checked_sub(1).map(id),
                        "in order, nobody twice and nobody passed over"
                    );
                    assert!((1..=STEP).contains(&count));
                    let count = count.min(present - asked.len());
                    asked.extend(std::iter::repeat_n(now, count));
                    evictions.asked(count, (count > 0).then(|| id(asked.len() - 1)));
                }
                Next::Wait { until } => {
                    assert!(until > now, "time moves on");
                    now = until;
                }
                Next::Done => return asked,
            }
        }
    }

    #[test]
    fn clients_are_asked_one_by_one_at_the_rate_that_was_set() {
        let pace = Pace { rate: 4, deadline: Duration::from_secs(20) };
        let at: Vec<_> = play(pace, 5, 0).iter().map(Duration::as_millis).collect();
        assert_eq!(at, [0, 250, 500, 750, 1000]);
    }

    #[test]
    fn the_rate_is_raised_where_the_deadline_asks_for_it() {
        let pace = Pace { rate: 10, deadline: Duration::from_secs(20) };
        let evictions = Evictions::new(pace, 16_000);
        assert_eq!(evictions.progress(), Progress { clients: 16_000, asked: 0, rate: 1000 });
        let asked = play(pace, 16_000, 0);
        assert_eq!(asked.len(), 16_000);
        assert!(asked[15_999] <= Duration::from_secs(16));
        assert!(asked[8_000] >= Duration::from_millis(7_900), "evenly, not at the end of it");
    }

    #[test]
    fn nobody_is_waited_for_who_left_on_his_own_account() {
        let pace = Pace { rate: 1, deadline: Duration::from_secs(100) };
        assert_eq!(play(pace, 0, 0), [Duration::ZERO; 0]);
        assert_eq!(play(pace, 50, 48).len(), 2);
    }

    #[test]
    fn a_process_that_was_stopped_catches_up_in_bounded_steps() {
        let mut evictions = Evictions::new(Pace { rate: 1, deadline: Duration::from_secs(10) }, 5000);
        let late = Duration::from_mins(1);
        assert_eq!(evictions.next(late), Next::Ask { after: None, count: STEP });
        evictions.asked(STEP, Some(id(STEP)));
        assert_eq!(evictions.next(late), Next::Ask { after: Some(id(STEP)), count: STEP });
    }

    proptest! {
        #[test]
        fn all_are_asked_within_four_fifths_of_the_deadline_and_not_faster_than_needed(
            rate in 0_u32..5000, seconds in 0_u32..100, clients in 0_u32..5000, leave in 0_u32..5000,
        ) {
            let pace = Pace { rate, deadline: Duration::from_secs(u64::from(seconds)) };
            let (count, leave) = (clients as usize, leave.min(clients) as usize);
            let asked = play(pace, count, leave);
            prop_assert_eq!(asked.len(), count - leave);
            prop_assert!(asked.iter().all(|at| *at <= pace.deadline / 5 * 4));
            let needed = 1.25 * f64::from(clients) / f64::from(seconds);
            let most = f64::from(rate.max(1)).max(needed);
            for (number, at) in (0_u32..).zip(&asked) {
                let allowed = if seconds == 0 { f64::INFINITY } else { at.as_secs_f64() * most * 1.001 + 1.0 };
                prop_assert!(f64::from(number) <= allowed, "{number} at {at:?}");
            }
        }
    }
}
