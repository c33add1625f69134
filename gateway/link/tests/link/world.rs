//! A broker in memory behind a link on a real socket, and clients of it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_apply::Twin;
use causeway_compute::listener::Listener;
use causeway_compute::members::Registrar;
use causeway_compute::port::{Broker, Cluster, Command, Error, Frames, Page, Read, Reply, Session};
use causeway_compute::process::Process;
use causeway_compute::suite::Stopwatch;
use causeway_link::{
    BrokerServices, Client, ClientSettings, Identity, ServerMetrics, ServerSettings, Services, connect, serve,
};
use causeway_local::memory::{self, Memory};
use causeway_local::{Local, Settings, Started, Stopper};
use causeway_model::{Incarnation, Message, Position, ShardId, Sid};
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::gateways::Finder;

/// Longer than anything here takes on a machine that is not broken.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn process() -> Process {
    Process::new(prometheus::Registry::new()).unwrap()
}

/// A broker that serves links, and a gateway that others may ask.
pub(crate) struct Server {
    pub(crate) local: Arc<Local<Twin>>,
    pub(crate) clock: Arc<Stopwatch>,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// How many calls of `propose` and `fetch` came over links.
    pub(crate) proposed: watch::Receiver<usize>,
    pub(crate) fetched: watch::Receiver<usize>,
    stopper: Stopper,
}

/// Counts what is asked of a broker.
struct Watched {
    local: Arc<Local<Twin>>,
    proposed: watch::Sender<usize>,
    fetched: watch::Sender<usize>,
}

impl Broker for Watched {
    fn cluster(&self) -> Cluster {
        self.local.cluster()
    }
    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        let reply = self.local.propose(shard, commands);
        self.proposed.send_modify(|count| *count += 1);
        reply
    }
    fn read(&self, shard: ShardId, reads: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        self.local.read(shard, reads)
    }
    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        self.fetched.send_modify(|count| *count += 1);
        self.local.fetch(shard, positions)
    }
    fn session(&self, shard: ShardId, sid: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        self.local.session(shard, sid)
    }
    fn notify(&self, shard: ShardId) -> Frames {
        self.local.notify(shard)
    }
    fn applied(&self, shard: ShardId) -> Position {
        self.local.applied(shard)
    }
    fn first(&self, shard: ShardId) -> Position {
        self.local.first(shard)
    }
}

pub(crate) fn local_settings() -> Settings {
    let mut settings = memory::settings();
    settings.commit.waiting_groups = 5_000;
    settings.notify_frames = 64;
    settings
}

pub(crate) fn server_settings() -> ServerSettings {
    ServerSettings { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..ServerSettings::default() }
}

impl Server {
    /// Starts a shard on what is in memory, and serves it.
    pub(crate) async fn start(memory: &Memory, settings: &ServerSettings) -> Self {
        let clock = Arc::new(Stopwatch::default());
        let (memory, stopwatch) = (memory.clone(), Arc::clone(&clock));
        let start = move || memory.start(stopwatch, local_settings(), Incarnation(77)).unwrap();
        let Started { local, stopper } = tokio::task::spawn_blocking(start).await.unwrap();
        let process = process();
        let lease = Duration::from_secs(30);
        let members =
            Registrar::start(local.clone(), local.clone(), lease, process.metrics.members.clone(), &process.tasks)
                .await
                .unwrap();
        let listener = Listener::bind(settings.bind).unwrap();
        let address = listener.address();
        let (proposals, queries) = (watch::Sender::new(0), watch::Sender::new(0));
        let (proposed, fetched) = (proposals.subscribe(), queries.subscribe());
        let broker = Arc::new(Watched { local: local.clone(), proposed: proposals, fetched: queries });
        let services = BrokerServices { broker, overview: local.clone(), members };
        let metrics = Some(ServerMetrics::register(&process.registry).unwrap());
        let services = Services { broker: Some(services), peer: Some(Arc::new(Finder)), metrics };
        serve(listener, services, settings, local.cluster(), &process.tasks).unwrap();
        Self { local, clock, process, address, proposed, fetched, stopper }
    }

    /// Until so many proposals came.
    pub(crate) async fn proposals(&self, count: usize) {
        timeout(PATIENCE, self.proposed.clone().wait_for(|seen| *seen >= count)).await.unwrap().unwrap();
    }

    /// Ends links, port and shard.
    pub(crate) async fn stop(self) {
        self.process.finish(PATIENCE).await;
        // Waits for its threads.
        tokio::task::spawn_blocking(move || drop(self.stopper)).await.unwrap();
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        client_settings(self.address)
    }
}

pub(crate) fn client_settings(address: SocketAddr) -> ClientSettings {
    ClientSettings { brokers: vec![address.to_string()], ..ClientSettings::default() }
}

pub(crate) fn identity(number: u128) -> Identity {
    Identity { name: format!("gateway {number}").into(), incarnation: Incarnation(number) }
}

pub(crate) async fn client(settings: ClientSettings, number: u128, process: &Process) -> Arc<Client> {
    timeout(PATIENCE, connect(settings, identity(number), &process.tasks)).await.unwrap().unwrap()
}
