//! The broker's own numbers, read when they are scraped.

use std::sync::Arc;

use causeway_compute::port::Broker;
use causeway_index::Db;
use causeway_local::Local;
use causeway_model::ShardId;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Registry};

/// Reads one number.
type Read = fn(&Local<Db>) -> u64;

/// What one shard holds.
struct Shard {
    local: Arc<Local<Db>>,
    gauges: Vec<(IntGauge, Read)>,
}

/// Adds the numbers to a registry.
pub(crate) fn register(registry: &Registry, local: &Arc<Local<Db>>) -> Result<(), prometheus::Error> {
    let mut gauges: Vec<(IntGauge, Read)> = Vec::new();
    let mut gauge = |name: &str, help: &str, read: Read| {
        gauges.push((IntGauge::new(name, help)?, read));
        Ok::<_, prometheus::Error>(())
    };
    gauge("causeway_log_first_position", "First position that the log still holds", |local| local.first(ShardId(0)).0)?;
    gauge("causeway_log_durable_position", "Everything below is on disk", |local| local.log().durable().0)?;
    gauge("causeway_log_applied_position", "Everything below is applied", |local| local.applied(ShardId(0)).0)?;
    gauge("causeway_index_memtable_bytes", "Rows that are in memory only", |local| {
        local.tables().usage().memtable_bytes
    })?;
    gauge("causeway_index_cache_bytes", "Memory of the index", |local| local.tables().usage().cache_bytes)?;
    gauge("causeway_index_file_bytes", "Size of the index on disk", |local| local.tables().usage().file_bytes)?;
    gauge("causeway_index_rows", "Rows of the index, as it guesses", |local| local.tables().usage().rows)?;
    registry.register(Box::new(Shard { local: Arc::clone(local), gauges }))
}

impl Collector for Shard {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(|(gauge, _)| gauge.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (gauge, read) in &self.gauges {
            gauge.set(i64::try_from(read(&self.local)).unwrap_or(i64::MAX));
        }
        self.gauges.iter().flat_map(|(gauge, _)| gauge.collect()).collect()
    }
}
