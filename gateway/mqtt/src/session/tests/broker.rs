//! A broker as the port describes it, small enough to see through: logs as vectors, sessions as maps, nothing durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::notify::Hint;
use causeway_compute::port::{
    Cluster, Command, Entry, EntryFlags, FlightState, InFlight, Lane, LaneProgress, Opened, Page, QueueRef, Read,
    Rejected, Reply, Session as Rows, SessionOpen, Subscription,
};
use causeway_model::{
    ClientId, Epoch, Filter, HashKey, Incarnation, Lineage, Message, Millis, Namespace, Offset, Position, Qos, QueueId,
    QueueKind, ShardId, Sid, Stamp, in_all_queue,
};

/// Fewer than this at a time, so that reading takes many pages.
const PAGE: usize = 3;

pub(super) struct Broker {
    pub(super) cluster: Cluster,
    pub(super) logs: Vec<Log>,
    interest: BTreeSet<Filter>,
    sessions: BTreeMap<ClientId, Stored>,
    /// Messages that match a wildcard enter the overflow queue and no filter's.
    pub(super) overflow: bool,
    /// Every proposal is refused.
    pub(super) refuse: Option<causeway_model::Kind>,
    /// Who holds every client that connects.
    pub(super) old_owner: Option<Incarnation>,
}

#[derive(Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Logged>,
    pub(super) end: u64,
}

pub(super) struct Logged {
    pub(super) stamp: Stamp,
    pub(super) message: Arc<Message>,
    pub(super) queues: Vec<QueueId>,
}

#[derive(Clone)]
struct Stored {
    sid: Sid,
    epoch: Epoch,
    expiry: Duration,
    subscriptions: Vec<Subscription>,
    lanes: Vec<Lane>,
}

fn number(shard: ShardId) -> usize {
    usize::try_from(shard.0).unwrap()
}

impl Broker {
    pub(super) fn new(shards: u32) -> Self {
        let cluster = Cluster { lineage: Lineage(1), key: HashKey([5; 16]), level: 1, shards };
        let logs = (0..shards).map(|_| Log { entries: Vec::new(), end: 1000 }).collect();
        let (interest, sessions) = (BTreeSet::new(), BTreeMap::new());
        Self { cluster, logs, interest, sessions, overflow: false, refuse: None, old_owner: None }
    }

    fn append(&mut self, shard: ShardId) -> Position {
        let log = &mut self.logs[number(shard)];
        log.end += 100;
        Position(log.end - 50)
    }

    pub(super) fn applied(&self, shard: ShardId) -> Position {
        Position(self.logs[number(shard)].end)
    }

    pub(super) fn publish(&mut self, message: Message) -> (ShardId, Stamp) {
        let shard = self.cluster.shard_of(&message.namespace, message.topic.as_str());
        let stamp = self.append(shard).stamp();
        let key = self.cluster.key;
        let queue = |kind, name: &str| key.queue(kind, &message.namespace, name);
        let mut queues = vec![key.topic_queue(&message.namespace, message.topic.as_str())];
        let filters: Vec<_> = self.interest.iter().filter(|filter| filter.matches(&message.topic)).collect();
        if self.overflow && !filters.is_empty() {
            queues.push(queue(QueueKind::Overflow, ""));
        } else {
            queues.extend(filters.iter().map(|filter| queue(QueueKind::Filter, filter.as_str())));
        }
        if in_all_queue(&message.topic) {
            queues.push(queue(QueueKind::All, "#"));
        }
        self.logs[number(shard)].entries.push(Logged { stamp, message: Arc::new(message), queues });
        (shard, stamp)
    }

    pub(super) fn propose(
        &mut self,
        shard: ShardId,
        commands: Vec<Command>,
    ) -> Result<Vec<Reply>, causeway_compute::port::Error> {
        if let Some(kind) = self.refuse.clone() {
            return Err(causeway_compute::port::Error { operation: "propose", shard, kind });
        }
        Ok(commands.into_iter().map(|command| self.command(shard, command)).collect())
    }

