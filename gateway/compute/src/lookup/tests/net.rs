//! A network of gateways in one process: it loses, delays and cuts what they say to each other, as one seed decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{ClientId, Epoch, HashKey, Incarnation, Lineage, Millis, Namespace, Position, ShardId, Sid, Text};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::double::process;
use crate::lookup::{Clients, Network, Settings};
use crate::port::{Answer, Ask, Cluster, Lookup, Map, MapEpoch, Member, Peer, PeerError, Peers};
use crate::process::Process;
use crate::registry::{Kick, Registry};
use crate::task::Kind;

/// The wires between gateways. Cheap to clone.
#[derive(Clone)]
pub(super) struct Net(Arc<Mutex<Wires>>);

struct Wires {
    rng: StdRng,
    gateways: BTreeMap<Incarnation, Arc<dyn Peer>>,
    /// Pairs that do not hear each other.
    cut: BTreeSet<(Incarnation, Incarnation)>,
    /// Of a hundred questions or answers.
    lost: u32,
    slowest: Duration,
    asked: u64,
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (gateways, cut) = (BTreeMap::new(), BTreeSet::new());
        Self(Arc::new(Mutex::new(Wires { rng, gateways, cut, lost: 0, slowest: Duration::ZERO, asked: 0 })))
    }

    pub(super) fn disturb(&self, lost: u32, slowest: Duration) {
        let mut wires = self.0.lock();
        (wires.lost, wires.slowest) = (lost, slowest);
    }

    pub(super) fn cut(&self, one: Incarnation, other: Incarnation) {
        self.0.lock().cut.extend([(one, other), (other, one)]);
    }

    pub(super) fn heal(&self) {
        let mut wires = self.0.lock();
        wires.cut.clear();
        (wires.lost, wires.slowest) = (0, Duration::ZERO);
    }

    pub(super) fn plug(&self, gateway: Incarnation, peer: Arc<dyn Peer>) {
        self.0.lock().gateways.insert(gateway, peer);
    }

    pub(super) fn unplug(&self, gateway: Incarnation) {
        self.0.lock().gateways.remove(&gateway);
    }

    /// Calls that were made so far.
    pub(super) fn asked(&self) -> u64 {
        self.0.lock().asked
    }

    pub(super) fn peers(&self, from: Incarnation) -> Arc<dyn Peers> {
        Arc::new(Side { net: self.clone(), from })
    }

    /// How long one way takes; `None`: what is said is lost.
    fn way(&self, from: Incarnation, to: Incarnation) -> Option<Duration> {
        let mut wires = self.0.lock();
        let (lost, slowest) = (wires.lost, wires.slowest);
        if wires.cut.contains(&(from, to)) || wires.rng.random_ratio(lost, 100) {
            return None;
        }
        Some(slowest.mul_f64(wires.rng.random::<f64>()))
    }
}

struct Side {
    net: Net,
    from: Incarnation,
}

impl Peers for Side {
    fn ask(&self, to: &Member, asks: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>> {
        let (net, from, to) = (self.net.clone(), self.from, to.clone());
        self.net.0.lock().asked += 1;
        Box::pin(async move {
            let Some(there) = net.way(from, to.incarnation) else { return std::future::pending().await };
            tokio::time::sleep(there).await;
            let peer = net.0.lock().gateways.get(&to.incarnation).cloned();
            let Some(peer) = peer else {
                return Err(PeerError::Unreachable { gateway: to.name, cause: "refused".into() });
            };
            let answers = peer.answer(asks).await;
            let Some(back) = net.way(to.incarnation, from) else { return std::future::pending().await };
            tokio::time::sleep(back).await;
            Ok(answers)
        })
    }
}

pub(super) fn cluster() -> Cluster {
    Cluster { lineage: Lineage(1), key: HashKey([5; 16]), level: 1, shards: 1 }
}

pub(super) fn namespace() -> Namespace {
    Namespace::default()
}

pub(super) fn client(number: usize) -> ClientId {
    ClientId(Text::from(format!("client-{number}")))
}

/// One gateway: everything but protocols and brokers.
pub(super) struct Gateway {
    pub(super) member: Member,
    pub(super) clients: Arc<Clients>,
    pub(super) registry: Arc<Registry>,
    pub(super) process: Process,
    map: watch::Sender<Arc<Map>>,
    net: Net,
}

/// A client's connection; dropping it lets it go on until it is kicked.
pub(super) struct Connected(CancellationToken);

impl Connected {
    pub(super) fn leave(&self) {
        self.0.cancel();
    }

    pub(super) async fn ended(&self) {
        self.0.cancelled().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Gateway {
    pub(super) fn start(net: &Net, number: u128, map: &Arc<Map>) -> Self {
        Self::with(net, number, map, None, Settings::default())
    }

    pub(super) fn with(
        net: &Net,
        number: u128,
        map: &Arc<Map>,
        lookup: Option<Arc<dyn Lookup>>,
        settings: Settings,
    ) -> Self {
        let member = member(number);
        let process = process();
        let registry = Registry::new(cluster(), process.metrics.clients_online.clone());
        let (sender, watched) = watch::channel(Arc::clone(map));
        let peers = net.peers(member.incarnation);
        let network = Network { name: member.name.clone(), peers, map: watched, lookup, settings };
        let (metrics, tasks) = (&process.metrics.lookup, &process.tasks);
        let clients = Clients::start(member.incarnation, Arc::clone(&registry), network, metrics, tasks);
        net.plug(member.incarnation, Arc::<Clients>::clone(&clients));
        Self { member, clients, registry, process, map: sender, net: net.clone() }
    }

    pub(super) fn told(&self, map: &Arc<Map>) {
        // As a membership does: a map that was overtaken by a newer one is of no use.
        self.map.send_if_modified(|known| {
            let newer = known.epoch < map.epoch;
            if newer {
                known.clone_from(map);
            }
            newer
        });
    }

    /// A client connects and opens its session; its last words take `words` once it is to go.
    pub(super) fn connect(&self, number: usize, epoch: u64, words: Duration) -> Connected {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (presence, old) = self.registry.enter(&namespace(), &client(number), peer, Millis(epoch));
        if let Some(old) = old {
            old.kick(Kick::TakenOver);
        }
        presence.opened(Sid { home: ShardId(0), position: Position(1) }, Epoch(Position(epoch)));
        let left = CancellationToken::new();
        let leaving = left.clone();
        self.process.tasks.spawn(Kind::Connection, async move {
            tokio::select! {
                () = leaving.cancelled() => {}
                _ = presence.kicked() => tokio::time::sleep(words).await,
            }
            drop(presence);
            leaving.cancel();
        });
        Connected(left)
    }

    /// As `kill -9` does.
    pub(super) fn kill(self) {
        self.net.unplug(self.member.incarnation);
        self.process.drain.close();
        self.process.tasks.abort(crate::task::Wave::Front);
        self.process.tasks.abort(crate::task::Wave::Back);
    }
}

pub(super) fn member(number: u128) -> Member {
    // As random as a real one.
    let incarnation = Incarnation(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    Member { incarnation, name: Text::from(format!("gw-{number}")), address: Some("127.0.0.1:7400".into()) }
}

pub(super) fn map(change: u64, numbers: &[u128]) -> Arc<Map> {
    let mut members: Vec<_> = numbers.iter().copied().map(member).collect();
    members.sort_by_key(|member| member.incarnation);
    Arc::new(Map { epoch: MapEpoch { term: 1, change }, members })
}
