//! What the link itself costs: the port behind it answers at once and does nothing.
//!
//! Client and server run on one runtime of two threads over loopback, so the figures are of both sides together.

#![expect(clippy::unwrap_used, reason = "a bench")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_compute::listener::Listener;
use causeway_compute::port::{
    Broker, ClientSession, Cluster, Command, Error, Frames, GatewayState, Lease, Member, Members, Overview, Page, Read,
    Reply, Session, ShardStatus, frames,
};
use causeway_compute::process::Process;
use causeway_link::{BrokerServices, Client, ClientSettings, Identity, ServerSettings, Services, connect, serve};
use causeway_model::{
    ClientId, HashKey, Incarnation, Kind, Lineage, Message, Millis, Namespace, Position, Properties, Publisher, Qos,
    ShardId, Sid, Topic,
};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::runtime::Runtime;

const SHARD: ShardId = ShardId(0);
const CALLERS: usize = 10;
const ROUNDS: usize = 200;
const GROUP: usize = 20;

/// Answers at once.
struct Echo {
    message: Arc<Message>,
    position: AtomicU64,
}

fn refuse<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    ready(Err(Error { operation: "bench", shard: SHARD, kind: Kind::Unsupported })).boxed()
}

impl Broker for Echo {
    fn cluster(&self) -> Cluster {
        Cluster { lineage: Lineage(1), key: HashKey([1; 16]), level: 1, shards: 1 }
    }
    fn propose(&self, _: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        let at = self.position.fetch_add(1, Ordering::Relaxed);
        let replies = commands.iter().map(|_| Reply::Published { position: Position(at) }).collect();
        ready(Ok(replies)).boxed()
    }
    fn read(&self, _: ShardId, _: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        refuse()
    }
    fn fetch(
        &self,
        _: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        ready(Ok(vec![Some(Arc::clone(&self.message)); positions.len()])).boxed()
    }
    fn session(&self, _: ShardId, _: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        refuse()
    }
    fn notify(&self, _: ShardId) -> Frames {
        frames(1, 1).1
    }
    fn applied(&self, _: ShardId) -> Position {
        Position(self.position.load(Ordering::Relaxed))
    }
    fn first(&self, _: ShardId) -> Position {
        Position(0)
    }
}

impl Overview for Echo {
    fn client(&self, _: Namespace, _: ClientId) -> BoxFuture<'static, Result<Option<ClientSession>, Error>> {
        refuse()
    }
    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, Error>> {
        refuse()
    }
    fn status(&self, _: ShardId) -> BoxFuture<'static, Result<ShardStatus, Error>> {
        refuse()
    }
}

impl Members for Echo {
    fn join(&self, _: Member) -> BoxFuture<'static, Result<Lease, Error>> {
        refuse()
    }
    fn beat(&self, _: Incarnation) -> BoxFuture<'static, Result<Lease, Error>> {
        refuse()
    }
    fn leave(&self, _: Incarnation) -> BoxFuture<'static, Result<(), Error>> {
        refuse()
    }
}

fn message() -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new("plant/7/line/3/temperature".into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(1_700_000_000_000),
        publisher: Publisher { client: ClientId("sensor-00042".into()), session: None, pid: None },
        properties: Properties::default(),
        body: vec![7; 256].into(),
    }
}

struct World {
    runtime: Runtime,
    client: Arc<Client>,
    _processes: [Process; 2],
}

fn world() -> World {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let process = || Process::new(prometheus::Registry::new()).unwrap();
    let (serving, asking) = (process(), process());
    let client = runtime.block_on(async {
        let settings = ServerSettings { bind: "127.0.0.1:0".parse().unwrap(), ..ServerSettings::default() };
        let echo = Arc::new(Echo { message: Arc::new(message()), position: AtomicU64::new(1) });
        let listener = Listener::bind(settings.bind).unwrap();
        let brokers = vec![listener.address().to_string()];
        let services = BrokerServices { broker: echo.clone(), overview: echo.clone(), members: echo.clone() };
        let services = Services { broker: Some(services), ..Services::default() };
        serve(listener, services, &settings, echo.cluster(), &serving.tasks).unwrap();
        let identity = Identity { name: "bench".into(), incarnation: Incarnation(1) };
        connect(ClientSettings { brokers, ..ClientSettings::default() }, identity, &asking.tasks).await.unwrap()
    });
    World { runtime, client, _processes: [serving, asking] }
}

impl World {
    /// Every caller calls again when its last call was answered.
    fn run<F: Future<Output = ()> + Send + 'static>(&self, call: impl Fn(Arc<Client>) -> F) {
        let tasks = (0..CALLERS).map(|_| self.runtime.spawn(call(Arc::clone(&self.client))));
        let tasks: Vec<_> = tasks.collect();
        self.runtime.block_on(async { join_all(tasks).await.into_iter().for_each(|task| task.unwrap()) });
    }
}

#[divan::bench(sample_count = 20)]
fn propose_groups_of_20(bencher: divan::Bencher<'_, '_>) {
    let world = world();
    bencher.counter(divan::counter::ItemsCount::new(CALLERS * ROUNDS * GROUP)).bench(|| {
        world.run(|client| async move {
            let command = Command::Publish(message());
            for _ in 0..ROUNDS {
                client.propose(SHARD, vec![command.clone(); GROUP]).await.unwrap();
            }
        });
    });
}

#[divan::bench(sample_count = 20)]
fn propose_one_by_one(bencher: divan::Bencher<'_, '_>) {
    let world = world();
    bencher.counter(divan::counter::ItemsCount::new(CALLERS * ROUNDS)).bench(|| {
        world.run(|client| async move {
            let command = Command::Publish(message());
            for _ in 0..ROUNDS {
                client.propose(SHARD, vec![command.clone()]).await.unwrap();
            }
        });
    });
}

#[divan::bench(sample_count = 20)]
fn fetch_20_at_once(bencher: divan::Bencher<'_, '_>) {
    let world = world();
    bencher.counter(divan::counter::ItemsCount::new(CALLERS * ROUNDS * GROUP)).bench(|| {
        world.run(|client| async move {
            for _ in 0..ROUNDS {
                let positions = (0..GROUP as u64).map(Position).collect();
                client.fetch(SHARD, positions).await.unwrap();
            }
        });
    });
}

fn main() {
    divan::main();
}
