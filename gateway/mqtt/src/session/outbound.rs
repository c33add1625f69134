//! Deliveries: from entries of queues to PUBLISH packets, at most a window of them in flight.
//!
//! ```text
//!  hints ─┐
//!         ├─► candidates ─fetch─► match · expiry · QoS · size ─► PUBLISH ─► flights ─PUBACK─► cursor
//!  pages ─┘       └ as many as the window and the socket's buffer have room for
//! ```
//!
//! One delivery a stamp, whatever number of subscriptions it matches (design §5.3), in stamp order on each shard; QoS 0
//! takes no place of the window and does not overtake. A client that reads slowly holds positions, not messages: bodies
//! are fetched when there is room for them.

mod catchup;
mod delivery;
mod lane;
mod pids;

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::{Entry, Page};
use causeway_model::{ClientId, Kind, Message, PacketId, Qos, QueueId, ShardId};
use smallvec::SmallVec;

pub(super) use self::catchup::Stuck;
pub use self::delivery::Delivery;
pub(super) use self::lane::Candidate;
use super::Shared;

use self::catchup::CatchUp;
use self::delivery::expiry_left;
use self::lane::Lane;
use self::pids::PacketIds;
use super::effect::{Call, Now, Output, Ticket, Write};
use super::subscription::{Match, Subscriptions};
use crate::codec::Version;

/// Most messages of one fetch.
const FETCH: usize = 256;
/// What a delivery of unknown size (it was in flight before a resume) is taken to cost.
const UNKNOWN: usize = 64 << 10;
/// A lane with so many candidates reads no more pages.
const ENOUGH: usize = 256;
/// Windows by which finished deliveries may be ahead of one that is not acknowledged. A client that leaves one out for
/// ever gets no more: parking such a delivery is not built.
const AHEAD: usize = 4;
/// Wait before a failed read is made again.
const RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) lanes: Vec<Lane>,
    ids: PacketIds,
    /// The smaller of the client's Receive Maximum and ours.
    window: usize,
    /// Deliveries sent on this connection and not acknowledged.
    in_flight: usize,
    /// The client's Maximum Packet Size.
    packet_bytes: Option<usize>,
    /// No reads before then: one failed.
    paused: Option<Duration>,
}

/// What deliveries depend on beside the lanes.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) shared: &'a Shared,
    pub(super) subscriptions: &'a Subscriptions,
    pub(super) client: &'a ClientId,
    pub(super) version: Version,
    pub(super) now: Now,
}

impl Outbound {
    pub(super) fn new(shared: &Shared) -> Self {
        Self {
            lanes: shared.cluster.shards().map(Lane::new).collect(),
            ids: PacketIds::default(),
            window: usize::from(shared.settings.in_flight),
            in_flight: 0,
            packet_bytes: None,
            paused: None,
        }
    }

    /// The client's own limits, from CONNECT.
    pub(super) fn limit(&mut self, receive_maximum: Option<u16>, packet_bytes: Option<u32>) {
        self.window = receive_maximum.map_or(self.window, |most| self.window.min(usize::from(most)));
        self.packet_bytes = packet_bytes.and_then(|most| usize::try_from(most).ok());
    }

    /// Whether the client takes a packet of so many bytes.
    pub(super) fn takes_packet(&self, bytes: usize) -> bool {
        self.packet_bytes.is_none_or(|most| bytes <= most)
    }

    pub(super) fn lane(&mut self, shard: ShardId) -> Option<&mut Lane> {
        self.lanes.get_mut(usize::try_from(shard.0).ok()?)
    }

    /// Whether there is a use for hints: nothing older waits.
    pub(super) fn takes_hints(&self) -> bool {
        self.lanes.iter().all(|lane| lane.catch_up.is_none() && lane.waiting() < ENOUGH)
    }

    /// When reads may go on after a failure.
    pub(super) fn paused(&self) -> Option<Duration> {
        self.paused
    }

    /// Begins to read `(next, upto]` of all queues of a lane from the index.
    pub(super) fn read_upto(&mut self, view: View<'_>, shard: ShardId, upto: causeway_model::Position, resume: bool) {
        let Some(lane) = self.lane(shard) else { return };
        if lane.catch_up.is_some() {
            return lane.extend(upto);
        }
        let next = lane.next();
        if upto <= next {
            return;
        }
        let own = view.subscriptions.iter().map(|(_, subscription)| {
            (subscription.queue, subscription.source(view.shared), next.max(subscription.start(shard)))
        });
        let overflow = view.subscriptions.overflow();
        let overflow = overflow.map(|id| (id, causeway_compute::port::QueueRef::Sparse(id), next));
        lane.catch_up = Some(Box::new(CatchUp::new(upto, resume, own.chain(overflow))));
    }

