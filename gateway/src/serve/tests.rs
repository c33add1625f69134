//! A gateway over loopback, on a broker that grants every session and stores nothing.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use causeway_compute::port::{
    ClientSession, Cluster, Command, Error as PortError, FrameSender, Frames, GatewayState, Lease, Map, NoPeers,
    Opened, Page, Read, Reply, Session, ShardStatus, frames,
};
use causeway_model::{
    ClientId, Epoch, HashKey, Incarnation, Kind, Lineage, Message, Namespace, Position, ShardId, Sid, SystemClock,
};
use futures_util::future::{BoxFuture, ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;
use crate::Mqtt;

/// Keeps its streams of frames open and silent.
#[derive(Default)]
struct Grants(Mutex<Vec<FrameSender>>);

impl Broker for Grants {
    fn cluster(&self) -> Cluster {
        Cluster { lineage: Lineage(1), key: HashKey([2; 16]), level: 1, shards: 1 }
    }
    fn propose(&self, _: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, PortError>> {
        let opened = Opened {
            sid: Sid { home: ShardId(0), position: Position(7) },
            epoch: Epoch(Position(7)),
            present: false,
            persistent: false,
            old_owner: None,
            expiry: Duration::ZERO,
        };
        let is_open = |command| matches!(command, Command::SessionOpen(_));
        let reply = |command| if is_open(command) { Reply::Opened(opened.clone()) } else { Reply::Done };
        Box::pin(ready(Ok(commands.into_iter().map(reply).collect())))
    }
    fn read(&self, shard: ShardId, _: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, PortError>> {
        Box::pin(ready(Err(PortError { operation: "read", shard, kind: Kind::Unsupported })))
    }
    fn fetch(
        &self,
        _: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, PortError>> {
        Box::pin(ready(Ok(vec![None; positions.len()])))
    }
    fn session(&self, _: ShardId, _: Sid) -> BoxFuture<'static, Result<Session, PortError>> {
        Box::pin(ready(Ok(Session::default())))
    }
    fn notify(&self, _: ShardId) -> Frames {
        let (sender, frames) = frames(1, 0);
        self.0.lock().unwrap().push(sender);
        frames
    }
    fn applied(&self, _: ShardId) -> Position {
        Position(0)
    }
    fn first(&self, _: ShardId) -> Position {
        Position(0)
    }
}

impl Overview for Grants {
    fn client(&self, _: Namespace, _: ClientId) -> BoxFuture<'static, Result<Option<ClientSession>, PortError>> {
        Box::pin(ready(Ok(None)))
    }
    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, PortError>> {
        Box::pin(ready(Ok(Vec::new())))
    }
    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, PortError>> {
        Box::pin(ready(Err(PortError { operation: "status", shard, kind: Kind::Unsupported })))
    }
}

/// What was asked of those who give leases, in order; they let everybody in once `open`.
struct Leases {
    asked: Mutex<Vec<&'static str>>,
    open: watch::Sender<bool>,
    fence: watch::Sender<bool>,
}

impl Leases {
    fn new() -> Arc<Self> {
        Arc::new(Self { asked: Mutex::default(), open: watch::Sender::new(true), fence: watch::Sender::new(false) })
    }

    fn note(&self, what: &'static str) {
        let mut asked = self.asked.lock().unwrap();
        if asked.last() != Some(&what) {
            asked.push(what);
        }
    }
}

fn lease(members: Vec<Member>) -> Lease {
    // Short, so that the next beat soon hears of a fence.
    Lease { length: Duration::from_millis(30), map: Arc::new(Map { members, ..Map::default() }) }
}

impl Members for Leases {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, PortError>> {
        self.note("join");
        let mut open = self.open.subscribe();
        Box::pin(async move {
            open.wait_for(|open| *open).await.unwrap();
            Ok(lease(vec![member]))
        })
    }
    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, PortError>> {
        let fenced = PortError { operation: "beat", shard: ShardId(0), kind: Kind::Fenced };
        let member = Member { incarnation, name: "gw".into(), address: None };
        Box::pin(ready(if *self.fence.borrow() { Err(fenced) } else { Ok(lease(vec![member])) }))
    }
    fn leave(&self, _: Incarnation) -> BoxFuture<'static, Result<(), PortError>> {
        self.note("leave");
        Box::pin(ready(Ok(())))
    }
}

fn ports() -> Ports {
    with(Leases::new())
}

fn with(members: Arc<Leases>) -> Ports {
    let grants = Arc::new(Grants::default());
    Ports {
        broker: Arc::<Grants>::clone(&grants),
        overview: grants,
        members,
        peers: Arc::new(NoPeers),
        lookup: None,
        member: Member { incarnation: Incarnation(1), name: "gw".into(), address: None },
        clock: Arc::new(SystemClock),
    }
}

async fn start(ports: Ports, settings: &Settings, process: &Process) -> Result<Running, Error> {
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, serve(ports, Reach::default(), settings, process)).await.expect("serves or says why")
}

