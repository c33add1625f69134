//! The broker's own numbers, read when they are scraped.

use std::sync::Arc;

use causeway_compute::port::Broker;
use causeway_index::{Db, Usage};
use causeway_local::Local;
use causeway_model::ShardId;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

/// A look at everything that is told, taken once a scrape.
struct Seen {
    first: u64,
    durable: u64,
    applied: u64,
    index: Usage,
}

/// Picks one number.
type Pick = fn(&Seen) -> u64;

const NUMBERS: [(&str, &str, Pick); 7] = [
    ("causeway_log_first_position", "First position that the log still holds", |seen| seen.first),
    ("causeway_log_durable_position", "Everything below is on disk", |seen| seen.durable),
    ("causeway_log_applied_position", "Everything below is applied", |seen| seen.applied),
    ("causeway_index_memtable_bytes", "Rows that are in memory only", |seen| seen.index.memtable_bytes),
    ("causeway_index_cache_bytes", "Memory of the index", |seen| seen.index.cache_bytes),
    ("causeway_index_file_bytes", "Size of the index on disk", |seen| seen.index.file_bytes),
    ("causeway_index_rows", "Rows of the index, as it guesses", |seen| seen.index.rows),
];

/// What one shard holds. Asks the database, so it must not be collected on a worker that serves connections.
struct Shard {
    local: Arc<Local<Db>>,
    gauges: Vec<(IntGauge, Pick)>,
}

/// Adds the numbers to a registry.
pub(crate) fn register(registry: &Registry, local: &Arc<Local<Db>>) -> Result<(), prometheus::Error> {
    let gauges = NUMBERS.into_iter().map(|(name, help, pick)| Ok((IntGauge::new(name, help)?, pick)));
    let gauges = gauges.collect::<Result<_, prometheus::Error>>()?;
    registry.register(Box::new(Shard { local: Arc::clone(local), gauges }))
}

impl Collector for Shard {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(|(gauge, _)| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let seen = Seen {
            first: self.local.first(ShardId(0)).0,
            durable: self.local.log().durable().0,
            applied: self.local.applied(ShardId(0)).0,
            index: self.local.tables().usage(),
        };
        for (gauge, pick) in &self.gauges {
            gauge.set(i64::try_from(pick(&seen)).unwrap_or(i64::MAX));
        }
        self.gauges.iter().flat_map(|(gauge, _)| gauge.collect()).collect()
    }
}
