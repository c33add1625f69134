//! Packet ids of deliveries, shared by all lanes (MQTT 5.0 §2.2.1).

use causeway_model::PacketId;

/// Hands out ids in a circle, so that a late acknowledgement of an old delivery does not meet a new one. Which ids are
/// in use only the lanes know; it asks them once a gap is used up, not once an id.
#[derive(Debug)]
pub(in crate::session) struct PacketIds {
    next: PacketId,
    /// So many ids from `next` on are known to be free.
    free: u16,
}

impl Default for PacketIds {
    fn default() -> Self {
        Self { next: PacketId::MIN, free: 0 }
    }
}

impl PacketIds {
    /// An id that `used` does not contain; `None` if it contains all of them.
    pub(in crate::session) fn allocate(&mut self, used: impl Iterator<Item = PacketId>) -> Option<PacketId> {
        if self.free == 0 {
            self.find_gap(used.map(PacketId::get).collect())?;
        }
        self.free = self.free.saturating_sub(1);
        let id = self.next;
        self.next = after(id);
        Some(id)
    }

    fn find_gap(&mut self, mut used: Vec<u16>) -> Option<()> {
        used.sort_unstable();
        used.dedup();
        if used.len() >= usize::from(u16::MAX) {
            return None;
        }
        while used.binary_search(&self.next.get()).is_ok() {
            self.next = after(self.next);
        }
        let at = used.partition_point(|id| *id < self.next.get());
        // Without a used id ahead the gap ends where the circle does.
        let end = used.get(at).map_or(u32::from(u16::MAX) + 1, |id| u32::from(*id));
        self.free = u16::try_from(end.saturating_sub(u32::from(self.next.get()))).unwrap_or(1);
        Some(())
    }
}

fn after(id: PacketId) -> PacketId {
    id.checked_add(1).unwrap_or(PacketId::MIN)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn ids_go_round_and_pass_over_those_in_use() {
        let mut ids = PacketIds::default();
        let used = [id(1), id(3), id(65_535)];
        let first: Vec<_> = (0..3).map(|_| ids.allocate(used.iter().copied()).unwrap().get()).collect();
        assert_eq!(first, [2, 4, 5]);
        ids = PacketIds { next: id(65_533), free: 0 };
        let round: Vec<_> = (0..4).map(|_| ids.allocate(used.iter().copied()).unwrap().get()).collect();
        assert_eq!(round, [65_533, 65_534, 2, 4]);
    }

    #[test]
    fn when_all_are_in_use_there_is_none() {
        let all = (1..=u16::MAX).map(id);
        assert_eq!(PacketIds::default().allocate(all), None);
    }

    proptest! {
        #[test]
        fn no_id_is_in_use_twice(start in 1..=u16::MAX, frees in proptest::collection::vec(any::<(u8, u8)>(), 1..400)) {
            let mut ids = PacketIds { next: id(start), free: 0 };
            let mut used: VecDeque<PacketId> = VecDeque::new();
            for (allocate, free) in frees {
                for _ in 0..allocate {
                    let new = ids.allocate(used.iter().copied()).unwrap();
                    prop_assert!(!used.contains(&new));
                    used.push_back(new);
                }
                for turn in 0..free {
                    if !used.is_empty() {
                        used.remove(usize::from(turn) % used.len());
                    }
                }
            }
        }
    }
}
