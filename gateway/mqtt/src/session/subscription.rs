//! The subscriptions of one session: which of them an entry is for, and what comes of several matching it.

use causeway_compute::port;
use causeway_model::{Filter, Message, Position, Qos, QueueId, QueueKind, ShardId, Stamp, SubscribeOptions};
use smallvec::SmallVec;

use super::Shared;

/// A subscription that holds.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) filter: Filter,
    pub(super) options: SubscribeOptions,
    pub(super) queue: QueueId,
    /// One topic, so that comparing names is enough.
    exact: bool,
    /// Per shard, by its number: entries above it are this subscription's.
    start: SmallVec<[Position; 1]>,
}

impl Subscription {
    pub(super) fn start(&self, shard: ShardId) -> Position {
        usize::try_from(shard.0).ok().and_then(|at| self.start.get(at)).copied().unwrap_or_default()
    }

    fn matches(&self, message: &Message) -> bool {
        if self.exact {
            return self.filter.as_str() == message.topic.as_str();
        }
        self.filter.matches(&message.topic)
    }

    /// Where to read what matches.
    pub(super) fn source(&self, shared: &Shared) -> port::QueueRef {
        if self.filter.is_all() {
            port::QueueRef::All(shared.namespace.clone())
        } else {
            port::QueueRef::Sparse(self.queue)
        }
    }
}

/// The subscriptions for which an entry came; a subscription is named by its slot. A slot may be another's by the time
/// the message is there, so filter and start are compared again then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    One(u32),
    Several(Box<[u32]>),
    /// Compare all filters: the entry came through the overflow queue, or is sent again after a resume.
    Any,
}

/// What a message that matches is delivered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The highest QoS granted by a match; not yet limited by the message's own.
    pub(super) qos: Qos,
    /// Some match keeps RETAIN as published.
    pub(super) keep_retain: bool,
    /// The subscription identifiers of all matches.
    pub(super) ids: SmallVec<[u32; 2]>,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    slots: Vec<Option<Subscription>>,
    /// Sorted by queue id. A vector, since an idle client has one filter or two.
    by_queue: Vec<(QueueId, u32)>,
    /// The namespace's overflow queue, while there are wildcards that it concerns.
    overflow: Option<QueueId>,
}

/// The queue that holds what a filter matches.
pub(super) fn queue_of(shared: &Shared, filter: &Filter) -> QueueId {
    shared.cluster.key.filter_queue(&shared.namespace, filter)
}

/// The queue of messages that match more filters than one record may enter.
pub(super) fn overflow_queue(shared: &Shared) -> QueueId {
    shared.cluster.key.queue(QueueKind::Overflow, &shared.namespace, "")
}

