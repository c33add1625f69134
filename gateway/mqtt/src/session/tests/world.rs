//! Random histories against an oracle: publishes, dropped hints, acknowledgements in any order, lost connections and
//! lost processes. Each matching message at least once, once a connection, in order; none again that was finished.

use std::collections::{BTreeMap, BTreeSet};

use causeway_model::{ClientId, Message, Millis, Properties, Publisher, Qos, ShardId, Stamp, Topic};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::broker::{Broker, namespace, qos};
use super::peer::Peer;
use crate::Settings;
use crate::codec::{
    Ack, Connect, FilterOptions, Holder, Packet, PacketId, Properties as Block, Property, Reason, Subscribe,
    Unsubscribe, Version,
};
use crate::session::{Cause, Delivery, Write};

const TOPICS: [&str; 8] = ["a/b", "a/c", "b/b", "x", "a/b/c", "$s/b", "$p2p/client", "$p2p/other"];
const FILTERS: [&str; 7] = ["a/b", "a/+", "+/b", "#", "a/#", "x", "$p2p/client"];

/// What the client was promised about one message.
#[derive(Clone, Debug, Default)]
struct Promise {
    /// Filters whose SUBACK had come when it was published, with the QoS granted.
    filters: BTreeMap<&'static str, Qos>,
    qos: Qos,
    /// The connection that was online when it was published; 0: none.
    connection: u32,
    /// Filters that may have been subscribed then.
    asked: BTreeSet<&'static str>,
    delivered: bool,
    /// Acknowledged, and nothing forgot it since.
    finished: bool,
    acknowledged: bool,
}

struct World {
    random: StdRng,
    broker: Broker,
    peer: Option<Peer>,
    connection: u32,
    promises: Vec<Promise>,
    /// Of each message, by its number.
    places: Vec<(ShardId, Stamp)>,
    held: BTreeMap<&'static str, Qos>,
    asked: BTreeSet<&'static str>,
    window: usize,
    requests: BTreeMap<u16, (bool, &'static str, Qos)>,
    next_pid: u16,
    /// On this connection: what was delivered, and what waits for an acknowledgement.
    seen: BTreeSet<usize>,
    last: BTreeMap<ShardId, Stamp>,
    unacknowledged: Vec<(u16, usize)>,
    kept: Vec<u16>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut broker = Broker::new(random.random_range(1..=2));
        broker.overflow = random.random_bool(0.2);
        Self {
            random,
            broker,
            peer: None,
            connection: 0,
            promises: Vec::new(),
            places: Vec::new(),
            held: BTreeMap::new(),
            asked: BTreeSet::new(),
            window: 0,
            requests: BTreeMap::new(),
            next_pid: 0,
            seen: BTreeSet::new(),
            last: BTreeMap::new(),
            unacknowledged: Vec::new(),
            kept: Vec::new(),
        }
    }

    fn run(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.finish();
    }

    fn step(&mut self) {
        match (self.random.random_range(0..100), self.peer.is_some()) {
            (0..25, _) => self.publish(),
            (25..40, false) => self.connect(),
            (25..55, true) => self.answer(),
            (55..65, true) => self.dispatch(),
            (65..75, true) => self.with(Peer::take_hints),
            (75..88, true) => self.acknowledge(),
            (88..92, true) => self.subscribe(),
            (92..94, true) => self.unsubscribe(),
            (94..95, true) => self.tick(),
            (95..97, true) => self.lose_connection(),
            (97..98, true) => self.crash(),
            _ => {}
        }
        self.look();
    }

    fn with(&mut self, act: impl FnOnce(&mut Peer, &mut Broker)) {
        if let Some(peer) = &mut self.peer {
            act(peer, &mut self.broker);
        }
    }

    fn publish(&mut self) {
        let topic = TOPICS[self.random.random_range(0..TOPICS.len())];
        let message_qos = qos(self.random.random_range(0..=1));
        let number = self.promises.len();
        let topic = Topic::new(topic.into()).unwrap();
        let matches = |filter: &&'static str| causeway_model::Filter::new((*filter).into()).unwrap().matches(&topic);
        let filters = self.held.iter().filter(|(filter, _)| matches(filter)).map(|(f, q)| (*f, *q)).collect();
        let online = self.peer.as_ref().is_some_and(|peer| peer.session.is_online());
        let connection = if online { self.connection } else { 0 };
        let promise = Promise { filters, qos: message_qos, connection, ..Promise::default() };
        self.promises.push(Promise { asked: self.asked.clone(), ..promise });
        self.places.push(self.broker.publish(message(number, topic, message_qos)));
    }

