//! Gateways that find clients by Redis, without it, and by it again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use causeway_compute::lookup::{Clients, Network, Settings, Whereabouts};
use causeway_compute::port::{Answer, Ask, Cluster, Map, MapEpoch, Member, Peer, PeerError, Peers};
use causeway_compute::process::Process;
use causeway_compute::registry::{Presence, Registry};
use causeway_model::{ClientId, Epoch, HashKey, Incarnation, Lineage, Millis, Namespace, Position, ShardId, Sid, Text};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::server::{Server, until};

/// Wires that break nothing.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<Incarnation, Arc<Clients>>>>);

impl Peers for Wires {
    fn ask(&self, to: &Member, asks: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>> {
        let peer = self.0.lock().get(&to.incarnation).cloned();
        // One that is in the map may not have started yet.
        let away = PeerError::Unreachable { gateway: to.name.clone(), cause: "not started".into() };
        Box::pin(async move { Ok(peer.ok_or(away)?.answer(asks).await) })
    }
}

struct Gateway {
    clients: Arc<Clients>,
    registry: Arc<Registry>,
    process: Process,
    _map: watch::Sender<Arc<Map>>,
}

fn gateway(wires: &Wires, server: &Server, map: &Arc<Map>, member: &Member) -> Gateway {
    let process = Process::new(prometheus::Registry::new()).unwrap();
    let cluster = Cluster { lineage: Lineage(1), key: HashKey([1; 16]), level: 1, shards: 1 };
    let registry = Registry::new(cluster, process.metrics.clients_online.clone());
    let (sender, watched) = watch::channel(Arc::clone(map));
    let network = Network {
        name: member.name.clone(),
        peers: Arc::new(wires.clone()),
        map: watched,
        lookup: Some(Arc::new(server.lookup())),
        settings: Settings::default(),
    };
    let (metrics, tasks) = (&process.metrics.lookup, &process.tasks);
    let clients = Clients::start(member.incarnation, Arc::clone(&registry), network, metrics, tasks);
    wires.0.lock().insert(member.incarnation, Arc::clone(&clients));
    Gateway { clients, registry, process, _map: sender }
}

fn client(number: u64) -> ClientId {
    ClientId(Text::from(format!("client-{number}")))
}

impl Gateway {
    fn connect(&self, number: u64) -> Presence {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (presence, _) = self.registry.enter(&Namespace::default(), &client(number), peer, Millis(0));
        presence.opened(Sid { home: ShardId(0), position: Position(1) }, Epoch(Position(number)));
        presence
    }

    async fn finds(&self, number: u64) -> bool {
        let found = self.clients.find(&Namespace::default(), &client(number)).await;
        matches!(found, Whereabouts::Online { name, .. } if name == "gw-1")
    }

    /// Finds a client until a hint led to it.
    async fn finds_by_hint(&self, number: u64) {
        let hints = &self.process.metrics.lookup.found_by_hint;
        let before = hints.get();
        until(async || {
            assert!(self.finds(number).await, "by a hint or without one");
            (hints.get() > before).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_found_with_redis_without_it_and_with_it_again() {
    let mut server = Server::start().await;
    let members = [1, 2].map(|number| Member {
        incarnation: Incarnation(number),
        name: Text::from(format!("gw-{number}")),
        address: Some("unused:1".into()),
    });
    let map = Arc::new(Map { epoch: MapEpoch { term: 1, change: 1 }, members: members.to_vec() });
    let wires = Wires::default();
    let [one, two] = members.map(|member| gateway(&wires, &server, &map, &member));
    let mut connected: Vec<_> = (1..=100).map(|number| one.connect(number)).collect();
    for number in 1..=100 {
        two.finds_by_hint(number).await;
    }
    server.kill();
    let broadcasts = &two.process.metrics.lookup.broadcasts;
    let before = broadcasts.get();
    for number in 1..=100 {
        assert!(two.finds(number).await, "nobody is lost with Redis");
    }
    assert_eq!(broadcasts.get(), before + 100);
    // What comes meanwhile tells the gateway that Redis is away, and that it is back.
    connected.push(one.connect(101));
    server.restart().await;
    for number in 1..=101 {
        two.finds_by_hint(number).await;
    }
    drop(connected);
    let gone = async || two.clients.find(&Namespace::default(), &client(1)).await == Whereabouts::Offline;
    until(async || gone().await.then_some(())).await;
    for gateway in [one, two] {
        gateway.process.finish(std::time::Duration::from_secs(5)).await;
    }
}
