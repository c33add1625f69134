//! The entries of the slots that this gateway owns, in memory: a map and a lock a slot.
//!
//! Ownership is kept under the slot's lock, so that an entry which comes while the map moves can never stay in a slot
//! that is owned no more.

use causeway_model::{Epoch, Incarnation, Position, QueueId, QueueIdMap};
use parking_lot::Mutex;
use prometheus::IntGauge;

use crate::port::{Slot, SlotSet, Whereabout};

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Mutex<Owned>>,
    /// How many entries there are, shown as it is counted.
    count: IntGauge,
    bound: usize,
}

#[derive(Debug, Default)]
struct Owned {
    mine: bool,
    entries: QueueIdMap<At>,
}

/// Bytes, not integers of 16: with the client's id an entry is 40 bytes, and no byte of it is padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    gateway: [u8; 16],
    epoch: u64,
}

/// The slot is not this gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotMine;

/// A slot's map keeps its room until it is used to less than one part in so many.
const SPARSE: usize = 8;

impl Table {
    /// Owns nothing yet; keeps up to `bound` entries.
    pub(super) fn new(bound: usize, count: IntGauge) -> Self {
        Self { slots: Slot::all().map(|_| Mutex::default()).collect(), count, bound }
    }

    /// Owns these slots and no others: entries of those that are lost go, as do those of gateways that are gone.
    pub(super) fn own(&self, mine: SlotSet, serves: impl Fn(Incarnation) -> bool) {
        for (slot, owned) in Slot::all().zip(&self.slots) {
            let mut owned = owned.lock();
            owned.mine = mine.contains(slot);
            if owned.mine {
                self.retain(&mut owned, |at| serves(at.gateway()));
            } else {
                self.count.sub(signed(owned.entries.len()));
                owned.entries = QueueIdMap::default();
            }
        }
    }

    /// Keeps an entry unless a newer one is there, or the table is full.
    pub(super) fn put(&self, entry: &Whereabout) -> Result<(), NotMine> {
        let full = self.len() >= self.bound;
        let mut owned = self.slot(Slot::of(entry.client))?.lock();
        if !owned.mine {
            return Err(NotMine);
        }
        let at = At { gateway: entry.gateway.0.to_be_bytes(), epoch: entry.epoch.0.0 };
        match owned.entries.get_mut(&entry.client) {
            Some(known) if known.epoch > at.epoch => {}
            Some(known) => *known = at,
            None if full => {}
            None => {
                owned.entries.insert(entry.client, at);
                self.count.inc();
            }
        }
        Ok(())
    }

    /// Removes an entry unless it is of a newer opening.
    pub(super) fn remove(&self, entry: &Whereabout) -> Result<(), NotMine> {
        let mut owned = self.slot(Slot::of(entry.client))?.lock();
        if !owned.mine {
            return Err(NotMine);
        }
        if owned.entries.get(&entry.client).is_some_and(|known| known.epoch <= entry.epoch.0.0) {
            owned.entries.remove(&entry.client);
            self.count.dec();
            owned.settle();
        }
        Ok(())
    }

    /// The entry of a client.
    pub(super) fn find(&self, client: QueueId) -> Result<Option<Whereabout>, NotMine> {
        let owned = self.slot(Slot::of(client))?.lock();
        if !owned.mine {
            return Err(NotMine);
        }
        let entry = |at: &At| Whereabout { client, gateway: at.gateway(), epoch: Epoch(Position(at.epoch)) };
        Ok(owned.entries.get(&client).map(entry))
    }

    /// Removes a gateway's entries in some slots; those that are not this gateway's.
    pub(super) fn forget(&self, gateway: Incarnation, slots: SlotSet) -> SlotSet {
        let mut others = SlotSet::EMPTY;
        for (slot, owned) in Slot::all().zip(&self.slots).filter(|(slot, _)| slots.contains(*slot)) {
            let mut owned = owned.lock();
            if owned.mine {
                self.retain(&mut owned, |at| at.gateway() != gateway);
            } else {
                others.insert(slot);
            }
        }
        others
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        usize::try_from(self.count.get()).unwrap_or(0)
    }

    /// Bytes that the entries take with the room that their maps keep, from the capacity and the layout of the standard
    /// library's map: a power of two of places, at most seven in eight used, a byte of control each and 16 more a map.
    pub(super) fn bytes(&self) -> usize {
        let place = size_of::<(QueueId, At)>() + 1;
        let bytes = |capacity: usize| match capacity {
            0 => 0,
            1..=3 => 4 * place + 16,
            4..=7 => 8 * place + 16,
            _ => (capacity * 8 / 7).next_power_of_two() * place + 16,
        };
        let maps: usize = self.slots.iter().map(|owned| bytes(owned.lock().entries.capacity())).sum();
        maps + self.slots.len() * size_of::<Mutex<Owned>>()
    }

    fn slot(&self, slot: Slot) -> Result<&Mutex<Owned>, NotMine> {
        self.slots.get(usize::from(slot.number())).ok_or(NotMine)
    }

