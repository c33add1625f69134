//! Which gateway holds a client: a hint, kept by whoever is quick to ask. Its behaviour is defined by
//! `suite::lookup`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId};
use futures_util::future::BoxFuture;

use super::Map;

/// One entry: a client's session was opened at a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabout {
    /// The id of the client's queue.
    pub client: QueueId,
    /// Where.
    pub gateway: Incarnation,
    /// By which opening; a later one of the same client is greater.
    pub epoch: Epoch,
}

/// Which gateway holds a client.
///
/// Every answer is a hint: whoever acts on it asks the gateway that it names, and everybody if it names none. So an
/// implementation may forget anything at any time; what it must not do is let an older opening hide a newer one.
/// Calls never fail: what could not be kept is said, what is not known is `None`. Callers bring batches of at most a
/// few thousand.
pub trait Lookup: Send + Sync + 'static {
    /// Keeps entries of clients that came; the order among several of one client does not matter, the newest counts.
    /// The slots of those that could not be kept: put all clients of these slots again later.
    fn put(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet>;

    /// Removes entries of clients that went, unless they are of a newer opening. The slots of those that may still be
    /// there.
    fn remove(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet>;

    /// One answer a client, in order.
    fn find(&self, clients: Vec<QueueId>) -> BoxFuture<'static, Vec<Option<Whereabout>>>;

    /// Removes a gateway's entries in some slots: it is about to put its clients anew. The slots where this could not
    /// be done. Where entries expire there is nothing to do.
    fn forget(&self, gateway: Incarnation, slots: SlotSet) -> BoxFuture<'static, SlotSet>;

    /// Tells it who serves now; maps older than the last are ignored. The slots whose clients have to be put again.
    fn follow(&self, map: &Arc<Map>) -> SlotSet;

    /// How often all entries have to be put again, since they expire; `None`: they do not.
    fn refresh(&self) -> Option<Duration>;
}

/// How many slots clients are spread over. Part of what gateways agree on.
pub const SLOTS: usize = 1024;

/// A share of all clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a client, by the id of its queue.
    pub fn of(client: QueueId) -> Self {
        // Not from the first half, by which maps of queue ids hash: one slot's clients would meet in few buckets.
        let [.., a, b] = client.0;
        Self(u16::from_be_bytes([a, b]) & MASK)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=MASK).map(Self)
    }

    /// Its number, less than [`SLOTS`].
    pub fn number(self) -> u16 {
        self.0
    }
}

const MASK: u16 = 0x3ff;

/// Some of the slots: a bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotSet([u64; SLOTS / 64]);

impl SlotSet {
    /// None.
    pub const EMPTY: Self = Self([0; SLOTS / 64]);
    /// All.
    pub const ALL: Self = Self([u64::MAX; SLOTS / 64]);

    /// The words of a set, the lowest slots first; `None` if they are not as many as there should be.
    pub fn from_words(words: &[u64]) -> Option<Self> {
        words.try_into().ok().map(Self)
    }

    /// As it travels.
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Adds a slot.
    pub fn insert(&mut self, slot: Slot) {
        if let Some(word) = self.0.get_mut(usize::from(slot.0 / 64)) {
            *word |= 1 << (slot.0 % 64);
        }
    }

    /// Whether a slot is in it.
    pub fn contains(&self, slot: Slot) -> bool {
        self.0.get(usize::from(slot.0 / 64)).is_some_and(|word| word & 1 << (slot.0 % 64) != 0)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Those of either.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
        self
    }

    /// Those that are not in another.
    #[must_use]
    pub fn without(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
        self
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> {
        Slot::all().filter(|slot| self.contains(*slot))
    }
}

impl Extend<Slot> for SlotSet {
    fn extend<I: IntoIterator<Item = Slot>>(&mut self, slots: I) {
        slots.into_iter().for_each(|slot| self.insert(slot));
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(slots);
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({} of {SLOTS})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in_it() {
        let slots: Vec<_> = Slot::all().filter(|slot| slot.number() % 7 == 3).collect();
        let set: SlotSet = slots.iter().copied().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), slots);
        assert_eq!(set.len() as usize, slots.len());
        let rest = SlotSet::ALL.without(set);
        assert!(rest.iter().all(|slot| !slots.contains(&slot)));
        assert_eq!(rest.or(set), SlotSet::ALL);
        assert_eq!(SlotSet::ALL.len() as usize, SLOTS);
        assert!(SlotSet::EMPTY.is_empty() && SlotSet::ALL.without(SlotSet::ALL).is_empty());
        assert_eq!(SlotSet::from_words(set.words()), Some(set));
        assert_eq!(SlotSet::from_words(&[0; 3]), None);
    }

    #[test]
    fn slots_are_frozen() {
        let client = QueueId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xff, 0x42]);
        assert_eq!(Slot::of(client).number(), 0x342);
    }
}
