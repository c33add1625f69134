//! What one SUBSCRIBE asks for, and how far each part of it has come.
//!
//! ```text
//!              ┌► Held ──────────────────────────────────────► holds
//!  filter ─────┼► Attached ─► Interested or Acquired ────────► holds
//!              │      └────────────┴─► Refused, nothing left
//!              └► refused at once
//! ```
//!
//! A filter that comes several times in one packet is one subscription, with the options of the last.

use std::collections::BTreeMap;

use causeway_model::{Filter, PacketId, Position, Qos, QueueId, ShardId, SubscribeOptions, Text};

use crate::codec::{FilterOptions, Reason, Subscribe};
use crate::session::Session;
use crate::session::connect::position_on;
use crate::session::subscription::{may_overflow, queue_of};

/// So many filters of a packet may be in vain (repeated, refused) before the rest is refused unseen.
const SPARE: usize = 1024;

/// A SUBSCRIBE in work.
#[derive(Debug)]
pub(in crate::session) struct Subscribing {
    pub(super) pid: PacketId,
    /// What each filter that was looked at came to, in the packet's order.
    pub(super) items: Vec<Item>,
    /// Filters after them.
    pub(super) rest: usize,
    /// The subscriptions that are wanted, each once.
    pub(super) wanted: Vec<Wanted>,
    /// The overflow queue is attached for them.
    pub(super) overflow: bool,
    /// Where hints begin and what was applied then, a position a shard.
    pub(super) attached: Vec<(ShardId, Position)>,
    /// Answers of this step that have not come.
    pub(super) waiting: usize,
    /// The home shard is asked: what there is elsewhere may be in use by now.
    pub(super) logging: bool,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Refused(Reason),
    /// The number of a wanted subscription, and the QoS that this filter asked for.
    Wanted(usize, Qos),
}

#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) filter: Filter,
    /// Of the last item that named it.
    pub(super) options: SubscribeOptions,
    pub(super) queue: QueueId,
    /// New, and to be indexed.
    pub(super) wildcard: bool,
    pub(super) state: State,
}

/// How far a wanted subscription has come, which is what has to be taken back if it is refused.
#[derive(Debug)]
pub(super) enum State {
    /// The session has it: only its options change.
    Held,
    /// New: its queue is attached.
    Attached,
    /// A wildcard of a persistent session: indexed on these shards, home not among them, above these positions.
    Interested(Vec<(ShardId, Position)>),
    /// A wildcard of a volatile session: indexed by its gateway.
    Acquired(Vec<(ShardId, Position)>),
    /// Nothing of it is left.
    Refused(Reason),
}

impl Wanted {
    pub(super) fn is_alive(&self) -> bool {
        !matches!(self.state, State::Refused(_))
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_alive() && !matches!(self.state, State::Held)
    }

    /// Where its interest begins, as far as that is not the home shard's own.
    pub(super) fn from(&self) -> &[(ShardId, Position)] {
        match &self.state {
            State::Interested(from) | State::Acquired(from) => from,
            State::Held | State::Attached | State::Refused(_) => &[],
        }
    }

    pub(super) fn indexed_on(&mut self, shard: ShardId, position: Position) {
        match &mut self.state {
            State::Interested(from) => from.push((shard, position)),
            State::Held | State::Attached | State::Acquired(_) | State::Refused(_) => {
                self.state = State::Interested(vec![(shard, position)]);
            }
        }
    }
}

impl Subscribing {
    fn new(pid: PacketId) -> Self {
        let (items, wanted, attached) = (Vec::new(), Vec::new(), Vec::new());
        Self { pid, items, rest: 0, wanted, overflow: false, attached, waiting: 0, logging: false }
    }

    /// Where a subscription starts on a shard, as far as it is known outside of the lane.
    pub(super) fn start(&self, wanted: &Wanted, shard: ShardId) -> Position {
        position_on(&self.attached, shard).max(position_on(wanted.from(), shard))
    }
}

/// The subscriptions that a packet asks for, gathered filter by filter.
struct Gathering<'a> {
    session: &'a Session,
    job: Subscribing,
    /// Where in the job a queue is.
    places: BTreeMap<QueueId, usize>,
    /// Subscriptions that the session would have.
    count: usize,
}

impl Gathering<'_> {
    fn item(&mut self, name: &Text, asked: FilterOptions, id: Option<u32>) -> Item {
        if name.starts_with("$share/") {
            return Item::Refused(Reason::SharedSubscriptionsNotSupported);
        }
        // The codec checked the form: what the model still refuses is a filter of too many levels. The name is copied,
        // since it is a slice of the buffer that the packet came in.
        let Ok(filter) = Filter::new(Text::from(&**name)) else { return Item::Refused(Reason::QuotaExceeded) };
        if filter.is_for_others_than(&self.session.client.0) {
            return Item::Refused(Reason::NotAuthorized);
        }
        let queue = queue_of(&self.session.shared, &filter);
        let options = SubscribeOptions {
            qos: asked.qos.min(Qos::AtLeastOnce),
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            retain_handling: asked.retain_handling,
            id,
        };
        let next = self.job.wanted.len();
        let at = *self.places.entry(queue).or_insert(next);
        if let Some(earlier) = self.job.wanted.get_mut(at) {
            // The last one counts, as if each had come in a packet of its own.
            earlier.options = options;
            return Item::Wanted(at, options.qos);
        }
        let new = self.session.subscriptions.get(queue).is_none();
        if new && self.count >= self.session.shared.settings.filters {
            self.places.remove(&queue);
            return Item::Refused(Reason::QuotaExceeded);
        }
        self.count = self.count.saturating_add(usize::from(new));
        let wildcard = new && may_overflow(&filter);
        let state = if new { State::Attached } else { State::Held };
        self.job.wanted.push(Wanted { filter, options, queue, wildcard, state });
        Item::Wanted(at, options.qos)
    }
}

pub(super) fn gather(session: &Session, packet: &Subscribe) -> Subscribing {
    let id = packet.properties.subscription_identifier();
    let count = session.subscriptions.len();
    let job = Subscribing::new(packet.pid);
    let mut gathering = Gathering { session, job, places: BTreeMap::new(), count };
    let mut filters = packet.filters();
    for (name, options) in filters.by_ref().take(session.shared.settings.filters.saturating_add(SPARE)) {
        let item = gathering.item(&name, options, id);
        gathering.job.items.push(item);
    }
    let mut job = gathering.job;
    job.rest = filters.count();
    job
}