/// Whether the overflow queue concerns this filter: the log itself and an exact topic's queue get every message.
pub(super) fn may_overflow(filter: &Filter) -> bool {
    filter.queue_kind() == QueueKind::Filter
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.by_queue.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        (0..).zip(&self.slots).filter_map(|(slot, subscription)| Some((slot, subscription.as_ref()?)))
    }

    /// The overflow queue, if a subscription makes it one to read.
    pub(super) fn overflow(&self) -> Option<QueueId> {
        self.overflow
    }

    pub(super) fn get(&self, queue: QueueId) -> Option<&Subscription> {
        self.slot(queue).and_then(|slot| self.at(slot))
    }

    fn slot(&self, queue: QueueId) -> Option<u32> {
        let at = self.by_queue.binary_search_by_key(&queue, |(id, _)| *id).ok()?;
        self.by_queue.get(at).map(|(_, slot)| *slot)
    }

    fn at(&self, slot: u32) -> Option<&Subscription> {
        self.slots.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    /// Replaces the options of a subscription; it keeps its start. `false` if there is none.
    pub(super) fn replace(&mut self, queue: QueueId, options: SubscribeOptions) -> bool {
        let slot = self.slot(queue).and_then(|slot| usize::try_from(slot).ok());
        match slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_mut) {
            Some(subscription) => {
                subscription.options = options;
                true
            }
            None => false,
        }
    }

    /// Adds a subscription that starts, on each shard by number, above `start`.
    pub(super) fn add(
        &mut self,
        shared: &Shared,
        filter: Filter,
        options: SubscribeOptions,
        start: SmallVec<[Position; 1]>,
    ) {
        let queue = queue_of(shared, &filter);
        if self.replace(queue, options) {
            return;
        }
        if may_overflow(&filter) {
            self.overflow = Some(overflow_queue(shared));
        }
        let exact = !filter.is_wildcard();
        let subscription = Subscription { filter, options, queue, exact, start };
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(free) if self.by_queue.len() < self.slots.len() => {
                if let Some(place) = self.slots.get_mut(free) {
                    *place = Some(subscription);
                }
                free
            }
            _ => {
                self.slots.push(Some(subscription));
                self.slots.len().saturating_sub(1)
            }
        };
        let at = self.by_queue.partition_point(|(id, _)| *id < queue);
        self.by_queue.insert(at, (queue, u32::try_from(slot).unwrap_or(u32::MAX)));
    }

    /// Removes a subscription. The overflow queue goes with the last wildcard that it concerned.
    pub(super) fn remove(&mut self, queue: QueueId) -> Option<Subscription> {
        let at = self.by_queue.binary_search_by_key(&queue, |(id, _)| *id).ok()?;
        let (_, slot) = self.by_queue.remove(at);
        let removed = self.slots.get_mut(usize::try_from(slot).ok()?)?.take();
        if !self.iter().any(|(_, subscription)| may_overflow(&subscription.filter)) {
            self.overflow = None;
        }
        removed
    }

    /// The subscriptions that queues stand for; `None` if none of them is ours (any more).
    pub(super) fn found(&self, queues: &[QueueId]) -> Option<Found> {
        if let [queue] = queues {
            if Some(*queue) == self.overflow {
                return Some(Found::Any);
            }
            return self.slot(*queue).map(Found::One);
        }
        if queues.iter().any(|queue| Some(*queue) == self.overflow) {
            return Some(Found::Any);
        }
        let slots: SmallVec<[u32; 8]> = queues.iter().filter_map(|queue| self.slot(*queue)).collect();
        match slots.as_slice() {
            [] => None,
            [one] => Some(Found::One(*one)),
            several => Some(Found::Several(several.into())),
        }
    }

    /// The highest QoS at which an entry may be delivered, before its message is known.
    pub(super) fn highest(&self, found: &Found) -> Qos {
        let granted = |slot: &u32| self.at(*slot).map_or(Qos::AtMostOnce, |subscription| subscription.options.qos);
        match found {
            Found::One(slot) => granted(slot),
            Found::Several(slots) => slots.iter().map(granted).max().unwrap_or_default(),
            Found::Any => self.iter().map(|(_, subscription)| subscription.options.qos).max().unwrap_or_default(),
        }
    }

    /// What of the found subscriptions the message is for. `own`: this client published it.
    pub(super) fn matching(
        &self,
        found: &Found,
        shard: ShardId,
        stamp: Stamp,
        message: &Message,
        own: bool,
    ) -> Option<Match> {
        let mut matched: Option<Match> = None;
        let mut consider = |subscription: &Subscription| {
            let options = &subscription.options;
            let due = stamp.position() > subscription.start(shard) && !(own && options.no_local);
            if !due || !subscription.matches(message) {
                return;
            }
            let sum =
                matched.get_or_insert_with(|| Match { qos: Qos::AtMostOnce, keep_retain: false, ids: SmallVec::new() });
            sum.qos = sum.qos.max(options.qos);
            sum.keep_retain |= options.retain_as_published;
            sum.ids.extend(options.id);
        };
        match found {
            Found::One(slot) => self.at(*slot).into_iter().for_each(&mut consider),
            Found::Several(slots) => slots.iter().filter_map(|slot| self.at(*slot)).for_each(&mut consider),
            Found::Any => self.iter().for_each(|(_, subscription)| consider(subscription)),
        }
        matched
    }
}
