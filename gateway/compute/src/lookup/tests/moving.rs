//! The map moves under load: clients come, go and change gateways, gateways join and die, the network loses, delays and
//! is cut. What is promised meanwhile is checked on every question, what is promised after it at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_model::{Epoch, Position};
use parking_lot::Mutex;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use super::net::{Connected, Gateway, Net, client, map, member, namespace};
use crate::double::process;
use crate::lookup::{Kicks, Whereabouts};
use crate::port::Map;
use crate::process::Process;
use crate::registry::Kick;
use crate::task::Kind;

const CLIENTS: usize = 150;
const STEPS: usize = 600;

/// What came of the questions that were asked while all of it moved.
#[derive(Debug, Default)]
struct Report {
    wrong: Vec<String>,
    online: u64,
    offline: u64,
    unknown: u64,
    /// Asked while nothing was wrong but that the map moved.
    calm: u64,
}

struct World {
    net: Net,
    rng: StdRng,
    harness: Process,
    gateways: BTreeMap<u128, Gateway>,
    /// Who is in the newest map, and which one that is.
    numbers: Vec<u128>,
    change: u64,
    /// Maps on their way to gateways.
    news: Vec<(Instant, u128, Arc<Map>)>,
    /// Gateways that died and are still in the map, until then.
    dying: Vec<(Instant, u128)>,
    online: BTreeMap<usize, (u128, Arc<Connected>)>,
    epoch: u64,
    names: u128,
    disturbed: bool,
    /// Counts disturbances, so that a question knows whether one came.
    troubles: Arc<AtomicU64>,
    report: Arc<Mutex<Report>>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let (net, map) = (Net::new(seed), map(1, &[1, 2, 3]));
        let gateways = [1, 2, 3].map(|number| (number, Gateway::start(&net, number, &map)));
        let this = Self {
            net,
            rng: StdRng::seed_from_u64(seed),
            harness: process(),
            gateways: gateways.into(),
            numbers: vec![1, 2, 3],
            change: 1,
            news: Vec::new(),
            dying: Vec::new(),
            online: BTreeMap::new(),
            epoch: 0,
            names: 3,
            disturbed: false,
            troubles: Arc::default(),
            report: Arc::default(),
        };
        for gateway in this.gateways.values() {
            gateway.clients.introduced().await;
        }
        this
    }

    fn pick(&mut self) -> u128 {
        *self.gateways.keys().choose(&mut self.rng).unwrap()
    }

    /// The newest map goes to everybody, at different moments.
    fn publish(&mut self) -> Arc<Map> {
        self.change += 1;
        let map = map(self.change, &self.numbers);
        for number in self.gateways.keys() {
            let late = Duration::from_millis(self.rng.random_range(0..1500));
            self.news.push((Instant::now() + late, *number, Arc::clone(&map)));
        }
        map
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        let (due, rest) = std::mem::take(&mut self.news).into_iter().partition(|(at, ..)| *at <= now);
        self.news = rest;
        let due: Vec<(_, _, _)> = due;
        for (_, number, map) in due {
            if let Some(gateway) = self.gateways.get(&number) {
                gateway.told(&map);
            }
        }
        let (due, rest) = std::mem::take(&mut self.dying).into_iter().partition(|(at, _)| *at <= now);
        self.dying = rest;
        let due: Vec<(_, _)> = due;
        for (_, number) in due {
            self.numbers.retain(|other| *other != number);
            self.publish();
        }
    }

    fn connect(&mut self) {
        let (number, at) = (self.rng.random_range(0..CLIENTS), self.pick());
        self.epoch += 1;
        let words = Duration::from_millis(self.rng.random_range(0..20));
        let gateway = &self.gateways[&at];
        let connected = Arc::new(gateway.connect(number, self.epoch, words));
        let old = self.online.insert(number, (at, connected));
        if let Some((old, _)) = old.filter(|(old, _)| *old != at) {
            let (old, epoch) = (member(old).incarnation, Epoch(Position(self.epoch)));
            gateway.clients.kick_at(old, &namespace(), &client(number), epoch, Kick::TakenOver);
        }
    }

    fn disconnect(&mut self) {
        if let Some(number) = self.online.keys().copied().choose(&mut self.rng) {
            let (_, connected) = self.online.remove(&number).unwrap();
            connected.leave();
        }
    }

    async fn join(&mut self) {
        if self.gateways.len() >= 6 {
            return;
        }
        // A newcomer that nobody hears is let in only by those who watch over the map, not by this test.
        self.calm();
        self.names += 1;
        let number = self.names;
        self.numbers.push(number);
        let map = self.publish();
        let gateway = Gateway::start(&self.net, number, &map);
        gateway.clients.introduced().await;
        self.gateways.insert(number, gateway);
    }

    fn die(&mut self) {
        if self.gateways.len() <= 2 {
            return;
        }
        let number = self.pick();
        self.troubles.fetch_add(1, Ordering::Relaxed);
        self.gateways.remove(&number).unwrap().kill();
        self.online.retain(|_, (at, _)| *at != number);
        self.dying.push((Instant::now() + Duration::from_secs(2), number));
    }

    fn disturb(&mut self) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
        self.disturbed = true;
        if self.rng.random_bool(0.5) {
            let (one, other) = (self.pick(), self.pick());
            self.net.cut(member(one).incarnation, member(other).incarnation);
        } else {
            self.net.disturb(self.rng.random_range(0..30), Duration::from_millis(100));
        }
    }

    fn calm(&mut self) {
        self.net.heal();
        self.disturbed = false;
        // Delays alone are no disturbance: every answer comes in time.
        self.net.disturb(0, Duration::from_millis(60));
    }

    /// Asks where a client is, and judges the answer when it comes.
    fn ask(&mut self) {
        let by = self.pick();
        let Some(number) = self.online.keys().copied().choose(&mut self.rng) else { return };
        let asker = &self.gateways[&by];
        let (at, connected) = self.online[&number].clone();
        let known = asker.clients.knows(member(at).incarnation);
        let calm = !self.disturbed && self.dying.is_empty();
        let (troubles, before) = (Arc::clone(&self.troubles), self.troubles.load(Ordering::Relaxed));
        let (clients, report, epoch) = (Arc::clone(&asker.clients), Arc::clone(&self.report), self.epoch);
        self.harness.tasks.spawn(Kind::Settle, async move {
            let found = clients.find(&namespace(), &client(number)).await;
            let mut report = report.lock();
            // Asked by one that died, or of a connection that ended meanwhile: any answer is right.
            let calm = calm && troubles.load(Ordering::Relaxed) == before;
            let stayed = !connected.has_ended();
            report.calm += u64::from(calm && stayed);
            let mut wrong = |what: &str| {
                report.wrong.push(format!("client {number} at {at}, asked of {by}, epoch {epoch}: {what}, {found:?}"));
            };
            match &found {
                Whereabouts::Offline if stayed => wrong("called offline"),
                Whereabouts::Unknown { .. } if stayed && calm && known => wrong("all answered and it was not found"),
                Whereabouts::Online { online, .. } if online.client != client(number) => wrong("somebody else"),
                _ => {}
            }
            match found {
                Whereabouts::Online { .. } => report.online += 1,
                Whereabouts::Offline => report.offline += 1,
                Whereabouts::Unknown { .. } => report.unknown += 1,
            }
        });
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..35 => self.connect(),
            35..48 => self.disconnect(),
            48..50 => self.join().await,
            50..52 => self.die(),
            52..55 => self.disturb(),
            55..60 => self.calm(),
            _ => (0..3).for_each(|_| self.ask()),
        }
        let pause = Duration::from_millis(self.rng.random_range(0..60));
        tokio::time::sleep(pause).await;
        self.deliver();
    }

    /// Everything is well again, for long enough.
    async fn rest(&mut self) {
        self.net.heal();
        self.disturbed = false;
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.deliver();
        }
        assert!(self.news.is_empty() && self.dying.is_empty());
        // Connections that were taken over and whose kick was lost: fenced, so they end with their next packet.
        for (number, gateway) in &self.gateways {
            for online in gateway.registry.page(None, usize::MAX) {
                let current = (0..CLIENTS).find(|client_number| client(*client_number) == online.client);
                let holder = current.and_then(|current| self.online.get(&current));
                if holder.is_none_or(|(at, _)| at != number) {
                    gateway.registry.by_id(online.id).unwrap().kick(Kick::TakenOver);
                }
            }
        }
        tokio::time::sleep(Duration::from_mins(1)).await;
    }

    fn broadcasts(&self) -> u64 {
        self.gateways.values().map(|gateway| gateway.process.metrics.lookup.broadcasts.get()).sum()
    }

    /// What holds once nothing moves any more.
    async fn check_converged(&self, seed: u64) {
        {
            let report = self.report.lock();
            assert!(report.wrong.is_empty(), "seed {seed}: {:#?}", report.wrong);
            assert!(report.online > 100, "seed {seed}: {report:?}");
        }
        let entries: i64 = self.gateways.values().map(|gateway| gateway.process.metrics.lookup.entries.get()).sum();
        assert_eq!(entries, i64::try_from(self.online.len()).unwrap(), "seed {seed}: an entry a client");
        let before = self.broadcasts();
        for (by, asker) in &self.gateways {
            for (number, (at, _)) in &self.online {
                let found = asker.clients.find(&namespace(), &client(*number)).await;
                let Whereabouts::Online { gateway, .. } = found else {
                    panic!("seed {seed}: client {number} at {at}, asked of {by}: {found:?}")
                };
                assert_eq!(gateway, member(*at).incarnation, "seed {seed}: client {number}, asked of {by}");
            }
        }
        assert_eq!(self.broadcasts(), before, "seed {seed}: every owner knows");
        for (by, asker) in &self.gateways {
            let gone = (0..CLIENTS).filter(|number| !self.online.contains_key(number)).take(5);
            for number in gone {
                let found = asker.clients.find(&namespace(), &client(number)).await;
                assert_eq!(found, Whereabouts::Offline, "seed {seed}: client {number}, asked of {by}");
            }
        }
        let asker = self.gateways.values().next().unwrap();
        for (number, (_, connected)) in self.online.iter().take(10) {
            let kicked = asker.clients.kick(&namespace(), &client(*number), Kick::Administrator).await;
            assert!(matches!(kicked, Kicks::Kicked { .. }), "seed {seed}: {kicked:?}");
            tokio::time::timeout(Duration::from_secs(20), connected.ended()).await.unwrap();
        }
    }
}

#[test]
fn while_the_map_moves_clients_are_found_and_after_it_every_owner_knows_them() {
    let (mut online, mut unknown, mut calm) = (0, 0, 0);
    for seed in 0..24 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed).await;
            for _ in 0..STEPS {
                world.step().await;
            }
            world.rest().await;
            world.check_converged(seed).await;
            let report = world.report.lock();
            (online, unknown, calm) = (online + report.online, unknown + report.unknown, calm + report.calm);
        });
    }
    assert!(calm > 2000, "the network was too bad to promise anything: {calm}");
    println!("{online} found while it moved, {unknown} unknown; of these {calm} while every gateway could be reached");
}