    fn command(&mut self, shard: ShardId, command: Command) -> Reply {
        match command {
            Command::Publish(message) => {
                let (at, stamp) = self.publish(message);
                assert_eq!(at, shard, "a publish goes to the shard of its topic");
                Reply::Published { position: stamp.position() }
            }
            Command::Interest(interest) => {
                assert!(interest.filter.is_wildcard() && !interest.filter.is_all());
                if interest.add {
                    self.interest.insert(interest.filter);
                } else {
                    self.interest.remove(&interest.filter);
                }
                Reply::Interest { position: self.append(shard) }
            }
            Command::SessionOpen(open) => self.open(shard, &open),
            Command::SessionClose { sid, epoch, .. } => self.owned(sid, epoch, |stored| {
                assert!(!stored.lanes.is_empty());
                Reply::Done
            }),
            Command::Subscribe(subscribe) => {
                self.append(shard);
                self.owned(subscribe.sid, subscribe.epoch, |stored| {
                    let (filter, options, from) = (subscribe.filter, subscribe.options, subscribe.from);
                    let before = stored.subscriptions.iter().position(|held| held.filter == filter);
                    let existed = before.map(|at| stored.subscriptions.remove(at));
                    let from = existed.as_ref().map_or(from, |held| held.from.clone());
                    stored.subscriptions.push(Subscription { filter, options, from: from.clone() });
                    Reply::Subscribed { existed: existed.is_some(), from }
                })
            }
            Command::Unsubscribe { sid, epoch, filter } => self.owned(sid, epoch, |stored| {
                let count = stored.subscriptions.len();
                stored.subscriptions.retain(|held| held.filter != filter);
                Reply::Unsubscribed { existed: stored.subscriptions.len() < count }
            }),
            Command::Progress(lanes) => {
                for progress in lanes {
                    self.progress(shard, progress);
                }
                Reply::Done
            }
            Command::SessionAbandon { .. }
            | Command::Gateway { .. }
            | Command::TopicPut { .. }
            | Command::TopicDrop { .. } => Reply::Done,
        }
    }

    fn open(&mut self, shard: ShardId, open: &SessionOpen) -> Reply {
        let position = self.append(shard);
        let present = self.sessions.contains_key(&open.client) && !open.clean_start;
        if !present {
            let lanes = vec![Lane::default(); self.logs.len()];
            let sid = Sid { home: shard, position };
            let epoch = Epoch(position);
            let fresh = Stored { sid, epoch, expiry: open.expiry, subscriptions: Vec::new(), lanes };
            self.sessions.insert(open.client.clone(), fresh);
        }
        let stored = self.sessions.get_mut(&open.client).unwrap();
        (stored.epoch, stored.expiry) = (Epoch(position), open.expiry);
        let opened = Opened {
            sid: stored.sid,
            epoch: stored.epoch,
            present,
            persistent: !open.expiry.is_zero(),
            old_owner: self.old_owner,
            expiry: open.expiry.min(Duration::from_hours(1)),
        };
        Reply::Opened(opened)
    }

    fn owned(&mut self, sid: Sid, epoch: Epoch, change: impl FnOnce(&mut Stored) -> Reply) -> Reply {
        match self.sessions.values_mut().find(|stored| stored.sid == sid) {
            Some(stored) if stored.epoch == epoch => change(stored),
            Some(_) => Reply::Rejected(Rejected::Fenced),
            None => Reply::Rejected(Rejected::NotFound),
        }
    }

    pub(super) fn progress(&mut self, shard: ShardId, progress: LaneProgress) {
        self.owned(progress.sid, progress.epoch, |stored| {
            let lane = &mut stored.lanes[number(shard)];
            lane.cursor = lane.cursor.max(progress.cursor.unwrap_or_default());
            let mut rows: BTreeMap<Stamp, InFlight> = lane.flights.iter().map(|row| (row.stamp, *row)).collect();
            rows.extend(progress.flights.into_iter().map(|row| (row.stamp, row)));
            rows.retain(|stamp, _| stamp.position() > lane.cursor);
            lane.flights = rows.into_values().collect();
            Reply::Done
        });
    }

    pub(super) fn session(&self, shard: ShardId, sid: Sid) -> Rows {
        let stored = self.sessions.values().find(|stored| stored.sid == sid).unwrap();
        let subscriptions = if sid.home == shard { stored.subscriptions.clone() } else { Vec::new() };
        Rows { subscriptions, lane: stored.lanes[number(shard)].clone() }
    }

    /// Packet ids that a resumed session sends again.
    pub(super) fn kept_ids(&self, client: &ClientId) -> Vec<u16> {
        let rows =
            self.sessions.get(client).into_iter().flat_map(|stored| &stored.lanes).flat_map(|lane| &lane.flights);
        rows.filter(|row| row.state == FlightState::Sent).filter_map(|row| row.pid).map(u16::from).collect()
    }

    pub(super) fn read(&self, shard: ShardId, reads: &[Read]) -> Vec<Page> {
        reads.iter().map(|read| self.page(shard, read)).collect()
    }

