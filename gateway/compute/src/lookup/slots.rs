//! The built-in lookup: each slot's entries are in the memory of the gateway that owns it under the map.
//!
//! ```text
//!  put, remove, find ─► by slot ─► owner under my map ─┬─ me ─────► table
//!                                                      └─ another ─► Ask, tagged with my map's epoch
//!                                                                       └─► its table, or `Moved`
//! ```
//!
//! An ask and its answer are of one map or nothing was done, so two gateways can never both keep the entry that counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, QueueId};
use futures_util::future::{BoxFuture, join_all};
use parking_lot::RwLock;

use super::reach::Reach;
use super::routes::Routes;
use super::table::Table;
use super::{LookupMetrics, Settings};
use crate::port::{Answer, Ask, Lookup, Map, MapEpoch, Member, Peers, Slot, SlotSet, Whereabout};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Slots(Arc<Inner>);

struct Inner {
    me: Incarnation,
    reach: Arc<Reach>,
    routes: RwLock<Arc<Routes>>,
    table: Table,
}

/// What is handed to each owner.
type ByOwner<'a, T> = BTreeMap<Incarnation, (&'a Member, Vec<T>)>;

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("me", &self.0.me).field("entries", &self.0.table.len()).finish_non_exhaustive()
    }
}

impl Slots {
    /// Owns nothing until it is told a map.
    pub fn new(me: Incarnation, peers: Arc<dyn Peers>, settings: &Settings, metrics: &LookupMetrics) -> Self {
        Self::over(me, Reach::new(peers, settings.deadline, metrics.unanswered.clone()), settings, metrics)
    }

    pub(super) fn over(me: Incarnation, reach: Arc<Reach>, settings: &Settings, metrics: &LookupMetrics) -> Self {
        let routes = RwLock::new(Arc::new(Routes::of(&Arc::default())));
        Self(Arc::new(Inner { me, reach, routes, table: Table::new(settings.entries, metrics.entries.clone()) }))
    }

    /// Answers another gateway that takes this one for the owner. Asks that are not the owner's are refused.
    pub fn answer(&self, ask: &Ask) -> Answer {
        self.0.answer(ask)
    }

    /// Entries that this gateway keeps.
    pub fn len(&self) -> usize {
        self.0.table.len()
    }

    /// Whether it keeps none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.0.table.bytes()
    }
}