    fn retain(&self, owned: &mut Owned, keep: impl Fn(&At) -> bool) {
        let before = owned.entries.len();
        owned.entries.retain(|_, at| keep(at));
        self.count.sub(signed(before - owned.entries.len()));
        owned.settle();
    }
}

impl Owned {
    /// Gives room back that many entries have left.
    fn settle(&mut self) {
        let (used, room) = (self.entries.len(), self.entries.capacity());
        if room > 8 && used * SPARSE < room {
            self.entries.shrink_to(used * 2);
        }
    }
}

impl At {
    fn gateway(&self) -> Incarnation {
        Incarnation(u128::from_be_bytes(self.gateway))
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn table(bound: usize) -> Table {
        let table = Table::new(bound, IntGauge::new("entries", "test").unwrap());
        table.own(SlotSet::ALL, |_| true);
        table
    }

    fn entry(client: u128, gateway: u128, epoch: u64) -> Whereabout {
        let client = QueueId(client.to_be_bytes());
        Whereabout { client, gateway: Incarnation(gateway), epoch: Epoch(Position(epoch)) }
    }

    #[test]
    fn an_entry_takes_at_most_a_hundred_bytes_however_many_there_are() {
        let table = table(usize::MAX);
        let mut rng = StdRng::seed_from_u64(1);
        let (mut worst, mut count) = (0, 0);
        while count < 1_000_000 {
            count += 1;
            table.put(&entry(rng.random(), 1, 1)).unwrap();
            // Maps double at about the same time, when each is seven eighths full: looked at often enough to meet it.
            if count % 20_000 == 0 && count >= 100_000 {
                worst = worst.max(table.bytes() / count);
            }
        }
        assert_eq!(table.len(), count);
        println!("an entry: {} bytes at {count}, {worst} at worst", table.bytes() / count);
        assert!(worst <= 100, "{worst}");
    }

    #[test]
    fn room_is_given_back() {
        let table = table(usize::MAX);
        let mut rng = StdRng::seed_from_u64(1);
        let entries: Vec<_> = (0..200_000).map(|_| entry(rng.random(), 1, 1)).collect();
        for entry in &entries {
            table.put(entry).unwrap();
        }
        let full = table.bytes();
        entries.iter().skip(100).for_each(|entry| table.remove(entry).unwrap());
        assert_eq!(table.len(), 100);
        assert!(table.bytes() < full / 10, "{} of {full}", table.bytes());
        assert!(entries.iter().take(100).all(|entry| table.find(entry.client) == Ok(Some(*entry))));
    }

    #[test]
    fn a_full_table_keeps_what_it_has_and_takes_newer_openings() {
        let table = table(2);
        for client in 1..=3 {
            table.put(&entry(client, 1, 1)).unwrap();
        }
        assert_eq!(table.len(), 2);
        table.put(&entry(1, 2, 5)).unwrap();
        assert_eq!(table.find(entry(1, 0, 0).client), Ok(Some(entry(1, 2, 5))));
        assert_eq!(table.find(entry(3, 0, 0).client), Ok(None));
        table.remove(&entry(2, 1, 1)).unwrap();
        table.put(&entry(3, 1, 1)).unwrap();
        assert_eq!(table.find(entry(3, 0, 0).client), Ok(Some(entry(3, 1, 1))));
    }

    #[test]
    fn what_is_owned_no_more_is_gone_and_refused() {
        let table = table(10);
        let (here, there) = (entry(1, 7, 1), entry(2, 7, 1));
        table.put(&here).unwrap();
        table.put(&there).unwrap();
        let mine: SlotSet = [Slot::of(here.client)].into_iter().collect();
        table.own(mine, |_| true);
        assert_eq!(table.len(), 1);
        assert_eq!(table.find(here.client), Ok(Some(here)));
        assert_eq!(table.find(there.client), Err(NotMine));
        assert_eq!(table.put(&there), Err(NotMine));
        assert_eq!(table.remove(&there), Err(NotMine));
        table.own(SlotSet::ALL, |_| true);
        assert_eq!(table.find(there.client), Ok(None), "it does not come back with the slot");
        table.own(SlotSet::ALL, |gateway| gateway != Incarnation(7));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_gateway_is_forgotten_where_it_asks_for_it() {
        let table = table(10);
        let entries = [entry(1, 7, 1), entry(2, 7, 1), entry(3, 8, 1)];
        for entry in &entries {
            table.put(entry).unwrap();
        }
        let slots: SlotSet = [1, 3].map(|client| Slot::of(entry(client, 0, 0).client)).into_iter().collect();
        assert!(table.forget(Incarnation(7), slots).is_empty());
        let found = entries.map(|entry| table.find(entry.client).unwrap().is_some());
        assert_eq!(found, [false, true, true]);
        table.own(SlotSet::EMPTY, |_| true);
        assert_eq!(table.forget(Incarnation(7), slots), slots);
    }
}