fn process() -> Process {
    Process::new(prometheus::Registry::new()).unwrap()
}

fn settings(addresses: usize) -> Settings {
    let bind = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); addresses];
    Settings { mqtt: Mqtt { bind, ..Mqtt::default() }, ..Settings::default() }
}

/// MQTT 3.1.1 CONNECT of client `dev`, clean session, no keep alive, and the CONNACK that must follow.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03dev").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

#[tokio::test]
async fn clients_connect_on_every_address_and_a_drain_asks_them_to_go() {
    let process = process();
    let running = start(ports(), &settings(2), &process).await.unwrap();
    assert_eq!(running.mqtt().len(), 2);
    let mut first = connect(running.mqtt()[0]).await;
    // The same client on the other address takes over.
    let mut second = connect(running.mqtt()[1]).await;
    assert_eq!(first.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(running.context().registry.len(), 1);
    let drained = process.finish(Duration::from_secs(20)).await;
    assert_eq!(drained.aborted, 0);
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(running.mqtt()[0]).await.is_err());
    assert_eq!(*process.tasks.failure().borrow(), None);
}

#[tokio::test]
async fn nobody_is_let_in_before_it_has_joined_and_it_leaves_after_the_last_client() {
    let (process, leases) = (process(), Leases::new());
    leases.open.send_replace(false);
    process.health.started();
    let opening = async {
        while leases.asked.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(process.health.ready().unwrap_err().contains("not joined"));
        leases.open.send_replace(true);
    };
    let settings = settings(1);
    let (running, ()) = tokio::join!(start(with(Arc::clone(&leases)), &settings, &process), opening);
    let running = running.unwrap();
    assert_eq!(process.health.ready(), Ok(()));
    assert_eq!(running.membership().map().borrow().members.len(), 1);
    let mut client = connect(running.mqtt()[0]).await;
    assert_eq!(running.finish(&process, Duration::from_secs(20)).await.aborted, 0);
    assert_eq!(*leases.asked.lock().unwrap(), ["join", "leave"]);
    assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert_eq!(process.tasks.count(), 0);
}

#[tokio::test]
async fn a_drain_ends_the_wait_for_a_lease() {
    let (process, leases) = (process(), Leases::new());
    leases.open.send_replace(false);
    process.drain.begin();
    let error = start(with(leases), &settings(1), &process).await.unwrap_err();
    assert!(matches!(&error, Error::Join(_)), "{error}");
    process.finish(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn whoever_is_declared_lost_is_told() {
    let (process, leases) = (process(), Leases::new());
    let running = start(with(Arc::clone(&leases)), &settings(1), &process).await.unwrap();
    leases.fence.send_replace(true);
    tokio::time::timeout(Duration::from_secs(30), running.fenced()).await.expect("a beat hears of it");
    process.finish(Duration::ZERO).await;
    assert_eq!(process.tasks.count(), 0);
}

#[tokio::test]
async fn a_gateway_without_protocols_is_a_member_all_the_same() {
    let process = process();
    let running = start(ports(), &settings(0), &process).await.unwrap();
    assert_eq!((running.mqtt(), running.membership().map().borrow().members.len()), (&[][..], 1));
    running.finish(&process, Duration::from_secs(20)).await;
    assert_eq!((process.tasks.failure().borrow().clone(), process.tasks.count()), (None, 0));
}

#[tokio::test]
async fn an_address_in_use_and_bad_settings_are_errors_at_once() {
    let (first, second) = (process(), process());
    let running = start(ports(), &settings(1), &first).await.unwrap();
    let taken = Settings { mqtt: Mqtt { bind: running.mqtt().to_vec(), ..Mqtt::default() }, ..Settings::default() };
    let error = start(ports(), &taken, &second).await.unwrap_err();
    assert!(matches!(&error, Error::Listen(_)), "{error}");
    assert!(error.to_string().contains(&running.mqtt()[0].to_string()), "{error}");
    let mut bad = settings(1);
    (bad.mqtt.receive_maximum, bad.mqtt.mailbox) = (0, 0);
    let error = start(ports(), &bad, &second).await.unwrap_err();
    assert!(matches!(&error, Error::Settings(problems) if problems.len() == 2), "{error}");
    assert!(matches!(start(ports(), &settings(1), &first).await, Err(Error::Metrics(_))));
    assert_eq!(second.tasks.count(), 0);
    first.finish(Duration::from_secs(20)).await;
}
