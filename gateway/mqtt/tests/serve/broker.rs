//! A whole gateway over the broker's own code on a disk and tables in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_apply::{Twin, read};
use causeway_compute::context::Context;
use causeway_compute::drain::{Drain, Pace, evict};
use causeway_compute::port::{Broker, Command};
use causeway_compute::process::Process;
use causeway_compute::task::Kind;
use causeway_local::memory::{Memory, settings};
use causeway_local::{Local, Started, Stopper};
use causeway_model::{Clock, Incarnation, ManualClock, ShardId, SystemClock};
use causeway_mqtt::codec::{Connect, Version};
use causeway_mqtt::{Server, Settings};

use crate::client::Client;
use crate::gate::Gate;

/// Of every gateway's drain: nobody waits for his turn, unless a test has many clients.
const PACE: Pace = Pace { rate: 20, deadline: Duration::from_secs(20) };

pub(crate) struct Gateway {
    memory: Memory,
    process: Process,
    pub(crate) context: Arc<Context>,
    server: Server,
    stopper: Stopper,
    local: Arc<Local<Twin>>,
    clock: Arc<ManualClock>,
    pub(crate) gate: Arc<Gate>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        Self::on(Memory::new(1), settings).await
    }

    async fn on(memory: Memory, mqtt: Settings) -> Self {
        let incarnation = Incarnation(rand::random());
        let (disk, clock) = (memory.clone(), Arc::new(ManualClock::new(SystemClock.now())));
        let shown: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let start = move || disk.start(shown, settings(), incarnation).unwrap();
        let Started { local, stopper } = tokio::task::spawn_blocking(start).await.unwrap();
        let process = Process::new(prometheus::Registry::new()).unwrap();
        let (metrics, tasks) = (process.metrics.clone(), process.tasks.clone());
        let gate = Gate::new(Arc::<Local<Twin>>::clone(&local));
        let broker = Arc::<Gate>::clone(&gate);
        let context = Context::start(broker, Arc::new(SystemClock), incarnation, metrics, tasks, 0);
        evict(Arc::clone(&context.registry), PACE, &context.tasks);
        let server = Server::new(Arc::clone(&context), mqtt, &process.registry).unwrap();
        Self { memory, process, context, server, stopper, local, clock, gate }
    }

    /// Ends as a process does that is asked to.
    pub(crate) async fn stop(self) -> Memory {
        let Self { memory, process, context, server, stopper, local, gate, .. } = self;
        let drained = process.finish(Duration::from_secs(20)).await;
        assert_eq!(drained.aborted, 0, "every connection ends by itself");
        drop((context, server, local, gate));
        tokio::task::spawn_blocking(|| stopper.stop()).await.unwrap();
        memory
    }

    /// Where it stands on its way out.
    pub(crate) fn drain(&self) -> &Drain {
        &self.process.drain
    }

    pub(crate) async fn restart(self) -> Self {
        let memory = self.stop().await;
        Self::on(memory, Settings::default()).await
    }

    /// A connection of `bytes` in either direction.
    pub(crate) fn dial(&self, bytes: usize) -> Client {
        let (near, far) = tokio::io::duplex(bytes);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        self.context.tasks.spawn(Kind::Connection, self.server.connection(far, peer));
        Client::new(near)
    }

    /// A client that is connected.
    pub(crate) async fn connect(&self, connect: Connect) -> Client {
        let mut client = self.dial(64 << 10);
        client.connect(connect).await;
        client
    }

    pub(crate) async fn clean(&self, name: &str) -> Client {
        self.connect(Connect::new(Version::V5, name.to_owned())).await
    }

    /// All that was proposed before is applied.
    pub(crate) async fn settled(&self) {
        self.local.propose(ShardId(0), vec![Command::Progress(Vec::new())]).await.unwrap();
    }

    /// Moves the shard's clock and lets it do what is due.
    pub(crate) async fn later(&self, by: Duration) {
        self.clock.advance(by);
        let local = Arc::clone(&self.local);
        tokio::task::spawn_blocking(move || local.tick()).await.unwrap().expect("no duty is put off");
    }

    /// Owners of wildcards in the shard's tables.
    pub(crate) fn interest(&self) -> usize {
        read::interest(&*self.memory.tables, &[], 100).unwrap().rows.len()
    }

    /// What a counter says, all labels together.
    pub(crate) fn counted(&self, name: &str) -> f64 {
        let families = self.process.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
    }
}
