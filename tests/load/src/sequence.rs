//! Whether one publisher's messages come in order, once, and all of them.

use serde::Serialize;

/// What a subscriber saw of one publisher's numbers.
///
/// A message counts as *repeated* when its number was seen before, as *late* when it was skipped before and comes after
/// a higher one. Late is what an ordered transport must never show; repeated is what QoS 1 may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sequence {
    /// Bit n: number n has come.
    seen: Vec<u64>,
    next: u64,
    counts: Counts,
}

/// The counts, which can be added up over publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Different messages.
    pub(crate) distinct: u64,
    /// Messages that had come before.
    pub(crate) repeated: u64,
    /// Messages that came for the first time after a later one.
    pub(crate) late: u64,
}

impl Counts {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: Self) {
        self.distinct += other.distinct;
        self.repeated += other.repeated;
        self.late += other.late;
    }
}

/// Beyond this number only order is watched, not repetition: a bit for each would be too much memory (16 MiB).
const REMEMBERED: u64 = 1 << 27;

impl Sequence {
    /// Takes note of message `number`.
    pub(crate) fn see(&mut self, number: u64) {
        if number >= self.next {
            self.next = number.saturating_add(1);
            self.counts.distinct += 1;
            self.remember(number);
        } else if self.remember(number) {
            self.counts.distinct += 1;
            self.counts.late += 1;
        } else {
            self.counts.repeated += 1;
        }
    }

    /// What was seen so far.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Notes that `number` has come. `false`: it had come before, or is too large to tell.
    fn remember(&mut self, number: u64) -> bool {
        if number >= REMEMBERED {
            return false;
        }
        let Ok(word) = usize::try_from(number / 64) else { return false };
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let bit = 1 << (number % 64);
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn counts(numbers: &[u64]) -> Counts {
        let mut sequence = Sequence::default();
        for &number in numbers {
            sequence.see(number);
        }
        sequence.counts()
    }

    #[test]
    fn order_gaps_repetition_and_lateness_are_told_apart() {
        assert_eq!(counts(&[0, 1, 2]), Counts { distinct: 3, repeated: 0, late: 0 });
        assert_eq!(counts(&[0, 2, 3]), Counts { distinct: 3, repeated: 0, late: 0 });
        assert_eq!(counts(&[0, 2, 1]), Counts { distinct: 3, repeated: 0, late: 1 });
        assert_eq!(counts(&[0, 1, 0, 1, 2]), Counts { distinct: 3, repeated: 2, late: 0 });
        assert_eq!(counts(&[5, 5, 4, 4]), Counts { distinct: 2, repeated: 2, late: 1 });
    }

    #[test]
    fn a_number_out_of_all_proportion_costs_no_memory() {
        let mut sequence = Sequence::default();
        sequence.see(u64::MAX);
        sequence.see(u64::MAX - 1);
        assert!(sequence.seen.is_empty());
    }

    proptest! {
        #[test]
        fn distinct_and_repeated_are_those_of_a_set(numbers in proptest::collection::vec(0_u64..200, 0..400)) {
            let found = counts(&numbers);
            let distinct = numbers.iter().collect::<HashSet<_>>().len() as u64;
            prop_assert_eq!(found.distinct, distinct);
            prop_assert_eq!(found.repeated, numbers.len() as u64 - distinct);
        }
    }
}
