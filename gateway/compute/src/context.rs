//! What every protocol stands on, built once in dependency order.

use std::fmt;
use std::sync::Arc;

use causeway_model::{Clock, Incarnation};

use crate::cache::Messages;
use crate::interest::Interests;
use crate::metrics::Metrics;
use crate::notify::Hub;
use crate::port::{Broker, Cluster};
use crate::registry::Registry;
use crate::task::Tasks;

/// The shared parts of one gateway.
#[derive(Clone)]
pub struct Context {
    /// The brokers.
    pub broker: Arc<dyn Broker>,
    /// The cluster's constants, asked once.
    pub cluster: Cluster,
    /// Hints for connections.
    pub hub: Arc<Hub>,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// Wildcards of volatile sessions.
    pub interest: Arc<Interests>,
    /// Messages by position.
    pub messages: Arc<Messages>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// This run of this gateway.
    pub incarnation: Incarnation,
    /// Counters.
    pub metrics: Metrics,
    /// Starts tasks; knows the drain.
    pub tasks: Tasks,
}

impl Context {
    /// Starts what connections stand on. Must be called within a Tokio runtime.
    pub fn start(
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        incarnation: Incarnation,
        metrics: Metrics,
        tasks: Tasks,
        cache_window: u64,
    ) -> Arc<Self> {
        let cluster = broker.cluster();
        Arc::new(Self {
            hub: Hub::start(Arc::clone(&broker), &tasks, metrics.notify.clone()),
            registry: Registry::new(cluster, metrics.clients_online.clone()),
            interest: Interests::start(Arc::clone(&broker), incarnation, &tasks, metrics.interest_filters.clone()),
            messages: Arc::new(Messages::new(Arc::clone(&broker), cache_window, metrics.cache.clone())),
            broker,
            cluster,
            clock,
            incarnation,
            metrics,
            tasks,
        })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}
