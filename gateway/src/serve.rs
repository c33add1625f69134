//! Building a gateway, in dependency order: addresses, what connections stand on, protocols, then clients.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_compute::context::Context;
use causeway_compute::drain;
use causeway_compute::listener::{self, Limit, Listener};
use causeway_compute::port::Broker;
use causeway_compute::process::Process;
use causeway_model::{Clock, Incarnation};

use crate::settings::Settings;

/// What a gateway stands on.
#[derive(Clone)]
pub struct Ports {
    /// The brokers, in this process or far away.
    pub broker: Arc<dyn Broker>,
    /// This run of this gateway. Whoever made the ports has logged that it joined, and logs that it is lost.
    pub incarnation: Incarnation,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Why a gateway did not start. Nothing was accepted; what was started ends with the process's drain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that [`Settings::validate`] finds wrong.
    #[error("settings: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// The process serves a gateway already.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A gateway that serves. It ends with the drain of its [`Process`].
#[derive(Clone, Debug)]
pub struct Running {
    mqtt: Vec<SocketAddr>,
    context: Arc<Context>,
}

impl Running {
    /// The addresses of MQTT, with their real ports, in the order of the settings.
    pub fn mqtt(&self) -> &[SocketAddr] {
        &self.mqtt
    }

    /// What its connections stand on.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

/// Serves every protocol that the settings name, until the process's drain begins: then it accepts nothing more, asks
/// its clients to go, and [`Process::finish`] waits for them. Must be called within a Tokio runtime.
///
/// # Errors
/// Nothing is served: the settings are wrong, an address cannot be had, or the process serves a gateway already.
pub fn serve(ports: Ports, settings: &Settings, process: &Process) -> Result<Running, Error> {
    let problems = settings.validate();
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    // Addresses first: that one is taken is the likeliest mistake, and the cheapest to find out.
    let bind = settings.mqtt.bind.iter().copied().map(Listener::bind);
    let listeners = bind.collect::<Result<Vec<_>, _>>()?;
    let Ports { broker, incarnation, clock } = ports;
    let (metrics, tasks) = (process.metrics.clone(), process.tasks.clone());
    let context = Context::start(broker, clock, incarnation, metrics, tasks, settings.message_cache.as_u64());
    drain::evict(Arc::clone(&context.registry), settings.drain.pace(), &process.tasks);
    let mqtt = causeway_mqtt::Server::new(
        Arc::clone(&context),
        settings.mqtt.protocol(settings.drain.goodbye()),
        &process.registry,
    )?;
    let addresses = listeners.iter().map(Listener::address).collect();
    let limit = Limit::new(settings.mqtt.max_connections);
    for listener in listeners {
        tracing::info!(address = %listener.address(), "MQTT");
        let (server, metrics) = (mqtt.clone(), process.metrics.listeners.of("mqtt"));
        let connection = move |stream, peer| server.connection(stream, peer);
        listener.serve(limit.clone(), metrics, &process.tasks, connection);
    }
    Ok(Running { mqtt: addresses, context })
}