    /// A queue is no longer subscribed: what of it is being read is dropped.
    pub(super) fn forget(&mut self, queue: QueueId) {
        for catch_up in self.lanes.iter_mut().filter_map(|lane| lane.catch_up.as_mut()) {
            catch_up.drop_source(queue);
        }
    }

    /// Asks for what is to be delivered next, as far as `room` bytes of buffer and the window allow.
    pub(super) fn pump(&mut self, view: View<'_>, mut room: usize, out: &mut Output) {
        if self.paused.is_some_and(|until| view.now.elapsed < until) {
            return;
        }
        self.paused = None;
        for at in 0..self.lanes.len() {
            let free = self.free();
            let window = self.window;
            let Some(lane) = self.lanes.get_mut(at) else { continue };
            drive(lane, view, out);
            let used = fetch(lane, view, window, free, room, out);
            room = room.saturating_sub(used);
        }
    }

    /// Places of the window that are neither taken nor promised.
    fn free(&self) -> usize {
        let reserved: usize = self.lanes.iter().map(Lane::reserved).sum();
        self.window.saturating_sub(self.in_flight).saturating_sub(reserved)
    }

    /// The pages that were asked for.
    pub(super) fn pages(&mut self, shard: ShardId, pages: Vec<Page>) -> Result<(), Stuck> {
        match self.lane(shard).and_then(|lane| lane.catch_up.as_mut()) {
            Some(catch_up) => catch_up.pages(pages),
            None => Ok(()),
        }
    }

    /// Pages could not be read: they are asked for again after a while.
    pub(super) fn read_failed(&mut self, shard: ShardId, kind: &Kind, now: Now) {
        if let Some(catch_up) = self.lane(shard).and_then(|lane| lane.catch_up.as_mut()) {
            catch_up.read_failed();
        }
        self.pause(kind, now);
    }

    /// Messages could not be fetched: they are asked for again after a while.
    pub(super) fn fetch_failed(&mut self, shard: ShardId, kind: &Kind, now: Now) {
        if let Some(lane) = self.lane(shard) {
            lane.fetch_ended();
        }
        self.pause(kind, now);
    }

    fn pause(&mut self, kind: &Kind, now: Now) {
        let wait = if let Kind::Busy { retry_after } = kind { *retry_after } else { RETRY };
        self.paused = Some(now.elapsed.saturating_add(wait));
    }

    /// The messages that were asked for.
    pub(super) fn messages(
        &mut self,
        view: View<'_>,
        shard: ShardId,
        messages: Vec<Option<Arc<Message>>>,
        out: &mut Output,
    ) {
        for message in messages {
            let Some(candidate) = self.lane(shard).and_then(Lane::take_fetched) else { break };
            match message {
                Some(message) if candidate.again.is_some() => self.again(view, shard, &candidate, message, out),
                Some(message) => self.deliver(view, shard, &candidate, message, out),
                None => {
                    out.tally.trimmed += 1;
                    self.give_up(shard, &candidate);
                }
            }
        }
        if let Some(lane) = self.lane(shard) {
            lane.fetch_ended();
        }
    }

    fn give_up(&mut self, shard: ShardId, candidate: &Candidate) {
        if let (Some(lane), Some(_)) = (self.lane(shard), candidate.again) {
            lane.give_up(candidate.stamp);
        }
    }

    fn deliver(
        &mut self,
        view: View<'_>,
        shard: ShardId,
        candidate: &Candidate,
        message: Arc<Message>,
        out: &mut Output,
    ) {
        if message.expired(view.now.wall) {
            out.tally.expired += 1;
            return;
        }
        let Some(matched) = matching(view, shard, candidate, &message) else { return };
        // Without a promised place of the window its subscription was for QoS 0 when it was taken up: the options were
        // replaced since, and what was published before SUBACK may still come under the old ones.
        let most = if candidate.reserved { matched.qos } else { Qos::AtMostOnce };
        let qos = most.min(message.qos);
        if candidate.away && qos == Qos::AtMostOnce {
            return;
        }
        let mut delivery = delivery(view, message, qos, matched);
        if !self.fits(view, &delivery) {
            out.tally.oversized += 1;
            return;
        }
        if qos > Qos::AtMostOnce {
            let used = self.lanes.iter().flat_map(Lane::pids);
            let Some(pid) = self.ids.allocate(used) else { return };
            delivery.pid = Some(pid);
            if let Some(lane) = self.lane(shard) {
                lane.sent(candidate, qos, pid);
            }
            self.in_flight += 1;
        }
        write(delivery, out);
    }

