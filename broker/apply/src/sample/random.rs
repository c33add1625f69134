//! Random records that hit each other.

use std::time::Duration;

use bytes::Bytes;
use causeway_model::{
    ClientId, Epoch, Filter, Incarnation, Message, Millis, Namespace, PacketId, Position, PropertiesBuilder, Property,
    Publisher, Qos, RetainHandling, ShardId, Sid, Stamp, SubscribeOptions, Text, Topic,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore, SeedableRng};

use super::{cluster_init, encode};
use crate::Record;
use crate::record::{
    Check, CloseReason, FeatureLevel, FlightState, Gateway, GatewayEvent, InFlight, Interest, LaneProgress, Limits,
    Owner, SessionAbandon, SessionClose, SessionExpire, SessionOpen, Subscribe, TopicDrop, TopicPut, Trim, Unsubscribe,
    Will,
};

/// Makes records that are likely to concern the same few things, and now and then break a rule.
pub(crate) struct Random {
    rng: StdRng,
    /// Positions of the session opens so far, to name sids and epochs that exist or existed.
    opened: Vec<Position>,
    /// What came of them, for those who feed it back.
    pub(crate) sessions: Vec<(Sid, Epoch)>,
    /// Ends of batches and digests there.
    pub(crate) digests: Vec<(Position, u64)>,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), opened: vec![Position(80)], sessions: Vec::new(), digests: Vec::new() }
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent, 100)
    }

    fn pick<X: Copy>(&mut self, from: &[X]) -> X {
        *from.choose(&mut self.rng).unwrap()
    }

    fn text(&mut self, from: &[&'static str]) -> Text {
        Text::from_static(self.pick(from))
    }

    fn namespace(&mut self) -> Namespace {
        Namespace::new(self.text(&["", "", "", "tenant"])).unwrap()
    }

    fn filter(&mut self) -> Filter {
        let names = ["#", "+", "a/+", "a/#", "+/b", "+/+", "a/b", "a/+/c", "$s/#", "b", "+/#", "a//+", "$p2p/#"];
        let names = if self.chance(60) { &names[1..3] } else { &names };
        Filter::new(self.text(names)).unwrap()
    }

    fn incarnation(&mut self) -> Incarnation {
        Incarnation(self.rng.random_range(1..4))
    }

    /// Mostly positions that were, sometimes any.
    fn position(&mut self, at: Position) -> Position {
        if self.chance(90) { Position(self.rng.random_range(0..=at.0)) } else { Position(self.rng.next_u64()) }
    }

    fn session(&mut self) -> (Sid, Epoch) {
        if !self.sessions.is_empty() && self.chance(80) {
            let recent = self.sessions.len().saturating_sub(3);
            return self.sessions[self.rng.random_range(recent..self.sessions.len())];
        }
        let sid = self.pick(&self.opened.clone());
        let epoch = if self.chance(70) { *self.opened.last().unwrap() } else { self.pick(&self.opened.clone()) };
        let epoch = if self.chance(50) { sid } else { epoch };
        (Sid { home: ShardId(0), position: sid }, Epoch(epoch))
    }

    fn duration(&mut self) -> Duration {
        Duration::from_millis(self.pick(&[0, 50, 3_600_000, 3_600_000, 3_600_000]))
    }

    fn owner(&mut self) -> Owner {
        if self.chance(50) {
            return Owner::Gateway(self.incarnation());
        }
        let (sid, epoch) = self.session();
        Owner::Session { sid, epoch }
    }

    fn options(&mut self) -> SubscribeOptions {
        SubscribeOptions {
            qos: Qos::from_number(self.rng.random_range(0..3)).unwrap(),
            no_local: self.chance(50),
            retain_as_published: self.chance(50),
            retain_handling: self.pick(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::Skip]),
            id: self.chance(50).then(|| self.rng.random_range(1..=268_435_455)),
        }
    }

    fn pid(&mut self) -> Option<PacketId> {
        PacketId::new(self.rng.random_range(0..4))
    }

    pub(crate) fn message(&mut self) -> Message {
        let mut properties = PropertiesBuilder::default();
        if self.chance(30) {
            properties.push(&Property::User("key".into(), "värde".into())).unwrap();
        }
        let names = ["a", "a/b", "a/b/c", "a//c", "$s/x", "b", "b/c/d", "/", "q/1", "q/2", "$p2p/c"];
        Message {
            namespace: self.namespace(),
            topic: Topic::new(self.text(&names)).unwrap(),
            qos: Qos::from_number(self.rng.random_range(0..3)).unwrap(),
            retain: self.chance(20),
            expiry: self.chance(20).then(|| self.duration()),
            born: Millis(self.rng.next_u64()),
            publisher: Publisher {
                client: ClientId(self.text(&["", "p", "q"])),
                session: self.chance(30).then(|| self.session()),
                pid: self.pid(),
            },
            properties: properties.finish(),
            body: Bytes::from(vec![b'x'; self.below(200)]),
        }
    }

    fn flight(&mut self, at: Position) -> InFlight {
        let states = [FlightState::Sent, FlightState::Received, FlightState::Done, FlightState::Parked];
        InFlight {
            stamp: if self.chance(95) {
                Stamp(self.rng.random_range(0..=at.0 / 64) * 64)
            } else {
                self.position(at).stamp()
            },
            position: self.position(at),
            qos: Qos::from_number(self.rng.random_range(0..3)).unwrap(),
            pid: self.pid(),
            state: self.pick(&states),
        }
    }

    fn progress(&mut self, at: Position) -> Record {
        let lanes = (0..self.below(4))
            .map(|_| {
                let (sid, epoch) = self.session();
                let cursor = self.chance(60).then(|| self.position(at));
                LaneProgress { sid, epoch, cursor, flights: (0..self.below(6)).map(|_| self.flight(at)).collect() }
            })
            .collect();
        Record::Progress(lanes)
    }

    fn open(&mut self, at: Position) -> Record {
        self.opened.push(at);
        Record::SessionOpen(SessionOpen {
            namespace: self.namespace(),
            client: ClientId(self.text(&["c", "c", "d", "e", "", "nul\0"])),
            clean_start: self.chance(30),
            expiry: self.duration(),
            owner: self.incarnation(),
            attempt: self.below(3) as u64,
            will: self.chance(20).then(|| Will::new(&self.message(), Duration::from_secs(5))),
        })
    }

    fn session_record(&mut self, at: Position) -> Record {
        let (sid, epoch) = self.session();
        match self.below(7) {
            6 => Record::SessionAbandon(SessionAbandon {
                namespace: self.namespace(),
                client: ClientId(self.text(&["c", "c", "d", "e"])),
                owner: self.incarnation(),
                attempt: 1 + self.below(2) as u64,
            }),
            0 => {
                let reasons = [CloseReason::Orderly, CloseReason::ConnectionLost, CloseReason::GatewayLost];
                let expiry = self.chance(30).then(|| self.duration());
                Record::SessionClose(SessionClose { sid, epoch, reason: self.pick(&reasons), expiry })
            }
            1 => Record::SessionExpire(SessionExpire {
                sid,
                epoch,
                filters: (0..self.below(4)).map(|_| self.filter()).collect(),
                flights: (0..self.below(4)).map(|_| (self.chance(50), self.flight(at).stamp)).collect(),
                last: self.chance(50),
            }),
            2 => Record::Unsubscribe(Unsubscribe { sid, epoch, filter: self.filter() }),
            3 => Record::Subscribe(Subscribe {
                sid,
                epoch,
                filter: self.filter(),
                options: self.options(),
                from: (0..self.below(3)).map(|_| (ShardId(0), self.position(at))).collect(),
            }),
            4 => self.progress(at),
            _ => self.open(at),
        }
    }

    fn cluster_record(&mut self, at: Position) -> Record {
        match self.below(7) {
            0 => Record::Trim(Trim { first: self.position(at) }),
            1 => Record::TopicPut(TopicPut {
                namespace: self.namespace(),
                name: self.text(&["q", "b", "a/b", ""]),
                queues: self.pick(&[0, 1, 2, 3, 2000]),
            }),
            2 => Record::TopicDrop(TopicDrop { namespace: self.namespace(), name: self.text(&["q", "b", "none"]) }),
            3 => {
                let events = [
                    GatewayEvent::Joined,
                    GatewayEvent::Joined,
                    GatewayEvent::Lost,
                    GatewayEvent::Swept,
                    GatewayEvent::Forgotten,
                ];
                Record::Gateway(Gateway { incarnation: self.incarnation(), event: self.pick(&events) })
            }
            4 => Record::FeatureLevel(FeatureLevel { level: self.pick(&[0, 1]) }),
            5 => Record::ClusterInit(cluster_init(Limits { session_filters: 3, active_filters: 5, matches: 2 })),
            _ => {
                let (position, digest) = self.digests.last().copied().unwrap_or_default();
                Record::Check(Check { position, digest })
            }
        }
    }

    /// A record that will be at a position.
    pub(crate) fn record(&mut self, at: Position) -> Record {
        match self.below(20) {
            0..8 => {
                let server_queue = self.chance(10).then(|| self.rng.random_range(0..4));
                Record::Message(Box::new(crate::record::Message { message: self.message(), server_queue }))
            }
            8..11 => Record::Interest(Interest {
                add: self.chance(60),
                namespace: self.namespace(),
                filter: self.filter(),
                owner: self.owner(),
            }),
            11..18 => self.session_record(at),
            _ => self.cluster_record(at),
        }
    }

    /// Its payload, now and then damaged behind the header.
    pub(crate) fn payload(&mut self, at: Position) -> Bytes {
        let mut bytes = encode(&self.record(at)).to_vec();
        if self.chance(5) {
            let cut = self.rng.random_range(4..=bytes.len());
            bytes.truncate(cut);
        }
        if self.chance(5) && bytes.len() > 4 {
            let at = self.rng.random_range(4..bytes.len());
            bytes[at] = self.rng.random();
        }
        bytes.into()
    }
}