    fn connect(&mut self) {
        let window = self.random.random_range(1..6);
        let settings = Settings { in_flight: window, ..Settings::default() };
        let capacity = self.random.random_range(1..9);
        let mut peer = Peer::new(&self.broker, settings, capacity);
        peer.mail.goes_on = self.random.random_bool(0.5);
        let receive_maximum = self.random.random_range(1..6);
        self.window = usize::from(window.min(receive_maximum));
        let mut connect = Connect::new(Version::V5, "client");
        connect.clean_start = false;
        let list = [Property::SessionExpiryInterval(100), Property::ReceiveMaximum(receive_maximum)];
        connect.properties = Block::new(Holder::Connect, list).unwrap();
        self.kept = self.broker.kept_ids(&ClientId("client".into()));
        peer.packet(&mut self.broker, Packet::Connect(Box::new(connect)));
        (self.peer, self.connection) = (Some(peer), self.connection + 1);
        self.seen.clear();
        self.last.clear();
        self.unacknowledged.clear();
        self.requests.clear();
    }

    fn answer(&mut self) {
        let count = self.peer.as_ref().map_or(0, |peer| peer.pending.len());
        if count > 0 {
            let at = self.random.random_range(0..count);
            self.with(|peer, broker| peer.answer(broker, at));
        }
    }

    fn dispatch(&mut self) {
        let shard = ShardId(self.random.random_range(0..self.broker.cluster.shards));
        let (count, collapsed) = (self.random.random_range(1..6), self.random.random_bool(0.1));
        self.with(|peer, broker| peer.mail.dispatch(broker, shard, count, collapsed));
    }

    fn acknowledge(&mut self) {
        if self.unacknowledged.is_empty() {
            return;
        }
        // Most clients acknowledge in order.
        let any = self.random.random_range(0..self.unacknowledged.len());
        let at = if self.random.random_bool(0.7) { 0 } else { any };
        let (pid, number) = self.unacknowledged.remove(at);
        self.finished(pid, number);
    }

    fn finished(&mut self, pid: u16, number: usize) {
        let promise = &mut self.promises[number];
        (promise.finished, promise.acknowledged) = (true, true);
        let ack = Ack::success(PacketId::new(pid).unwrap());
        self.with(|peer, broker| peer.packet(broker, Packet::PubAck(ack)));
    }

