//! What every protocol stands on, built once in dependency order.

use std::fmt;
use std::sync::Arc;

use causeway_model::{Clock, Incarnation, Text};

use crate::cache::Messages;
use crate::interest::Interests;
use crate::lookup::{Clients, Network};
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
    /// Clients of every gateway.
    pub clients: Arc<Clients>,
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
    /// Starts what connections of the only gateway stand on. Must be called within a Tokio runtime.
    pub fn start(
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        incarnation: Incarnation,
        metrics: Metrics,
        tasks: Tasks,
        cache_window: u64,
    ) -> Arc<Self> {
        Self::start_among(broker, clock, incarnation, metrics, tasks, cache_window, None)
    }

    /// Starts what connections stand on, of one gateway among others; `None`: there are none. Must be called within a
    /// Tokio runtime.
    pub fn start_among(
        broker: Arc<dyn Broker>,
        clock: Arc<dyn Clock>,
        incarnation: Incarnation,
        metrics: Metrics,
        tasks: Tasks,
        cache_window: u64,
        network: Option<Network>,
    ) -> Arc<Self> {
        let cluster = broker.cluster();
        let registry = Registry::new(cluster, metrics.clients_online.clone());
        let clients = match network {
            Some(network) => Clients::start(incarnation, Arc::clone(&registry), network, &metrics.lookup, &tasks),
            None => Clients::alone(incarnation, Text::from("here"), Arc::clone(&registry)),
        };
        Arc::new(Self {
            hub: Hub::start(Arc::clone(&broker), &tasks, metrics.notify.clone()),
            registry,
            clients,
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
