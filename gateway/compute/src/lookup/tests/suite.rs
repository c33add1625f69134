//! The built-in lookup is a lookup.

use std::sync::Arc;

use causeway_model::Incarnation;
use futures_util::future::BoxFuture;

use super::net::{Net, map, member};
use crate::double::process;
use crate::lookup::{Settings, Slots};
use crate::port::{Answer, Ask, Lookup, Peer};
use crate::suite::lookup::World;

struct Three(Vec<(Incarnation, Slots)>);

/// Nothing but a gateway's slots.
struct Owner(Slots);

impl Peer for Owner {
    fn answer(&self, asks: Vec<Ask>) -> BoxFuture<'static, Vec<Answer>> {
        let answers = asks.iter().map(|ask| self.0.answer(ask)).collect();
        Box::pin(std::future::ready(answers))
    }
}

impl World for Three {
    fn gateways(&self) -> Vec<Incarnation> {
        self.0.iter().map(|(gateway, _)| *gateway).collect()
    }

    fn lookup(&self, gateway: usize) -> Arc<dyn Lookup> {
        Arc::new(self.0[gateway].1.clone())
    }
}

fn three() -> std::future::Ready<Three> {
    let (net, map) = (Net::new(1), map(1, &[1, 2, 3]));
    let gateways = [1, 2, 3].map(|number| {
        let gateway = member(number).incarnation;
        let slots = Slots::new(gateway, net.peers(gateway), &Settings::default(), &process().metrics.lookup);
        slots.follow(&map);
        net.plug(gateway, Arc::new(Owner(slots.clone())));
        (gateway, slots)
    });
    std::future::ready(Three(gateways.into()))
}

crate::lookup_suite!(three);

#[tokio::test]
async fn of_two_maps_nothing_is_done_and_the_older_one_is_told_so() {
    let Three(gateways) = three().await;
    let (asker, owner) = (&gateways[0].1, &gateways[1].1);
    let entry = |number: u128| crate::port::Whereabout {
        client: causeway_model::QueueId((number * 0x0123_4567_89ab_cdef_0123).to_be_bytes()),
        gateway: gateways[0].0,
        epoch: causeway_model::Epoch::default(),
    };
    let entries: Vec<_> = (0..100).map(entry).collect();
    assert!(asker.put(entries.clone()).await.is_empty());
    let newer = map(2, &[1, 2, 3]);
    assert!(owner.follow(&newer).is_empty(), "no slot has another owner");
    assert!(owner.follow(&map(1, &[1])).is_empty(), "older maps are ignored");
    let kept = owner.len();
    assert!(kept > 0);
    let epoch = map(1, &[]).epoch;
    let asks = [
        Ask::Find { epoch, client: entries[0].client },
        Ask::Enter { epoch, entries: entries.clone() },
        Ask::Leave { epoch, entries: entries.clone() },
        Ask::Forget { epoch, gateway: gateways[0].0, slots: crate::port::SlotSet::ALL },
    ];
    for ask in &asks {
        assert_eq!(owner.answer(ask), Answer::Moved { epoch: newer.epoch });
    }
    assert_eq!(owner.len(), kept);
    let refused = asker.remove(entries.clone()).await;
    assert!(!refused.is_empty(), "those of the other's slots may still be there");
    let found = asker.find(entries.iter().map(|entry| entry.client).collect()).await;
    assert!(found.iter().all(Option::is_none));
    for (_, slots) in &gateways {
        slots.follow(&newer);
    }
    let found = asker.find(entries.iter().map(|entry| entry.client).collect()).await;
    assert_eq!(found.iter().flatten().count(), kept);
}
