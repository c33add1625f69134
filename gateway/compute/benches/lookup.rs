//! Looking clients up in process, one core: the owner's answer, a question by hint from end to end, and what an entry
//! takes.
//!
//! `items` are queries (or entries), so `items/s` is the figure to watch; of `fill`, `max alloc` divided by a million is
//! what an entry takes, room for more included.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports to whoever runs it")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use causeway_compute::lookup::{Clients, Network, Settings, Slots, Whereabouts};
use causeway_compute::port::{
    Answer, Ask, Cluster, Lookup, Map, MapEpoch, Member, Peer, PeerError, Peers, Slot, SlotSet, Whereabout,
};
use causeway_compute::process::Process;
use causeway_compute::registry::{Presence, Registry};
use causeway_model::{
    ClientId, Epoch, HashKey, Incarnation, Lineage, Millis, Namespace, Position, QueueId, QueueKind, ShardId, Sid, Text,
};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::watch;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const KEY: HashKey = HashKey([9; 16]);
const ENTRIES: usize = 1_000_000;
const EPOCH: MapEpoch = MapEpoch { term: 1, change: 1 };

/// Wires without delay.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<Incarnation, Arc<Clients>>>>);

impl Peers for Wires {
    fn ask(&self, to: &Member, asks: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>> {
        let peer = self.0.lock().get(&to.incarnation).cloned();
        let gateway = to.name.clone();
        Box::pin(async move { Ok(peer.ok_or(PeerError::NoAddress { gateway })?.answer(asks).await) })
    }
}

fn member(number: u128, asked: bool) -> Member {
    let address = asked.then(|| Text::from("unused:1"));
    Member { incarnation: Incarnation(number << 64 | number), name: Text::from(format!("gw-{number}")), address }
}

/// The first owns every slot.
fn map() -> Arc<Map> {
    Arc::new(Map { epoch: EPOCH, members: vec![member(1, true), member(2, false)] })
}

fn client(number: usize) -> QueueId {
    KEY.queue(QueueKind::Client, &Namespace::default(), &format!("client-{number}"))
}

fn slots() -> Slots {
    let process = Process::new(prometheus::Registry::new()).unwrap();
    let me = member(1, true).incarnation;
    let slots = Slots::new(me, Arc::new(Wires::default()), &Settings::default(), &process.metrics.lookup);
    slots.follow(&map());
    slots
}

fn fill(slots: &Slots, clients: &[QueueId]) {
    let gateway = member(2, false).incarnation;
    for batch in clients.chunks(1024) {
        let entry = |client: &QueueId| Whereabout { client: *client, gateway, epoch: Epoch(Position(1)) };
        let refused = slots.put(batch.iter().map(entry).collect()).now_or_never();
        assert_eq!(refused, Some(SlotSet::EMPTY));
    }
}

static CLIENTS: LazyLock<Vec<QueueId>> = LazyLock::new(|| (0..ENTRIES).map(client).collect());

static FULL: LazyLock<Slots> = LazyLock::new(|| {
    let slots = slots();
    fill(&slots, &CLIENTS);
    println!("an entry takes {} bytes of {}", slots.bytes() / slots.len(), slots.len());
    slots
});

/// Clients in no order that a cache could know.
fn scattered(count: usize) -> impl Iterator<Item = QueueId> {
    (0..count).map(|number| CLIENTS[number.wrapping_mul(0x9e37_79b9) % ENTRIES])
}

/// What the owner of a slot does for another gateway.
#[divan::bench]
fn answer(bencher: Bencher<'_, '_>) {
    let full = &*FULL;
    bencher.counter(ItemsCount::new(10_000_usize)).bench(|| {
        for client in scattered(10_000) {
            let answer = full.answer(&Ask::Find { epoch: EPOCH, client });
            assert!(matches!(black_box(answer), Answer::Found(Some(_))));
        }
    });
}

/// The port, in batches.
#[divan::bench(args = [1, 64])]
fn find(bencher: Bencher<'_, '_>, batch: usize) {
    let full = &*FULL;
    bencher.counter(ItemsCount::new(10_000_usize)).bench(|| {
        let mut clients = scattered(10_000);
        loop {
            let some: Vec<_> = clients.by_ref().take(batch).collect();
            if some.is_empty() {
                break;
            }
            let found = full.find(some).now_or_never();
            assert!(black_box(found).is_some_and(|found| found.iter().all(Option::is_some)));
        }
    });
}

/// A client is found at another gateway: hint, then that gateway's word.
#[divan::bench]
fn by_hint(bencher: Bencher<'_, '_>) {
    const ONLINE: usize = 10_000;
    let runtime = Runtime::new().unwrap();
    let _context = runtime.enter();
    let wires = Wires::default();
    let map = Arc::new(Map { epoch: EPOCH, members: vec![member(1, true), member(2, true)] });
    let gateways = [1, 2].map(|number| {
        let process = Process::new(prometheus::Registry::new()).unwrap();
        let cluster = Cluster { lineage: Lineage(1), key: KEY, level: 1, shards: 1 };
        let registry = Registry::new(cluster, process.metrics.clients_online.clone());
        let (sender, watched) = watch::channel(Arc::clone(&map));
        let member = member(number, true);
        let (peers, settings) = (Arc::new(wires.clone()), Settings::default());
        let network = Network { name: member.name.clone(), peers, map: watched, lookup: None, settings };
        let (lookup, tasks) = (&process.metrics.lookup, &process.tasks);
        let clients = Clients::start(member.incarnation, Arc::clone(&registry), network, lookup, tasks);
        wires.0.lock().insert(member.incarnation, Arc::clone(&clients));
        (clients, registry, process, sender)
    });
    let connected: Vec<Presence> = (0..ONLINE).map(|number| connect(&gateways[0].1, number)).collect();
    let [(_, _, holder, _), (asker, _, process, _)] = &gateways;
    let entered = || [holder, process].map(|process| process.metrics.lookup.entries.get()).iter().sum::<i64>();
    while usize::try_from(entered()).unwrap() < ONLINE {
        std::thread::yield_now();
    }
    let broadcasts = process.metrics.lookup.broadcasts.get();
    bencher.counter(ItemsCount::new(ONLINE)).bench(|| {
        runtime.block_on(async {
            for number in 0..ONLINE {
                let found = asker.find_id(client(number)).await;
                assert!(matches!(black_box(found), Whereabouts::Online { .. }));
            }
        });
    });
    assert_eq!(process.metrics.lookup.broadcasts.get(), broadcasts, "every answer was led to by a hint");
    drop(connected);
}

fn connect(registry: &Arc<Registry>, number: usize) -> Presence {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let id = ClientId(Text::from(format!("client-{number}")));
    let (presence, _) = registry.enter(&Namespace::default(), &id, peer, Millis(0));
    presence.opened(Sid { home: ShardId(0), position: Position(1) }, Epoch(Position(1)));
    presence
}

/// A million entries from nothing.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn fill_a_million(bencher: Bencher<'_, '_>) {
    let clients = &*CLIENTS;
    assert!(clients.iter().any(|client| Slot::of(*client).number() == 0));
    bencher.counter(ItemsCount::new(ENTRIES)).with_inputs(slots).bench_local_values(|slots| {
        fill(&slots, clients);
        slots
    });
}
