//! The serving side: any ports behind one address.
//!
//! ```text
//!  listener ─► socket (limit, deadline for the handshake) ─► Hello ─► link ─┬─ propose ─► Broker::propose
//!                                                            │ ends the     ├─ ask ─────► read, fetch, session, overview
//!                                                            ▼ older one    ├─ notify ──► Broker::notify
//!                                                          links            ├─ members ─► leases
//!                                                                           └─ peer ────► what other gateways ask
//! ```
//!
//! A stream is polled when the network has room for its answers and takes more only then, so a peer that stops reading
//! stops being read: what it holds is bounded and nobody else waits.

mod ask;
mod hello;
mod links;
mod members;
mod narrow;
mod notify;
mod parts;
mod peer;
mod propose;
mod service;
mod socket;
mod sparing;

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::port::{Broker, Cluster, Members, Overview, Peer};
use causeway_compute::task::{Kind, Tasks};
use prometheus::Registry;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::{Request, Status};

use self::hello::Hello;
use self::links::{Connection, Links, Purpose};
use self::members::Leases;
use self::peer::Asked;
use self::service::Ports;
use crate::proto::brokers_server::BrokersServer;
use crate::proto::handshake_server::HandshakeServer;
use crate::proto::membership_server::MembershipServer;
use crate::proto::peers_server::PeersServer;
use crate::{
    CONNECTION_WINDOW, Error, FRAME_BYTES, Liveness, MAX_DECODED, PEER_BYTES, STREAM_WINDOW, ServerMetrics,
    ServerSettings, tls,
};

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
    /// A gateway that others may ask.
    pub peer: Option<Arc<dyn Peer>>,
    /// What is counted, the same for every address; `None`: nobody looks at it.
    pub metrics: Option<ServerMetrics>,
}

/// The largest handshake, which is all that a stranger may send, and the largest call about a lease.
const SMALL: usize = 64 << 10;

/// Streams that one connection may open: a reader a shard, and a few.
const STREAMS: u32 = 4096;

/// Connections end by themselves when their links have; this only bounds one that does not.
const CLOSE: Duration = Duration::from_secs(1);

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
    // Where it really listens decides whether it may do so without a token.
    let settings = &ServerSettings { bind: listener.address(), ..settings.clone() };
    let problems = settings.validate();
    if !problems.is_empty() {
        return Err(Error::Settings(problems));
    }
    let address = listener.address().to_string();
    let liveness = Liveness::default();
    let mut server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(liveness.interval))
        .http2_keepalive_timeout(Some(liveness.timeout));
    if let Some(settings) = &settings.tls {
        let cause = |error: tonic::transport::Error| crate::client::chain(&error);
        let config = tls::server(settings)?;
        server =
            server.tls_config(config).map_err(|error| Error::Tls { address: address.clone(), cause: cause(error) })?;
    }
    let metrics = services.metrics.clone().map_or_else(|| ServerMetrics::register(&Registry::new()), Ok)?;
    let links = Links::new(tasks.drain().is_closing(), metrics);
    let routes = routes(services, settings, cluster, &links);
    let incoming = socket::incoming(listener, settings, &links);
    let drain = tasks.drain().clone();
    tasks.spawn_fallible(Kind::LinkServer, async move {
        let (ending, links) = (drain.clone(), Arc::clone(&links));
        let closing = async move {
            ending.closing().await;
            links.close();
        };
        let done = server.add_routes(routes).serve_with_incoming_shutdown(incoming, closing);
        let bound = async move {
            drain.closing().await;
            tokio::time::sleep(CLOSE).await;
        };
        tokio::select! {
            done = done => done.map_err(|error| crate::client::chain(&error)),
            () = bound => Ok(()),
        }
    });
    Ok(())
}

fn routes(services: Services, settings: &ServerSettings, cluster: Cluster, links: &Arc<Links>) -> Routes {
    let broker = services.broker.as_ref().map(|services| Arc::clone(&services.broker));
    let (peer, metrics) = (services.peer.is_some(), links.metrics.clone());
    let hello = Hello { cluster, token: settings.token.clone(), broker, peer, links: Arc::clone(links) };
    let mut routes = Routes::new(HandshakeServer::new(hello).max_decoding_message_size(SMALL));
    if let Some(BrokerServices { broker, overview, members }) = services.broker {
        let ports = Ports { broker, overview, metrics };
        routes = routes
            .add_service(known(BrokersServer::new(ports).max_decoding_message_size(MAX_DECODED), Purpose::Broker))
            .add_service(known(
                MembershipServer::new(Leases(members)).max_decoding_message_size(SMALL),
                Purpose::Broker,
            ));
    }
    if let Some(peer) = services.peer {
        let peers = PeersServer::new(Asked(peer)).max_decoding_message_size(PEER_BYTES);
        routes = routes.add_service(known(peers, Purpose::Peer));
    }
    routes
}

/// Only for connections that have a link: asked before a byte of a call's body is read, so that a stranger can have none
/// kept.
fn known<S>(
    service: S,
    purpose: Purpose,
) -> InterceptedService<S, impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone> {
    InterceptedService::new(service, move |request: Request<()>| {
        Connection::link_of(&request, purpose)?;
        Ok(request)
    })
}
