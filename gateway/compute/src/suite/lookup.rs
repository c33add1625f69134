//! What every lookup does: one of many gateways puts, all find, and no older opening of a session hides a newer one.

use std::sync::Arc;

use causeway_model::{Epoch, Incarnation, Position, QueueId};
use futures_util::future::join_all;

use crate::port::{Lookup, SlotSet, Whereabout};

/// One fresh lookup that several gateways share.
pub trait World: Send + Sync + 'static {
    /// The gateways, at least three. All serve, and can be asked.
    fn gateways(&self) -> Vec<Incarnation>;

    /// The lookup as one of them sees it, by its place in [`World::gateways`].
    fn lookup(&self, gateway: usize) -> Arc<dyn Lookup>;
}

/// Expands to one async test a behaviour. `$fresh` is a path to `async fn() -> impl World`.
#[macro_export]
macro_rules! lookup_suite {
    ($fresh:path) => {
        $crate::lookup_suite! { @each $fresh;
            what_one_gateway_puts_all_find;
            whom_nobody_put_nobody_knows;
            answers_come_in_the_order_of_the_questions;
            an_older_opening_never_replaces_a_newer_one;
            of_one_batch_the_newest_opening_counts;
            a_leave_removes_what_is_not_newer;
            what_was_put_twice_is_gone_once_it_left;
            whoever_puts_at_the_same_time_the_newest_opening_stays;
            a_gateway_that_forgets_and_puts_anew_disturbs_no_other;
            large_batches_are_whole;
            nothing_is_asked_of_nothing;
        }
    };
    (@each $fresh:path; $($name:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let world = $fresh().await;
            $crate::suite::lookup::$name(&world).await;
        }
    )*};
}