    fn page(&self, shard: ShardId, read: &Read) -> Page {
        let id = match &read.queue {
            QueueRef::Sparse(id) => *id,
            QueueRef::All(namespace) => self.cluster.key.queue(QueueKind::All, namespace, "#"),
            QueueRef::Dense(..) => unreachable!("MQTT reads no dense queue"),
        };
        let inside = |logged: &&Logged| {
            let at = logged.stamp.position();
            at > read.after && at <= read.upto && logged.queues.contains(&id)
        };
        let mut rows = self.logs[number(shard)].entries.iter().filter(inside);
        let entries: Vec<_> = rows.by_ref().take(read.limit.min(PAGE)).map(entry).collect();
        let more = rows.next().is_some();
        let next = if more { entries.last().unwrap().stamp.position() } else { read.upto };
        Page { entries, next, end: self.applied(shard), more }
    }

    pub(super) fn fetch(&self, shard: ShardId, positions: &[Position]) -> Vec<Option<Arc<Message>>> {
        let entries = &self.logs[number(shard)].entries;
        let find = |position: &Position| entries.iter().find(|logged| logged.stamp.position() == *position);
        positions.iter().map(|position| find(position).map(|logged| Arc::clone(&logged.message))).collect()
    }
}

fn flags(message: &Message) -> EntryFlags {
    EntryFlags { qos: message.qos, retain: message.retain, expires: message.expiry.is_some(), referred: false }
}

fn entry(logged: &Logged) -> Entry {
    let position = logged.stamp.position();
    let offset = Offset(position.0);
    Entry { offset, stamp: logged.stamp, position, length: 100, time: Millis(0), flags: flags(&logged.message) }
}

/// The notify half for one session: what was dispatched, and its mailbox.
pub(super) struct Mail {
    pub(super) dispatched: Vec<Position>,
    attached: BTreeSet<QueueId>,
    pub(super) hints: Vec<Hint>,
    pub(super) lagging: BTreeMap<ShardId, Position>,
    pub(super) capacity: usize,
    /// After a mark hints come again, all above it, before the mark is taken.
    pub(super) goes_on: bool,
}

impl Mail {
    pub(super) fn new(broker: &Broker, capacity: usize, goes_on: bool) -> Self {
        let dispatched = broker.cluster.shards().map(|shard| broker.applied(shard)).collect();
        Self { dispatched, attached: BTreeSet::new(), hints: Vec::new(), lagging: BTreeMap::new(), capacity, goes_on }
    }

    pub(super) fn attach(&mut self, broker: &Broker, queues: Vec<QueueId>) -> Vec<(ShardId, Position)> {
        self.attached.extend(queues);
        let shards = broker.cluster.shards();
        shards.map(|shard| (shard, self.dispatched[number(shard)].max(broker.applied(shard)))).collect()
    }

    pub(super) fn is_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    pub(super) fn detach(&mut self, queues: &[QueueId]) {
        self.attached.retain(|queue| !queues.contains(queue));
    }

    /// Hands the next batch of at most `count` messages out; `collapsed`: as a frame too large to carry them.
    pub(super) fn dispatch(&mut self, broker: &Broker, shard: ShardId, count: usize, collapsed: bool) {
        let log = &broker.logs[number(shard)];
        let from = self.dispatched[number(shard)];
        let new = || log.entries.iter().filter(|logged| logged.stamp.position() > from);
        let upto =
            if new().count() > count { new().nth(count - 1).unwrap().stamp.position() } else { Position(log.end) };
        for logged in new().filter(|logged| logged.stamp.position() <= upto) {
            let queues = logged.queues.iter().filter(|queue| self.attached.contains(queue)).copied();
            let queues: smallvec::SmallVec<[QueueId; 2]> = queues.collect();
            if !queues.is_empty() && !collapsed {
                self.push(Hint {
                    shard,
                    stamp: logged.stamp,
                    position: logged.stamp.position(),
                    length: 100,
                    flags: flags(&logged.message),
                    queues,
                });
            }
        }
        if collapsed && !self.attached.is_empty() {
            self.hints.retain(|hint| hint.shard != shard);
            self.lagging.insert(shard, upto);
        }
        self.dispatched[number(shard)] = upto;
    }

    fn push(&mut self, hint: Hint) {
        if let Some(upto) = self.lagging.get_mut(&hint.shard).filter(|_| !self.goes_on) {
            *upto = hint.stamp.position();
        } else if self.hints.len() < self.capacity {
            self.hints.push(hint);
        } else {
            for forgotten in std::mem::take(&mut self.hints).into_iter().chain([hint]) {
                self.lagging.insert(forgotten.shard, forgotten.stamp.position());
            }
        }
    }
}

pub(super) fn namespace() -> Namespace {
    Namespace::default()
}

pub(super) fn incarnation() -> Incarnation {
    Incarnation(7 << 64)
}

pub(super) fn qos(number: u8) -> Qos {
    Qos::from_number(number).unwrap()
}
