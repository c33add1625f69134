//! Bounds on what is under way: budgets of bytes or things, and rates.
//!
//! A budget is shared by many and waits or sheds, as its user decides. A bucket belongs to one owner, is 32 bytes and
//! knows no clock: time is passed in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So many bytes (or things) may be under way at once. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u32,
    free: Arc<Semaphore>,
}

/// A share of a budget, given back when dropped.
#[derive(Debug)]
#[must_use = "dropping it gives it back"]
pub struct Share {
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// A budget of `limit` units.
    pub fn new(limit: u32) -> Self {
        let permits = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { limit, free: Arc::new(Semaphore::new(permits)) }
    }

    /// Takes a share, or nothing if it does not fit now. Whatever is larger than the whole budget counts as the whole:
    /// it goes through alone rather than never.
    pub fn try_take(&self, units: u32) -> Option<Share> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units.min(self.limit)).ok()?;
        Some(Share { _permit: permit })
    }

    /// Takes a share when it fits, in the order of the calls; cancel safe.
    pub async fn take(&self, units: u32) -> Option<Share> {
        let permit = Arc::clone(&self.free).acquire_many_owned(units.min(self.limit)).await.ok()?;
        Some(Share { _permit: permit })
    }

    /// Units that are not taken.
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }
}

/// A rate with bursts: a token bucket, kept as the time at which it will be full again (GCRA, ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Time in which one token comes.
    interval: Duration,
    /// Time in which a whole burst comes.
    burst: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    /// `rate` tokens a second, at most `burst` at once; it starts full. A rate or burst of zero counts as one.
    pub fn new(rate: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { interval, burst: interval.saturating_mul(burst.max(1)), full_at: None }
    }

    /// Takes `tokens` at `now`.
    ///
    /// # Errors
    /// There are not enough: how long until there are. More than a burst is allowed when the bucket is full.
    pub fn take(&mut self, tokens: u32, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let cost = self.interval.saturating_mul(tokens);
        let missing = (full_at - now + cost.min(self.burst)).saturating_sub(self.burst);
        if missing > Duration::ZERO {
            return Err(missing);
        }
        self.full_at = Some(full_at + cost);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_that_does_not_fit_is_refused_until_another_is_given_back() {
        let budget = Budget::new(10);
        let six = budget.try_take(6).unwrap();
        assert!(budget.try_take(5).is_none());
        let four = budget.try_take(4).unwrap();
        assert_eq!(budget.free(), 0);
        drop(six);
        assert!(budget.try_take(6).is_some());
        drop(four);
        assert_eq!(budget.free(), 10);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_whole_budget_goes_through_alone() {
        let budget = Budget::new(10);
        let one = budget.try_take(1).unwrap();
        assert!(budget.try_take(1000).is_none());
        let waiting = budget.take(1000);
        let mut waiting = std::pin::pin!(waiting);
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(one);
        let whole = waiting.await.unwrap();
        assert_eq!(budget.free(), 0);
        drop(whole);
        assert_eq!(budget.free(), 10);
    }

    #[tokio::test]
    async fn a_dropped_wait_takes_nothing() {
        let budget = Budget::new(2);
        let both = budget.try_take(2).unwrap();
        {
            let mut waiting = std::pin::pin!(budget.take(1));
            assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        }
        drop(both);
        assert_eq!(budget.free(), 2);
    }

    #[test]
    fn a_bucket_allows_a_burst_then_the_rate() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::new(100, 5);
        (0..5).for_each(|_| bucket.take(1, at(0)).unwrap());
        assert_eq!(bucket.take(1, at(0)), Err(Duration::from_millis(10)));
        assert_eq!(bucket.take(2, at(5)), Err(Duration::from_millis(15)));
        bucket.take(1, at(10)).unwrap();
        assert_eq!(bucket.take(1, at(10)), Err(Duration::from_millis(10)));
        bucket.take(5, at(1000)).unwrap();
        assert_eq!(bucket.take(1, at(1000)), Err(Duration::from_millis(10)));
    }

    #[test]
    fn more_than_a_burst_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 2);
        bucket.take(10, start).unwrap();
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(900)));
        bucket.take(1, start + Duration::from_millis(900)).unwrap();
    }

    #[test]
    fn time_that_steps_back_gives_no_tokens() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 1);
        bucket.take(1, start + Duration::from_secs(1)).unwrap();
        assert_eq!(bucket.take(1, start), Err(Duration::from_millis(1100)));
    }
}