/// A client's id, spread over all slots as a keyed hash spreads them.
fn client(number: u64) -> QueueId {
    let word = |salt: u64| (number ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(salt | 1);
    let bytes = u128::from(word(0xa076_1d64_78bd_642f)) << 64 | u128::from(word(0xe703_7ed1_a0b4_28db));
    QueueId(bytes.to_be_bytes())
}

fn entry(number: u64, gateway: Incarnation, epoch: u64) -> Whereabout {
    Whereabout { client: client(number), gateway, epoch: Epoch(Position(epoch)) }
}

async fn put(world: &impl World, by: usize, entries: Vec<Whereabout>) {
    assert_eq!(world.lookup(by).put(entries).await, SlotSet::EMPTY, "all are kept");
}

async fn remove(world: &impl World, by: usize, entries: Vec<Whereabout>) {
    assert_eq!(world.lookup(by).remove(entries).await, SlotSet::EMPTY, "all are gone");
}

async fn find(world: &impl World, by: usize, number: u64) -> Option<Whereabout> {
    let found = world.lookup(by).find(vec![client(number)]).await;
    assert_eq!(found.len(), 1);
    found[0]
}

/// See the name.
pub async fn what_one_gateway_puts_all_find(world: &impl World) {
    let gateways = world.gateways();
    for (by, gateway) in gateways.iter().enumerate() {
        let entries: Vec<_> = (0..50).map(|number| entry(by as u64 * 100 + number, *gateway, 7 + number)).collect();
        put(world, by, entries.clone()).await;
        for asker in 0..gateways.len() {
            let clients = entries.iter().map(|entry| entry.client).collect();
            let expected: Vec<_> = entries.iter().copied().map(Some).collect();
            assert_eq!(world.lookup(asker).find(clients).await, expected);
        }
    }
}

/// See the name.
pub async fn whom_nobody_put_nobody_knows(world: &impl World) {
    put(world, 0, vec![entry(1, world.gateways()[0], 1)]).await;
    for asker in 0..world.gateways().len() {
        assert_eq!(find(world, asker, 2).await, None);
    }
}

/// See the name.
pub async fn answers_come_in_the_order_of_the_questions(world: &impl World) {
    let gateway = world.gateways()[1];
    let known: Vec<_> = (0..100).filter(|number| number % 3 == 0).map(|number| entry(number, gateway, 1)).collect();
    put(world, 1, known.clone()).await;
    let order: Vec<u64> = (0..100).rev().chain([0, 0, 1]).collect();
    let found = world.lookup(2).find(order.iter().map(|number| client(*number)).collect()).await;
    let expected: Vec<_> = order.iter().map(|number| (number % 3 == 0).then(|| entry(*number, gateway, 1))).collect();
    assert_eq!(found, expected);
}

/// See the name.
pub async fn an_older_opening_never_replaces_a_newer_one(world: &impl World) {
    let gateways = world.gateways();
    // Epochs whose bytes order otherwise than their digits, and that differ in one half only.
    let rising = [1, 9, 10, 255, 256, 1 << 32, (1 << 32) + 1, (1 << 53) + 1, u64::MAX - 1];
    for (number, pair) in rising.windows(2).enumerate() {
        let number = number as u64;
        let (old, new) = (entry(number, gateways[0], pair[0]), entry(number, gateways[1], pair[1]));
        put(world, 1, vec![new]).await;
        put(world, 0, vec![old]).await;
        assert_eq!(find(world, 2, number).await, Some(new), "{pair:?}");
        let newer = entry(number, gateways[2], pair[1] + 1);
        put(world, 2, vec![newer]).await;
        assert_eq!(find(world, 0, number).await, Some(newer), "{pair:?}");
    }
}

/// See the name.
pub async fn of_one_batch_the_newest_opening_counts(world: &impl World) {
    let gateway = world.gateways()[0];
    put(world, 0, [3, 9, 5].map(|epoch| entry(1, gateway, epoch)).to_vec()).await;
    assert_eq!(find(world, 1, 1).await, Some(entry(1, gateway, 9)));
}

/// See the name.
pub async fn a_leave_removes_what_is_not_newer(world: &impl World) {
    let gateways = world.gateways();
    let now = entry(1, gateways[1], 5);
    put(world, 1, vec![now]).await;
    remove(world, 0, vec![entry(1, gateways[0], 4)]).await;
    assert_eq!(find(world, 2, 1).await, Some(now), "an older opening left");
    remove(world, 1, vec![now]).await;
    assert_eq!(find(world, 2, 1).await, None);
    put(world, 1, vec![now]).await;
    remove(world, 0, vec![entry(1, gateways[0], 6)]).await;
    assert_eq!(find(world, 2, 1).await, None, "whoever has left had taken the session over from it");
    remove(world, 1, vec![now]).await;
}

/// See the name.
pub async fn what_was_put_twice_is_gone_once_it_left(world: &impl World) {
    let now = entry(1, world.gateways()[0], 5);
    put(world, 0, vec![now]).await;
    put(world, 0, vec![now, now]).await;
    assert_eq!(find(world, 1, 1).await, Some(now));
    remove(world, 0, vec![now]).await;
    assert_eq!(find(world, 1, 1).await, None);
}

/// See the name.
pub async fn whoever_puts_at_the_same_time_the_newest_opening_stays(world: &impl World) {
    let gateways = world.gateways();
    let rounds: u64 = 40;
    let count = gateways.len() as u64;
    let puts = gateways.iter().enumerate().map(|(by, gateway)| async move {
        for round in 0..rounds {
            // Some rise, some fall.
            let turn = if by.is_multiple_of(2) { round } else { rounds - round };
            let entries = (0..20).map(|number| entry(number, *gateway, 1 + turn * count + by as u64)).collect();
            put(world, by, entries).await;
        }
    });
    join_all(puts).await;
    let last = |by: usize| 1 + (if by.is_multiple_of(2) { rounds - 1 } else { rounds }) * count + by as u64;
    let newest = (0..gateways.len()).max_by_key(|by| last(*by)).unwrap();
    for number in 0..20 {
        assert_eq!(find(world, 0, number).await, Some(entry(number, gateways[newest], last(newest))));
    }
}

/// See the name.
pub async fn a_gateway_that_forgets_and_puts_anew_disturbs_no_other(world: &impl World) {
    let gateways = world.gateways();
    let entries = |by: usize| (0..30).map(|n| entry(by as u64 * 100 + n, gateways[by], 3)).collect::<Vec<_>>();
    for by in 0..2 {
        put(world, by, entries(by)).await;
    }
    assert_eq!(world.lookup(0).forget(gateways[0], SlotSet::ALL).await, SlotSet::EMPTY);
    put(world, 0, entries(0)).await;
    for by in 0..2 {
        let clients = entries(by).iter().map(|entry| entry.client).collect();
        let expected: Vec<_> = entries(by).into_iter().map(Some).collect();
        assert_eq!(world.lookup(2).find(clients).await, expected);
    }
}

/// See the name.
pub async fn large_batches_are_whole(world: &impl World) {
    let gateway = world.gateways()[0];
    let entries: Vec<_> = (0..4096).map(|number| entry(number, gateway, 1 + number)).collect();
    put(world, 0, entries.clone()).await;
    let clients: Vec<_> = entries.iter().map(|entry| entry.client).collect();
    let expected: Vec<_> = entries.iter().copied().map(Some).collect();
    assert_eq!(world.lookup(1).find(clients.clone()).await, expected);
    remove(world, 0, entries.clone()).await;
    assert_eq!(world.lookup(1).find(clients).await, vec![None; entries.len()]);
}

/// See the name.
pub async fn nothing_is_asked_of_nothing(world: &impl World) {
    put(world, 0, Vec::new()).await;
    remove(world, 0, Vec::new()).await;
    assert!(world.lookup(0).find(Vec::new()).await.is_empty());
    assert_eq!(world.lookup(0).forget(world.gateways()[0], SlotSet::EMPTY).await, SlotSet::EMPTY);
}
