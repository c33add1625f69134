//! How long something took: a histogram, and what is said of it.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// A minute; what takes longer is counted as a minute.
const LONGEST_US: u64 = 60_000_000;

/// Durations from 1 µs to a minute, to three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u32>);

/// What a report says of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// Half of them took no longer.
    pub(crate) p50: Duration,
    /// All but one in a hundred took no longer.
    pub(crate) p99: Duration,
    /// All but one in a thousand took no longer.
    pub(crate) p999: Duration,
    /// None took longer.
    pub(crate) max: Duration,
}

impl Latency {
    /// No durations yet.
    pub(crate) fn new() -> Result<Self> {
        Histogram::new_with_bounds(1, LONGEST_US, 3).map(Self).context("latency histogram")
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Counts what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.0.add(&other.0).context("adding latency histograms")
    }

    /// The quantiles, if anything was counted.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        if self.0.is_empty() {
            return None;
        }
        let at = |quantile| Duration::from_micros(self.0.value_at_quantile(quantile));
        Some(Quantiles { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: Duration::from_micros(self.0.max()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new().unwrap();
        micros.into_iter().for_each(|us| latency.record(Duration::from_micros(us)));
        latency
    }

    /// Within the three digits that are kept.
    fn close(found: Duration, micros: u64) -> bool {
        found.as_micros().abs_diff(u128::from(micros)) * 1000 <= u128::from(micros)
    }

    #[test]
    fn quantiles_of_one_to_ten_thousand_are_where_they_belong() {
        let found = of(1..=10_000).quantiles().unwrap();
        assert!(close(found.p50, 5_000), "{found:?}");
        assert!(close(found.p99, 9_900), "{found:?}");
        assert!(close(found.p999, 9_990), "{found:?}");
        assert!(close(found.max, 10_000), "{found:?}");
    }

    #[test]
    fn merging_two_is_counting_in_one() {
        let mut low = of(1..=5_000);
        low.merge(&of(5_001..=10_000)).unwrap();
        assert_eq!(low.quantiles(), of(1..=10_000).quantiles());
    }

    #[test]
    fn nothing_counted_has_no_quantiles_and_an_hour_counts_as_a_minute() {
        assert_eq!(of([]).quantiles(), None);
        assert!(close(of([3_600_000_000]).quantiles().unwrap().max, LONGEST_US));
    }
}
