//! Building a gateway, in dependency order: addresses, its lease, what connections stand on, the way in for other
//! gateways, protocols, then clients.
//!
//! **No client is let in before this run has joined and the other gateways know of it**: until then some would call its
//! clients offline, and `/readyz` says no.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::context::Context;
use causeway_compute::drain::{self, Drained};
use causeway_compute::listener::{self, Limit, Listener};
use causeway_compute::lookup::{Clients, Network};
use causeway_compute::members::{self, Membership};
use causeway_compute::port::{Broker, Lookup, Member, Members, Overview, Peer, Peers};
use causeway_compute::process::Process;
use causeway_link::{BrokerServices, ServerMetrics, ServerSettings, Services};
use causeway_model::Clock;

use crate::settings::Settings;

/// What a gateway stands on.
#[derive(Clone)]
pub struct Ports {
    /// The brokers, in this process or far away.
    pub broker: Arc<dyn Broker>,
    /// What people ask of them.
    pub overview: Arc<dyn Overview>,
    /// Who gives leases.
    pub members: Arc<dyn Members>,
    /// The other gateways.
    pub peers: Arc<dyn Peers>,
    /// Where clients are looked up; `None`: where the settings say.
    pub lookup: Option<Arc<dyn Lookup>>,
    /// This run of this gateway, and where others reach it.
    pub member: Member,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Where other processes reach this one over the link.
#[derive(Default)]
pub struct Reach {
    /// Bound addresses.
    pub listeners: Vec<Listener>,
    /// Who is let in.
    pub settings: ServerSettings,
    /// What is served beside this gateway itself.
    pub broker: Option<BrokerServices>,
}

/// Why a gateway did not start. No client was let in; what was started ends with the process's drain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that [`Settings::validate`] finds wrong.
    #[error("settings: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// It was not let in among the gateways.
    #[error(transparent)]
    Join(#[from] members::Error),
    /// The link cannot be served.
    #[error(transparent)]
    Link(#[from] causeway_link::Error),
    /// The lookup that the settings name.
    #[error("settings: {0}")]
    Lookup(String),
    /// The process serves a gateway already.
    #[error("register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A gateway that serves. It ends with the drain of its [`Process`].
#[derive(Clone, Debug)]
pub struct Running {
    mqtt: Vec<SocketAddr>,
    context: Arc<Context>,
    membership: Arc<Membership>,
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

    /// Its lease, and the map of gateways.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// Clients of every gateway.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.context.clients
    }

    /// Resolves when this run was declared lost: nothing that it does counts any more. Drop its connections.
    pub fn fenced(&self) -> impl Future<Output = ()> + Send + use<> {
        self.membership.fenced()
    }

    /// An orderly end: asks clients to go, waits for them, gives the lease back, then ends every task.
    pub async fn finish(&self, process: &Process, deadline: Duration) -> Drained {
        process.finish_after(deadline, self.membership.leave()).await
    }
}

/// Joins, then serves every protocol that the settings name, until the process's drain begins: then it accepts nothing
/// more, asks its clients to go at the settings' pace, and [`Running::finish`] waits for them. Must be called within a
/// Tokio runtime.
///
/// # Errors
/// Nothing is served: the settings are wrong, an address cannot be had, the gateway is not let in, the process began to
/// drain meanwhile, or it serves a gateway already.
pub async fn serve(ports: Ports, reach: Reach, settings: &Settings, process: &Process) -> Result<Running, Error> {
    let problems = settings.validate();
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    // Addresses first: that one is taken is the likeliest mistake, and the cheapest to find out.
    let bind = settings.mqtt.bind.iter().copied().map(Listener::bind);
    let listeners = bind.collect::<Result<Vec<_>, _>>()?;
    let Ports { broker, members, member, .. } = &ports;
    let (health, metrics) = (process.health.clone(), process.metrics.members.clone());
    let membership = Membership::join(Arc::clone(members), member.clone(), health, metrics, &process.tasks).await?;
    let context = context(&ports, &membership, settings, process)?;
    let counted = ServerMetrics::register(&process.registry)?;
    for listener in reach.listeners {
        let peer = Some(Arc::<Clients>::clone(&context.clients) as Arc<dyn Peer>);
        let services = Services { broker: reach.broker.clone(), peer, metrics: Some(counted.clone()) };
        causeway_link::serve(listener, services, &reach.settings, broker.cluster(), &process.tasks)?;
    }
    if let Some(heard) = context.clients.heard() {
        membership.follow(heard, &process.tasks);
    }
    tokio::select! {
        biased;
        () = process.drain.begun() => return Err(members::Error::Draining { incarnation: member.incarnation }.into()),
        () = context.clients.introduced() => {}
    }
    drain::evict(Arc::clone(&context.registry), settings.drain.pace(), &process.tasks);
    let mqtt = mqtt(listeners, &context, settings, process)?;
    Ok(Running { mqtt, context, membership })
}

fn context(
    ports: &Ports,
    membership: &Membership,
    settings: &Settings,
    process: &Process,
) -> Result<Arc<Context>, Error> {
    let Ports { broker, peers, lookup, member, clock, .. } = ports;
    let lookup = match lookup {
        Some(lookup) => Some(Arc::clone(lookup)),
        None => settings.lookup.open(broker.cluster().lineage).map_err(Error::Lookup)?,
    };
    let network = Network {
        name: member.name.clone(),
        peers: Arc::clone(peers),
        map: membership.map(),
        lookup,
        settings: settings.lookup.compute(),
    };
    Ok(Context::start_among(
        Arc::clone(broker),
        Arc::clone(clock),
        member.incarnation,
        process.metrics.clone(),
        process.tasks.clone(),
        settings.message_cache.as_u64(),
        Some(network),
    ))
}

/// Lets MQTT clients in; the addresses, with their real ports.
fn mqtt(
    listeners: Vec<Listener>,
    context: &Arc<Context>,
    settings: &Settings,
    process: &Process,
) -> Result<Vec<SocketAddr>, Error> {
    if listeners.is_empty() {
        // Nobody speaks it here: no task, no numbers.
        return Ok(Vec::new());
    }
    let protocol = settings.mqtt.protocol(settings.drain.goodbye());
    let mqtt = causeway_mqtt::Server::new(Arc::clone(context), protocol, &process.registry)?;
    let addresses = listeners.iter().map(Listener::address).collect();
    let limit = Limit::new(settings.mqtt.max_connections);
    for listener in listeners {
        tracing::info!(address = %listener.address(), "MQTT");
        let (server, metrics) = (mqtt.clone(), process.metrics.listeners.of("mqtt"));
        let connection = move |stream, peer| server.connection(stream, peer);
        listener.serve(limit.clone(), metrics, &process.tasks, connection);
    }
    Ok(addresses)
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("member", &self.member).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}
