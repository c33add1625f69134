//! The in-memory port: the same code on tables and a disk that are memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_apply::Twin;
use causeway_model::{Clock, HashKey, Incarnation, Lineage};
use causeway_storage::Sim;

use crate::settings::{Duty, Flush, Settings, Watermarks};
use crate::{Birth, Error, LocalOptions, Started, start};

/// A disk and tables that outlive the shard on them, as real ones do.
#[derive(Clone)]
pub struct Memory {
    /// The disk.
    pub disk: Sim,
    /// The tables.
    pub tables: Arc<Twin>,
}

impl Memory {
    /// Empty; what a crash loses follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { disk: Sim::new(seed), tables: Arc::new(Twin::new()) }
    }

    /// Starts a shard on them.
    pub fn start(
        &self,
        clock: Arc<dyn Clock>,
        settings: Settings,
        incarnation: Incarnation,
    ) -> Result<Started<Twin>, Error> {
        let options = LocalOptions {
            fs: Arc::new(self.disk.clone()),
            dir: PathBuf::from("/shard"),
            tables: Arc::clone(&self.tables),
            clock,
            settings,
            incarnation: Some(incarnation),
            birth: Birth { lineage: Lineage(1), key: HashKey([1; 16]) },
        };
        start(options, &mut |_| {})
    }

    /// The power goes: what was not synced or flushed is lost. The shard on them must have been stopped or leaked.
    pub fn crash(&self) {
        self.disk.crash();
        self.tables.crash();
    }
}

/// Settings of a size that a test reaches: small segments, no disk to run short of, duties only when asked.
pub fn settings() -> Settings {
    let mut settings = Settings {
        disk: Watermarks { trim_below: 0, refuse_below: 0 },
        // Tables are copied whole by a flush: rarely, then.
        flush: Flush { bytes: 64 << 20, interval: Duration::from_mins(10) },
        duty: Duty { interval: None, check_every: Duration::from_mins(1) },
        ..Settings::default()
    };
    settings.log.segment_bytes = 1 << 20;
    settings.log.tail_bytes = 4 << 20;
    settings.retention.step_bytes = 1 << 20;
    settings
}