    /// Sends a delivery of an earlier connection again: what was started is completed, expired or not.
    fn again(
        &mut self,
        view: View<'_>,
        shard: ShardId,
        candidate: &Candidate,
        message: Arc<Message>,
        out: &mut Output,
    ) {
        let Some(qos) = self.lane(shard).and_then(|lane| lane.sent_again(candidate.stamp)) else { return };
        let matched = matching(view, shard, candidate, &message);
        let matched = matched.unwrap_or_else(|| Match { qos, keep_retain: false, ids: SmallVec::new() });
        let mut delivery = delivery(view, message, qos, matched);
        (delivery.dup, delivery.pid) = (true, candidate.again);
        if self.fits(view, &delivery) {
            self.in_flight += 1;
            write(delivery, out);
        } else {
            out.tally.oversized += 1;
            self.give_up(shard, candidate);
        }
    }

    fn fits(&self, view: View<'_>, delivery: &Delivery) -> bool {
        self.packet_bytes.is_none_or(|most| delivery.fits(view.version, most))
    }

    /// PUBACK. `false`: nothing was in flight under this id.
    pub(super) fn acknowledge(&mut self, pid: PacketId) -> bool {
        let Some(acknowledged) = self.lanes.iter_mut().find_map(|lane| lane.acknowledge(pid)) else { return false };
        if acknowledged.sent {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        true
    }
}

fn write(delivery: Delivery, out: &mut Output) {
    if let Some(count) = out.tally.delivered.get_mut(usize::from(delivery.qos.number())) {
        *count += 1;
    }
    out.writes.push(Write::Publish(delivery));
}

fn matching(view: View<'_>, shard: ShardId, candidate: &Candidate, message: &Message) -> Option<Match> {
    if message.namespace != view.shared.namespace {
        return None;
    }
    let own = message.publisher.client == *view.client;
    view.subscriptions.matching(&candidate.found, shard, candidate.stamp, message, own)
}

fn delivery(view: View<'_>, message: Arc<Message>, qos: Qos, matched: Match) -> Delivery {
    let expiry = if view.version.is_v5() { expiry_left(&message, view.now.wall) } else { None };
    let retain = message.retain && matched.keep_retain;
    Delivery { message, qos, retain, dup: false, pid: None, ids: matched.ids, expiry }
}

/// Turns pages into candidates until there are enough, and asks for the next pages.
fn drive(lane: &mut Lane, view: View<'_>, out: &mut Output) {
    while lane.waiting() < ENOUGH {
        let Some(catch_up) = &mut lane.catch_up else { return };
        let Some((entry, queues)) = catch_up.next() else {
            if catch_up.is_over() {
                lane.caught_up();
            } else if let Some(reads) = catch_up.reads() {
                out.call(Ticket::Read(lane.shard), Call::Read(lane.shard, reads));
            }
            return;
        };
        let away = catch_up.resume;
        let candidate = candidate(view, &entry, &queues, away);
        lane.caught(entry.stamp, candidate);
    }
}

fn candidate(view: View<'_>, entry: &Entry, queues: &[QueueId], away: bool) -> Option<Candidate> {
    let found = view.subscriptions.found(queues)?;
    let qos = entry.flags.qos;
    if away && qos.min(view.subscriptions.highest(&found)) == Qos::AtMostOnce {
        return None;
    }
    let (stamp, position, length) = (entry.stamp, entry.position, entry.length);
    Some(Candidate { stamp, position, length, qos, found, again: None, away, reserved: false })
}

/// Asks for the messages of the first candidates that have room; returns the bytes that they will take.
fn fetch(lane: &mut Lane, view: View<'_>, window: usize, free: usize, room: usize, out: &mut Output) -> usize {
    let ahead = window.saturating_mul(AHEAD);
    let started = lane.flights();
    let (mut bytes, mut ids) = (0_usize, 0_usize);
    let mut positions = Vec::new();
    for candidate in lane.candidates().take(FETCH) {
        let highest = candidate.qos.min(view.subscriptions.highest(&candidate.found));
        let takes = candidate.again.is_some() || highest > Qos::AtMostOnce;
        // What is sent again is among the flights already.
        let over = candidate.again.is_none() && started.saturating_add(ids) >= ahead;
        if bytes >= room || (takes && (ids >= free || over)) {
            break;
        }
        candidate.reserved = takes;
        ids += usize::from(takes);
        let length = usize::try_from(candidate.length).unwrap_or(usize::MAX);
        bytes = bytes.saturating_add(if length == 0 { UNKNOWN } else { length });
        positions.push(candidate.position);
    }
    if !positions.is_empty() {
        lane.fetch(positions.len());
        out.call(Ticket::Fetch(lane.shard), Call::Fetch(lane.shard, positions));
    }
    bytes
}
