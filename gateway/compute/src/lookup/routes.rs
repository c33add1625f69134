//! Which gateway owns a slot: a pure function of the map's members, so that nobody has to be told.
//!
//! Rendezvous hashing: each slot goes to the member that weighs most for it. A member that comes takes its share from
//! all others evenly, one that goes leaves its share to all others; no other slot moves.

use std::sync::Arc;

use causeway_model::Incarnation;

use crate::port::{Map, MapEpoch, Member, SLOTS, Slot, SlotSet};

/// The member that owns a slot; `None` where nobody can be asked for it.
///
/// The order of the members does not matter. Those without an address own nothing, since others cannot ask them.
pub fn owner_of(slot: Slot, members: &[Member]) -> Option<&Member> {
    let asked = members.iter().filter(|member| member.address.is_some());
    asked.max_by_key(|member| (weight(slot, member.incarnation), member.incarnation))
}

/// Part of what gateways agree on: frozen.
fn weight(slot: Slot, gateway: Incarnation) -> u64 {
    let [low, high] = [gateway.0, gateway.0 >> 64].map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(0));
    mix(mix(low).wrapping_add(mix(high ^ u64::from(slot.number()).wrapping_mul(0x9e37_79b9_7f4a_7c15))))
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014): every bit of the input moves half of the output's.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The owners of all slots under one map.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    map: Arc<Map>,
    /// A place in the map's members, by slot.
    owners: Vec<Option<usize>>,
}

impl Routes {
    /// Owners under a map. A gateway that is the only one needs no owner: its registry knows.
    pub(super) fn of(map: &Arc<Map>) -> Self {
        let owner = |slot| {
            let owner = owner_of(slot, &map.members)?.incarnation;
            map.members.iter().position(|member| member.incarnation == owner)
        };
        let owners = if map.members.len() > 1 { Slot::all().map(owner).collect() } else { vec![None; SLOTS] };
        Self { map: Arc::clone(map), owners }
    }

    pub(super) fn epoch(&self) -> MapEpoch {
        self.map.epoch
    }

    pub(super) fn map(&self) -> &Map {
        &self.map
    }

    pub(super) fn owner(&self, slot: Slot) -> Option<&Member> {
        let place = self.owners.get(usize::from(slot.number())).copied().flatten()?;
        self.map.members.get(place)
    }

    /// The slots whose owner is another than before, and that have one.
    pub(super) fn moved_from(&self, before: &Self) -> SlotSet {
        let owner = |routes: &Self, slot| routes.owner(slot).map(|member| member.incarnation);
        Slot::all().filter(|slot| owner(self, *slot).is_some_and(|now| owner(before, *slot) != Some(now))).collect()
    }

    /// The slots that a gateway owns.
    pub(super) fn owned_by(&self, gateway: Incarnation) -> SlotSet {
        Slot::all().filter(|slot| self.owner(*slot).is_some_and(|member| member.incarnation == gateway)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn member(incarnation: u128) -> Member {
        let address = Some("127.0.0.1:7400".into());
        Member { incarnation: Incarnation(incarnation), name: "g".into(), address }
    }

    fn map(incarnations: &[u128]) -> Arc<Map> {
        let epoch = MapEpoch { term: 1, change: 1 };
        Arc::new(Map { epoch, members: incarnations.iter().copied().map(member).collect() })
    }

    #[test]
    fn owners_are_frozen() {
        let members: Vec<_> =
            [1, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677].into_iter().map(member).collect();
        let owners: Vec<_> = Slot::all()
            .step_by(100)
            .map(|slot| members.iter().position(|member| Some(member) == owner_of(slot, &members)).unwrap())
            .collect();
        assert_eq!(owners, GOLDEN);
    }

    const GOLDEN: [usize; 11] = [1, 2, 2, 0, 2, 1, 1, 1, 0, 2, 2];

    #[test]
    fn who_is_alone_or_cannot_be_asked_owns_nothing() {
        assert!(Routes::of(&map(&[7])).owned_by(Incarnation(7)).is_empty());
        let mut two = Map::clone(&map(&[7, 8]));
        two.members[0].address = None;
        let routes = Routes::of(&Arc::new(two));
        assert!(routes.owned_by(Incarnation(7)).is_empty());
        assert_eq!(routes.owned_by(Incarnation(8)), SlotSet::ALL);
    }

    #[test]
    fn slots_move_from_nobody_to_somebody_and_back() {
        let (none, one) = (Routes::of(&map(&[])), Routes::of(&map(&[1])));
        let two = Routes::of(&map(&[1, 2]));
        assert_eq!(two.moved_from(&none), SlotSet::ALL);
        assert_eq!(two.moved_from(&one), SlotSet::ALL);
        assert!(one.moved_from(&two).is_empty(), "nobody owns them: nobody is told");
        assert!(two.moved_from(&two.clone()).is_empty());
    }

    proptest! {
        #[test]
        fn slots_are_spread_evenly(incarnations in prop::collection::hash_set(any::<u128>(), 2..20)) {
            let members: Vec<_> = incarnations.into_iter().map(member).collect();
            let mut shares: HashMap<_, usize> = HashMap::new();
            for slot in Slot::all() {
                *shares.entry(owner_of(slot, &members).unwrap().incarnation).or_default() += 1;
            }
            // Five times the deviation of a fair draw.
            let fair = SLOTS / members.len();
            let spread = 5 * (fair.isqrt() + 1);
            for member in &members {
                let share = shares.get(&member.incarnation).copied().unwrap_or(0);
                prop_assert!(share.abs_diff(fair) <= spread, "{share} of {fair}");
            }
        }

        #[test]
        fn only_slots_of_whoever_comes_or_goes_move(
            incarnations in prop::collection::hash_set(any::<u128>(), 3..12),
            rotate in 0_usize..12,
        ) {
            let all: Vec<_> = incarnations.into_iter().map(member).collect();
            let (gone, rest) = all.split_first().unwrap();
            let mut turned = all.clone();
            turned.rotate_left(rotate % all.len());
            for slot in Slot::all() {
                let with = owner_of(slot, &all).unwrap();
                prop_assert_eq!(owner_of(slot, &turned).unwrap(), with, "the order does not matter");
                if with != gone {
                    prop_assert_eq!(owner_of(slot, rest).unwrap(), with);
                }
            }
        }
    }
}
