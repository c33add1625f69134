//! How long a frame takes from the broker's apply to a gateway, when nothing else happens: the same frame is awaited on
//! both sides of a link over loopback, each side on a runtime of its own.
//!
//! Prints one line; `BENCH_ROUNDS` says how many messages (default 500).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::members::Registrar;
use causeway_compute::port::{Broker, Command, Frames};
use causeway_compute::process::Process;
use causeway_link::{BrokerServices, Client, ClientSettings, Identity, ServerSettings, Services, connect, serve};
use causeway_local::memory::{self, Memory};
use causeway_local::{Local, Started};
use causeway_model::{
    ClientId, Incarnation, Message, Millis, Namespace, Position, Properties, Publisher, Qos, ShardId, SystemClock,
    Topic,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

const SHARD: ShardId = ShardId(0);
/// Between two messages: both sides are idle by then.
const PAUSE: Duration = Duration::from_millis(4);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn process() -> Process {
    Process::new(prometheus::Registry::new()).unwrap()
}

fn message(number: usize) -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new("plant/7/temp".into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(0),
        publisher: Publisher { client: ClientId("bench".into()), session: None, pid: None },
        properties: Properties::default(),
        body: number.to_string().into(),
    }
}

/// When the frame with this position came.
async fn arrival(mut frames: Frames, upto: Position) -> (Frames, Instant) {
    while frames.recv().await.unwrap().to <= upto {}
    (frames, Instant::now())
}

async fn serve_link<T: causeway_apply::Durable>(local: Arc<Local<T>>, process: &Process) -> SocketAddr {
    let metrics = process.metrics.members.clone();
    let lease = Duration::from_secs(30);
    let members = Registrar::start(local.clone(), local.clone(), lease, metrics, &process.tasks).await.unwrap();
    let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = listener.address();
    let broker = BrokerServices { broker: local.clone(), overview: local.clone(), members };
    let services = Services { broker: Some(broker), ..Services::default() };
    serve(listener, services, &ServerSettings::default(), local.cluster(), &process.tasks).unwrap();
    address
}

async fn dial(address: SocketAddr, process: &Process) -> Arc<Client> {
    let settings = ClientSettings { brokers: vec![address.to_string()], ..ClientSettings::default() };
    let identity = Identity { name: "bench".into(), incarnation: Incarnation(1) };
    connect(settings, identity, &process.tasks).await.unwrap()
}

fn main() {
    let rounds: usize = std::env::var("BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let (here, there) = (runtime(), runtime());
    let (broker, gateway) = (process(), process());
    let Started { local, stopper } =
        Memory::new(1).start(Arc::new(SystemClock), memory::settings(), Incarnation(77)).unwrap();
    let address = here.block_on(serve_link(Arc::clone(&local), &broker));
    let client = there.block_on(dial(address, &gateway));
    let (mut near, mut far) = (local.notify(SHARD), client.notify(SHARD));
    let mut delays = Vec::with_capacity(rounds);
    for number in 0..rounds {
        std::thread::sleep(PAUSE);
        let upto = local.applied(SHARD);
        let (near_side, far_side) = (here.spawn(arrival(near, upto)), there.spawn(arrival(far, upto)));
        here.block_on(local.propose(SHARD, vec![Command::Publish(message(number))])).unwrap();
        let ((frames, applied), (remote, arrived)) =
            there.block_on(async { (near_side.await.unwrap(), far_side.await.unwrap()) });
        (near, far) = (frames, remote);
        delays.push(arrived.saturating_duration_since(applied));
    }
    delays.sort_unstable();
    let at = |percent: usize| delays.get(delays.len() * percent / 100).or(delays.last()).copied().unwrap_or_default();
    println!(
        "notify: append to frame at the gateway, idle: p50 {:?}  p99 {:?}  max {:?}  ({rounds} frames over loopback)",
        at(50),
        at(99),
        at(100)
    );
    drop(client);
    stopper.stop();
}
