//! A gateway over loopback, on a broker that grants every session and stores nothing.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use causeway_compute::port::{
    Cluster, Command, Error as PortError, FrameSender, Frames, Opened, Page, Read, Reply, Session, frames,
};
use causeway_model::{Epoch, HashKey, Kind, Lineage, Message, Position, ShardId, Sid, SystemClock};
use futures_util::future::{BoxFuture, ready};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

fn ports() -> Ports {
    Ports { broker: Arc::new(Grants::default()), incarnation: Incarnation(1), clock: Arc::new(SystemClock) }
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
    let running = serve(ports(), &settings(2), &process).unwrap();
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
async fn an_address_in_use_and_bad_settings_are_errors_at_once() {
    let (first, second) = (process(), process());
    let running = serve(ports(), &settings(1), &first).unwrap();
    let taken = Settings { mqtt: Mqtt { bind: running.mqtt().to_vec(), ..Mqtt::default() }, ..Settings::default() };
    let error = serve(ports(), &taken, &second).unwrap_err();
    assert!(matches!(&error, Error::Listen(_)), "{error}");
    assert!(error.to_string().contains(&running.mqtt()[0].to_string()), "{error}");
    let mut bad = settings(1);
    (bad.mqtt.receive_maximum, bad.mqtt.mailbox) = (0, 0);
    let error = serve(ports(), &bad, &second).unwrap_err();
    assert!(matches!(&error, Error::Settings(problems) if problems.len() == 2), "{error}");
    assert!(matches!(serve(ports(), &settings(1), &first), Err(Error::Metrics(_))));
    assert_eq!(second.tasks.count(), 0);
    first.finish(Duration::from_secs(20)).await;
}
