//! Lookup among gateways on real sockets: the suite that defines it, and a client that is found, taken over and kicked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::lookup::{Clients, Kicks, Network, Settings, Slots, Whereabouts};
use causeway_compute::port::{Answer, Ask, Cluster, Lookup, Map, MapEpoch, Member, Peer};
use causeway_compute::process::Process;
use causeway_compute::registry::{Kick, Registry};
use causeway_compute::suite::lookup::World;
use causeway_compute::task::Kind;
use causeway_link::{ClientSettings, PeerLinks, Services, serve};
use causeway_model::{ClientId, Epoch, HashKey, Incarnation, Lineage, Millis, Namespace, Position, ShardId, Sid, Text};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Ready, ready};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::world::{PATIENCE, identity, process, server_settings};

const CLUSTER: Cluster = Cluster { lineage: Lineage(1), key: HashKey([1; 16]), level: 1, shards: 1 };

/// An address for each gateway, and the map of all.
fn gateways(count: u128) -> (Vec<Listener>, Arc<Map>) {
    let bind = |_| Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let listeners: Vec<_> = (0..count).map(bind).collect();
    let member = |(number, listener): (u128, &Listener)| Member {
        incarnation: Incarnation(number),
        name: Text::from(format!("gw-{number}")),
        address: Some(Text::from(listener.address().to_string())),
    };
    let members = (1..).zip(&listeners).map(member).collect();
    (listeners, Arc::new(Map { epoch: MapEpoch { term: 1, change: 1 }, members }))
}

fn links(number: u128) -> Arc<PeerLinks> {
    PeerLinks::new(&ClientSettings::default(), identity(number)).unwrap()
}

fn serve_peer(listener: Listener, peer: Arc<dyn Peer>, process: &Process) {
    let services = Services { peer: Some(peer), ..Services::default() };
    serve(listener, services, &server_settings(), CLUSTER, &process.tasks).unwrap();
}

struct Linked {
    slots: Vec<(Incarnation, Slots)>,
    _processes: Vec<Process>,
}

/// Nothing but a gateway's slots.
struct Owner(Slots);

impl Peer for Owner {
    fn answer(&self, asks: Vec<Ask>) -> BoxFuture<'static, Vec<Answer>> {
        ready(asks.iter().map(|ask| self.0.answer(ask)).collect()).boxed()
    }
}

impl World for Linked {
    fn gateways(&self) -> Vec<Incarnation> {
        self.slots.iter().map(|(gateway, _)| *gateway).collect()
    }

    fn lookup(&self, gateway: usize) -> Arc<dyn Lookup> {
        Arc::new(self.slots[gateway].1.clone())
    }
}

fn linked() -> Ready<Linked> {
    let (listeners, map) = gateways(3);
    let (mut slots, mut processes) = (Vec::new(), Vec::new());
    for (number, listener) in (1..).zip(listeners) {
        let (process, gateway) = (process(), Incarnation(number));
        // A machine that is busy with other tests is no gateway that is silent.
        let settings = Settings { deadline: PATIENCE, ..Settings::default() };
        let own = Slots::new(gateway, links(number), &settings, &process.metrics.lookup);
        own.follow(&map);
        serve_peer(listener, Arc::new(Owner(own.clone())), &process);
        slots.push((gateway, own));
        processes.push(process);
    }
    ready(Linked { slots, _processes: processes })
}

causeway_compute::lookup_suite!(linked);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_found_taken_over_and_kicked_at_another_gateway() {
    let (listeners, map) = gateways(2);
    let (_sender, watched) = watch::channel(Arc::clone(&map));
    let settings = Settings { deadline: PATIENCE, take_over: PATIENCE, ..Settings::default() };
    let gateways: Vec<_> = (1..)
        .zip(listeners)
        .map(|(number, listener)| {
            let process = process();
            let registry = Registry::new(CLUSTER, process.metrics.clients_online.clone());
            let (name, map) = (Text::from(format!("gw-{number}")), watched.clone());
            let network = Network { name, peers: links(number), map, lookup: None, settings };
            let (metrics, tasks) = (&process.metrics.lookup, &process.tasks);
            let clients = Clients::start(Incarnation(number), Arc::clone(&registry), network, metrics, tasks);
            serve_peer(listener, Arc::<Clients>::clone(&clients), &process);
            (clients, registry, process)
        })
        .collect();
    let [(holder, registry, process), (asker, _, asking)] = gateways.try_into().unwrap_or_else(|_| unreachable!());
    timeout(PATIENCE, async { tokio::join!(holder.introduced(), asker.introduced()) }).await.unwrap();
    let (namespace, client) = (Namespace::default(), ClientId("dash".into()));
    let connect = |epoch| {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
        let (presence, _) = registry.enter(&namespace, &client, peer, Millis(42));
        presence.opened(Sid { home: ShardId(0), position: Position(7) }, Epoch(Position(epoch)));
        let handle = presence.handle();
        process.tasks.spawn(Kind::Connection, async move {
            presence.kicked().await;
        });
        handle
    };
    let first = connect(9);
    let found = timeout(PATIENCE, asker.find(&namespace, &client)).await.unwrap();
    let Whereabouts::Online { gateway, name, online } = found else { unreachable!("{found:?}") };
    assert_eq!((gateway, &*name), (Incarnation(1), "gw-1"));
    assert_eq!(online, first.online(), "all that is known of it travels");
    // Its entry is on its way to the owner of its slot: until it is there, nobody is told to let go.
    let taken = async {
        while timeout(Duration::ZERO, first.ended()).await.is_err() {
            asker.take_over(&namespace, &client).unwrap().await;
        }
    };
    timeout(PATIENCE, taken).await.unwrap();
    let second = connect(11);
    let kicked = timeout(PATIENCE, asker.kick(&namespace, &client, Kick::Administrator)).await.unwrap();
    assert_eq!(kicked, Kicks::Kicked { gateway, name });
    timeout(PATIENCE, second.ended()).await.unwrap();
    assert_eq!(timeout(PATIENCE, asker.find(&namespace, &client)).await.unwrap(), Whereabouts::Offline);
    for process in [process, asking] {
        process.finish(PATIENCE).await;
    }
}
