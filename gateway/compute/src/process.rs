//! What one process has once, whatever it hosts: its drain, its tasks, its numbers and its health.

use crate::admin::Health;
use crate::drain::{Drain, Drained};
use crate::metrics::Metrics;
use crate::task::Tasks;
use std::time::Duration;

/// The common ground of everything that a process runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Process {
    /// Where it stands on its way out.
    pub drain: Drain,
    /// Starts every task.
    pub tasks: Tasks,
    /// Where numbers are registered and scraped from.
    pub registry: prometheus::Registry,
    /// This crate's numbers.
    pub metrics: Metrics,
    /// What probes are told.
    pub health: Health,
}

impl Process {
    /// A process that is starting: alive, not ready.
    ///
    /// # Errors
    /// The metrics are registered in `registry` already.
    pub fn new(registry: prometheus::Registry) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::register(&registry)?;
        let drain = Drain::new();
        let tasks = Tasks::new(drain.clone(), metrics.task.clone());
        let health = Health::new(drain.clone(), tasks.failure());
        Ok(Self { drain, tasks, registry, metrics, health })
    }

    /// Begins the drain if it has not begun, waits for clients up to `deadline`, then ends every task.
    pub async fn finish(&self, deadline: Duration) -> Drained {
        self.finish_after(deadline, std::future::ready(())).await
    }

    /// The same, with last words between the clients' end and that of what they stood on.
    pub async fn finish_after(&self, deadline: Duration, last: impl Future<Output = ()>) -> Drained {
        self.drain.finish(&self.tasks, deadline, last).await
    }
}