    fn online(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.session.is_online() && peer.session.takes_packets())
    }

    fn request(&mut self, subscribe: bool) -> Option<(PacketId, &'static str, Qos)> {
        if !self.online() || self.requests.len() > 3 {
            return None;
        }
        self.next_pid = self.next_pid % 1000 + 1;
        let filter = FILTERS[self.random.random_range(0..FILTERS.len())];
        let granted = qos(self.random.random_range(0..=1));
        self.requests.insert(self.next_pid, (subscribe, filter, granted));
        Some((PacketId::new(self.next_pid).unwrap(), filter, granted))
    }

    fn subscribe(&mut self) {
        let Some((pid, filter, granted)) = self.request(true) else { return };
        // Between SUBSCRIBE and SUBACK either option may apply to a subscription that is replaced.
        self.held.remove(filter);
        self.forget(filter);
        self.asked.insert(filter);
        let id = Block::new(Holder::Subscribe, [Property::SubscriptionIdentifier(u32::from(pid.get()))]).unwrap();
        let packet = Subscribe::new(pid, id, [(filter, FilterOptions::at(granted))]).unwrap();
        self.with(|peer, broker| peer.packet(broker, Packet::Subscribe(packet)));
    }

    fn unsubscribe(&mut self) {
        let Some((pid, filter, _)) = self.request(false) else { return };
        self.held.remove(filter);
        self.forget(filter);
        let packet = Unsubscribe::new(pid, Block::EMPTY, [filter]).unwrap();
        self.with(|peer, broker| peer.packet(broker, Packet::Unsubscribe(packet)));
    }

    /// What was promised for a filter alone is no longer promised.
    fn forget(&mut self, filter: &'static str) {
        for promise in self.promises.iter_mut().filter(|promise| !promise.acknowledged) {
            promise.filters.remove(filter);
        }
    }

    fn tick(&mut self) {
        self.with(|peer, broker| peer.tick(broker, std::time::Duration::from_secs(1)));
        let log = self.random.random_bool(0.7);
        self.with(|peer, broker| {
            for (shard, progress) in std::mem::take(&mut peer.progress) {
                if log {
                    broker.progress(shard, progress);
                }
            }
        });
    }

    fn lose_connection(&mut self) {
        let cause = if self.random.random_bool(0.5) { Cause::Lost } else { Cause::TakenOver };
        self.with(|peer, broker| peer.end(broker, cause));
        self.look();
        self.with(Peer::answer_all);
        self.gone();
    }

    /// The process dies: nothing more is logged, and what was finished and not logged comes again.
    fn crash(&mut self) {
        self.gone();
        self.promises.iter_mut().for_each(|promise| promise.finished = false);
    }

    fn gone(&mut self) {
        self.peer = None;
        // A request without an answer may have been done or not.
        for (_, filter, _) in std::mem::take(&mut self.requests).into_values() {
            self.held.remove(filter);
            self.forget(filter);
        }
    }

    /// Looks at what was written.
    fn look(&mut self) {
        while let Some(write) = self.peer.as_mut().and_then(|peer| peer.written.pop_front()) {
            match write {
                Write::Publish(delivery) => self.delivered(&delivery),
                Write::Packet(packet) => self.packet(packet),
                Write::PubAck(..) => panic!("nothing was published on this connection"),
            }
        }
    }

    fn packet(&mut self, packet: Packet) {
        match packet {
            Packet::SubAck(ack) => {
                let (_, filter, granted) = self.requests.remove(&ack.pid.get()).unwrap();
                let expected = if granted == Qos::AtMostOnce { Reason::Success } else { Reason::GrantedQos1 };
                assert_eq!(ack.reasons, [expected]);
                let asked_again = self.requests.values().any(|(_, other, _)| *other == filter);
                if !asked_again {
                    self.held.insert(filter, granted);
                }
            }
            Packet::UnsubAck(ack) => {
                let (_, filter, _) = self.requests.remove(&ack.pid.get()).unwrap();
                if !self.requests.values().any(|(_, other, _)| *other == filter) {
                    self.asked.remove(filter);
                }
            }
            Packet::ConnAck(ack) => {
                // One that was taken over while it opened is refused.
                let ended = self.peer.as_ref().is_some_and(|peer| peer.closed);
                assert!(ack.reason == Reason::Success || ended, "{ack:?}");
            }
            Packet::Disconnect(goodbye) => assert_eq!(goodbye.reason, Reason::SessionTakenOver, "{goodbye:?}"),
            other => panic!("{other:?}"),
        }
    }

    fn delivered(&mut self, delivery: &Delivery) {
        let number = usize::try_from(u64::from_be_bytes(delivery.message.body[..].try_into().unwrap())).unwrap();
        let (shard, stamp) = self.places[number];
        assert!(self.seen.insert(number), "message {number} twice on one connection");
        assert!(!self.promises[number].finished, "message {number} was finished before");
        if let Some(last) = self.last.insert(shard, stamp) {
            assert!(last < stamp, "{stamp} after {last} on shard {shard}");
        }
        assert_eq!(delivery.pid.is_some(), delivery.qos > Qos::AtMostOnce);
        assert!(delivery.qos <= delivery.message.qos);
        if let Some(pid) = delivery.pid {
            let kept = self.kept.iter().position(|kept| *kept == pid.get());
            assert_eq!(delivery.dup, kept.is_some(), "packet id {pid}");
            kept.map(|at| self.kept.remove(at));
            assert!(self.unacknowledged.iter().all(|(other, _)| *other != pid.get()));
            self.unacknowledged.push((pid.get(), number));
            assert!(self.unacknowledged.len() <= self.window, "more in flight than allowed");
        }
        let promise = &mut self.promises[number];
        promise.delivered = true;
        let mut filters = promise.asked.iter().map(|filter| causeway_model::Filter::new((*filter).into()).unwrap());
        assert!(filters.any(|filter| filter.matches(&delivery.message.topic)), "message {number} was not asked for");
    }

    /// Lets everything that is under way come to its end, then looks at what was promised.
    fn finish(&mut self) {
        if self.peer.is_none() {
            self.connect();
        }
        for _ in 0..10_000 {
            self.with(Peer::catch_up);
            self.look();
            let quiet = self.unacknowledged.is_empty();
            while !self.unacknowledged.is_empty() {
                let (pid, number) = self.unacknowledged.remove(0);
                self.finished(pid, number);
            }
            let idle = self.peer.as_ref().is_some_and(|peer| {
                peer.pending.is_empty() && peer.mail.hints.is_empty() && peer.mail.lagging.is_empty()
            });
            if quiet && idle {
                return self.check();
            }
        }
        panic!("it never comes to rest");
    }

    fn check(&self) {
        for (number, promise) in self.promises.iter().enumerate() {
            let Some(granted) = promise.filters.values().max() else { continue };
            // QoS 0 is promised to a client that stayed.
            let lasting = promise.qos.min(*granted) > Qos::AtMostOnce;
            let kept = if lasting { promise.acknowledged } else { promise.delivered };
            let due = lasting || promise.connection == self.connection;
            assert!(
                kept || !due,
                "message {number} lost: {:?}, {promise:?}, now connection {}, {:?}",
                self.places[number],
                self.connection,
                self.peer.as_ref().map(|peer| &peer.session),
            );
        }
    }
}

fn message(number: usize, topic: Topic, qos: Qos) -> Message {
    Message {
        namespace: namespace(),
        topic,
        qos,
        retain: false,
        expiry: None,
        born: Millis(1_000_000),
        publisher: Publisher { client: ClientId("publisher".into()), session: None, pid: None },
        properties: Properties::default(),
        body: (number as u64).to_be_bytes().to_vec().into(),
    }
}

#[test]
fn whatever_happens_each_message_comes_at_least_once_in_order_and_none_twice_on_a_connection() {
    let runs: u64 = std::env::var("WORLD_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(400);
    let base: u64 = std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(rand::random());
    for seed in (0..runs).map(|run| base.wrapping_add(run)) {
        let outcome = std::panic::catch_unwind(|| World::new(seed).run(600));
        assert!(outcome.is_ok(), "failed: repeat with WORLD_RUNS=1 WORLD_SEED={seed}");
    }
}
