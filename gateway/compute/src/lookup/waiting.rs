//! Kicks that wait for the gateway they are for: for one that is silent until it answers again, for one that the map does
//! not name yet for a while. They go when their gateway leaves the map: its connections have gone with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId};
use prometheus::IntCounter;
use tokio::time::Instant;

use crate::port::{Map, Member};
use crate::registry::Kick;

/// Kicks that wait for one gateway, 48 bytes each; over it the oldest are dropped.
const BOUND: usize = 16 << 10;

/// How long a gateway may be unknown, a few beats: its clients may come here before its name does. One that is gone
/// never comes.
const UNKNOWN: Duration = Duration::from_secs(30);

/// A kick for some gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) came: Instant,
    pub(super) client: QueueId,
    /// Only a connection whose session was opened here or earlier.
    pub(super) upto: Epoch,
    pub(super) why: Kick,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Waiting {
    map: Arc<Map>,
    gateways: BTreeMap<Incarnation, Queue>,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Queue {
    /// The oldest first.
    orders: VecDeque<Order>,
    /// Some of them are on their way.
    told: bool,
}

impl Waiting {
    pub(super) fn new(map: Arc<Map>, dropped: IntCounter) -> Self {
        Self { map, gateways: BTreeMap::new(), dropped }
    }

    /// Forgets gateways that have left the map, and those that did not come into it for too long.
    pub(super) fn follow(&mut self, map: &Arc<Map>, now: Instant) {
        let before = std::mem::replace(&mut self.map, Arc::clone(map));
        self.gateways.retain(|gateway, queue| {
            if map.member(*gateway).is_some() {
                return true;
            }
            let young = |order: &Order| now.saturating_duration_since(order.came) < UNKNOWN;
            before.member(*gateway).is_none() && queue.orders.back().is_some_and(young)
        });
    }

    pub(super) fn put(&mut self, gateway: Incarnation, order: Order) {
        let queue = self.gateways.entry(gateway).or_default();
        if queue.orders.len() == BOUND {
            queue.orders.pop_front();
            self.dropped.inc();
        }
        queue.orders.push_back(order);
    }

    /// Up to `most` of the oldest for each gateway that can be told. It is told no more of them until this is settled.
    pub(super) fn take(&mut self, most: usize, reached: impl Fn(Incarnation) -> bool) -> Vec<(Member, Vec<Order>)> {
        let mut taken = Vec::new();
        for (gateway, queue) in &mut self.gateways {
            let Some(member) = self.map.member(*gateway) else { continue };
            if !queue.told && reached(*gateway) {
                queue.told = true;
                let some = queue.orders.len().min(most);
                taken.push((member.clone(), queue.orders.drain(..some).collect()));
            }
        }
        taken
    }

    /// The gateway was told; what it did not hear comes back, as far as there is room for what is older.
    pub(super) fn settle(&mut self, gateway: Incarnation, again: Vec<Order>) {
        let Some(queue) = self.gateways.get_mut(&gateway) else { return };
        queue.told = false;
        let room = BOUND.saturating_sub(queue.orders.len());
        self.dropped.inc_by(again.len().saturating_sub(room) as u64);
        for order in again.into_iter().rev().take(room) {
            queue.orders.push_front(order);
        }
        if queue.orders.is_empty() {
            self.gateways.remove(&gateway);
        }
    }

    /// When somebody can be told again; `None`: nobody waits who is not being told already.
    pub(super) fn due(&self, silent_until: impl Fn(Incarnation) -> Option<Instant>) -> Option<Instant> {
        let now = Instant::now();
        let idle = self.gateways.iter().filter(|(_, queue)| !queue.told).map(|(gateway, _)| *gateway);
        let known = idle.filter(|gateway| self.map.member(*gateway).is_some());
        known.map(|gateway| silent_until(gateway).unwrap_or(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use causeway_model::Position;

    use super::*;
    use crate::port::MapEpoch;

    const THERE: Incarnation = Incarnation(9);

    fn map(change: u64, gateways: &[u128]) -> Arc<Map> {
        let member = |gateway: &u128| Member { incarnation: Incarnation(*gateway), name: "g".into(), address: None };
        Arc::new(Map { epoch: MapEpoch { term: 1, change }, members: gateways.iter().map(member).collect() })
    }

    fn waiting(map: Arc<Map>) -> Waiting {
        Waiting::new(map, IntCounter::new("dropped", "test").unwrap())
    }

    fn order(came: Instant, upto: u64) -> Order {
        Order { came, client: QueueId([1; 16]), upto: Epoch(Position(upto)), why: Kick::TakenOver }
    }

    fn taken(waiting: &mut Waiting) -> Vec<u64> {
        let taken = waiting.take(usize::MAX, |_| true);
        taken.into_iter().flat_map(|(_, orders)| orders).map(|order| order.upto.0.0).collect()
    }

    #[test]
    fn of_too_many_the_newest_stay_in_order() {
        let (now, mut waiting) = (Instant::now(), waiting(map(1, &[9])));
        let bound = BOUND as u64;
        (0..bound + 3).for_each(|upto| waiting.put(THERE, order(now, upto)));
        let first = waiting.take(5, |_| true).remove(0).1;
        assert_eq!(first.iter().map(|order| order.upto.0.0).collect::<Vec<_>>(), [3, 4, 5, 6, 7]);
        assert!(taken(&mut waiting).is_empty(), "it is being told");
        assert_eq!(waiting.due(|_| None), None);
        (bound + 3..bound + 6).for_each(|upto| waiting.put(THERE, order(now, upto)));
        waiting.settle(THERE, first);
        assert_eq!(waiting.due(|_| Some(now)), Some(now));
        assert_eq!(taken(&mut waiting), (6..bound + 6).collect::<Vec<_>>());
        assert_eq!(waiting.dropped.get(), 6);
        waiting.settle(THERE, Vec::new());
        assert!(waiting.gateways.is_empty());
    }

    #[test]
    fn who_leaves_the_map_is_forgotten_and_who_is_not_in_it_yet_is_waited_for() {
        let (start, mut waiting) = (Instant::now(), waiting(map(1, &[9])));
        waiting.put(THERE, order(start, 1));
        waiting.put(Incarnation(8), order(start, 2));
        waiting.follow(&map(2, &[]), start);
        waiting.follow(&map(3, &[8, 9]), start + UNKNOWN / 2);
        assert_eq!(taken(&mut waiting), [2]);
        waiting.settle(Incarnation(8), Vec::new());
        waiting.put(Incarnation(7), order(start, 3));
        assert_eq!(waiting.due(|_| None), None, "nobody can be told");
        waiting.follow(&map(4, &[8, 9]), start + UNKNOWN);
        waiting.follow(&map(5, &[7, 8, 9]), start + UNKNOWN);
        assert!(taken(&mut waiting).is_empty());
    }
}
