//! The numbers of lookup.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// See [`Metrics::lookup`](crate::metrics::Metrics::lookup).
#[derive(Clone, Debug)]
pub struct LookupMetrics {
    /// Entries that this gateway keeps for the slots it owns.
    pub entries: IntGauge,
    /// Clients that were found here.
    pub found_here: IntCounter,
    /// Clients that were found where a hint said.
    pub found_by_hint: IntCounter,
    /// Times that every gateway had to be asked for a client.
    pub broadcasts: IntCounter,
    /// Hints that their gateway did not confirm.
    pub stale_hints: IntCounter,
    /// Times that nobody could say where a client is.
    pub unknown: IntCounter,
    /// Entries and removals handed to the lookup.
    pub changes: IntCounter,
    /// Times that the lookup could not keep some of them: their slots are gone through again.
    pub refusals: IntCounter,
    /// Entries put again since the map moved, the lookup refused some or they expire.
    pub reentered: IntCounter,
    /// Asks that another gateway did not answer.
    pub unanswered: IntCounter,
    /// Errands that were dropped since too many waited.
    pub dropped_errands: IntCounter,
}

impl LookupMetrics {
    /// Makes all handles and registers them.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let entries = IntGauge::new("causeway_lookup_entries", "Entries kept for the slots this gateway owns.")?;
        registry.register(Box::new(entries.clone()))?;
        let found = Opts::new("causeway_lookup_found_total", "Clients found, by what led to them.");
        let found = IntCounterVec::new(found, &["by"])?;
        registry.register(Box::new(found.clone()))?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("causeway_lookup_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        Ok(Self {
            entries,
            found_here: found.with_label_values(&["here"]),
            found_by_hint: found.with_label_values(&["hint"]),
            broadcasts: counter("broadcasts", "Times that every gateway had to be asked for a client.")?,
            stale_hints: counter("stale_hints", "Hints that their gateway did not confirm.")?,
            unknown: counter("unknown", "Times that nobody could say where a client is.")?,
            changes: counter("changes", "Entries and removals handed to the lookup.")?,
            refusals: counter("refusals", "Times that the lookup could not keep some changes.")?,
            reentered: counter("reentered", "Entries put again.")?,
            unanswered: counter("unanswered_asks", "Asks that another gateway did not answer.")?,
            dropped_errands: counter("dropped_errands", "Errands dropped since too many waited.")?,
        })
    }
}