impl Inner {
    fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read())
    }

    fn answer(&self, ask: &Ask) -> Answer {
        let (Ask::Enter { epoch: asked, .. }
        | Ask::Leave { epoch: asked, .. }
        | Ask::Forget { epoch: asked, .. }
        | Ask::Find { epoch: asked, .. }) = ask
        else {
            return Answer::Refused;
        };
        let epoch = self.routes.read().epoch();
        if *asked != epoch {
            return Answer::Moved { epoch };
        }
        let done = match ask {
            Ask::Enter { entries, .. } => entries.iter().try_for_each(|entry| self.table.put(entry)).is_ok(),
            Ask::Leave { entries, .. } => entries.iter().try_for_each(|entry| self.table.remove(entry)).is_ok(),
            Ask::Forget { gateway, slots, .. } => self.table.forget(*gateway, *slots).is_empty(),
            Ask::Find { client, .. } => {
                return self.table.find(*client).map_or(Answer::Moved { epoch }, Answer::Found);
            }
            Ask::Where(_) | Ask::Kick { .. } | Ask::Page { .. } => return Answer::Refused,
        };
        // Not mine although the map says so: it is moving right now.
        if done { Answer::Done } else { Answer::Moved { epoch } }
    }

    /// Hands items to the owners of their slots, all at the same time: the slots of those that were not taken.
    async fn hand<T>(
        &self,
        items: Vec<T>,
        slot: impl Fn(&T) -> Slot,
        here: impl Fn(&T) -> bool,
        ask: impl Fn(MapEpoch, Vec<T>) -> Ask,
    ) -> SlotSet {
        let routes = self.routes();
        let mut refused = SlotSet::EMPTY;
        let mut others: ByOwner<'_, T> = BTreeMap::new();
        for item in items {
            let Some(owner) = routes.owner(slot(&item)) else { continue };
            if owner.incarnation != self.me {
                others.entry(owner.incarnation).or_insert_with(|| (owner, Vec::new())).1.push(item);
            } else if !here(&item) {
                refused.insert(slot(&item));
            }
        }
        let asks = others.into_values().map(|(owner, items)| {
            let slots: SlotSet = items.iter().map(&slot).collect();
            let ask = ask(routes.epoch(), items);
            async move { if self.tell(owner, ask).await { SlotSet::EMPTY } else { slots } }
        });
        join_all(asks).await.into_iter().fold(refused, SlotSet::or)
    }

    async fn tell(&self, owner: &Member, ask: Ask) -> bool {
        if self.reach.is_silent(owner.incarnation) {
            return false;
        }
        self.reach.ask(owner, vec![ask]).await.is_ok_and(|answers| answers == [Answer::Done])
    }

    async fn find(&self, clients: Vec<QueueId>) -> Vec<Option<Whereabout>> {
        let routes = self.routes();
        let mut found = vec![None; clients.len()];
        let mut others: ByOwner<'_, (usize, QueueId)> = BTreeMap::new();
        for ((place, client), known) in clients.into_iter().enumerate().zip(&mut found) {
            let Some(owner) = routes.owner(Slot::of(client)) else { continue };
            if owner.incarnation == self.me {
                *known = self.table.find(client).ok().flatten();
            } else if !self.reach.is_silent(owner.incarnation) {
                others.entry(owner.incarnation).or_insert_with(|| (owner, Vec::new())).1.push((place, client));
            }
        }
        let epoch = routes.epoch();
        let asks = others.into_values().map(|(owner, clients)| async move {
            let asks = clients.iter().map(|(_, client)| Ask::Find { epoch, client: *client }).collect();
            (self.reach.ask(owner, asks).await.unwrap_or_default(), clients)
        });
        for (answers, clients) in join_all(asks).await {
            for (answer, (place, client)) in answers.into_iter().zip(clients) {
                if let (Answer::Found(Some(entry)), Some(known)) = (answer, found.get_mut(place)) {
                    *known = Some(entry).filter(|entry| entry.client == client);
                }
            }
        }
        // An entry of a gateway that is gone may not be swept yet.
        for known in &mut found {
            *known = known.take().filter(|entry| routes.map().member(entry.gateway).is_some());
        }
        found
    }
}

impl Lookup for Slots {
    fn put(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let here = |entry: &Whereabout| this.table.put(entry).is_ok();
            this.hand(entries, slot, here, |epoch, entries| Ask::Enter { epoch, entries }).await
        })
    }

    fn remove(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let here = |entry: &Whereabout| this.table.remove(entry).is_ok();
            this.hand(entries, slot, here, |epoch, entries| Ask::Leave { epoch, entries }).await
        })
    }

    fn find(&self, clients: Vec<QueueId>) -> BoxFuture<'static, Vec<Option<Whereabout>>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.find(clients).await })
    }

    fn forget(&self, gateway: Incarnation, slots: SlotSet) -> BoxFuture<'static, SlotSet> {
        let this = Arc::clone(&self.0);
        Box::pin(async move {
            let one = |slot: &Slot| [*slot].into_iter().collect::<SlotSet>();
            let here = |slot: &Slot| this.table.forget(gateway, one(slot)).is_empty();
            let ask = |epoch, slots: Vec<Slot>| Ask::Forget { epoch, gateway, slots: slots.into_iter().collect() };
            this.hand(slots.iter().collect(), |slot| *slot, here, ask).await
        })
    }

    fn follow(&self, map: &Arc<Map>) -> SlotSet {
        let mut current = self.0.routes.write();
        if map.epoch <= current.epoch() {
            return SlotSet::EMPTY;
        }
        let routes = Arc::new(Routes::of(map));
        let moved = routes.moved_from(&current);
        *current = Arc::clone(&routes);
        drop(current);
        self.0.reach.follow(map);
        // After the routes: from here on an ask of an older map is refused, and one of this map waits for its slot.
        self.0.table.own(routes.owned_by(self.0.me), |gateway| map.member(gateway).is_some());
        moved
    }

    fn refresh(&self) -> Option<Duration> {
        None
    }
}

fn slot(entry: &Whereabout) -> Slot {
    Slot::of(entry.client)
}
