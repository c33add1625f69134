//! Tells the lookup who came and who went: one task, batch by batch, a batch being what happened during the last one.
//!
//! ```text
//!  a client came, went ─► Registry::changes ─► put, remove ──refused──► its slot is dirty
//!  the map moved ─► Lookup::follow ─► slots with another owner are dirty        │
//!  entries expire ─► all slots are dirty                                        ▼
//!                        dirty: forget them, then put their clients from the registry, page by page
//! ```
//!
//! Nothing is remembered of what failed but which slots: what is in the registry then is what has to be there. Changes
//! go on between the pages, so that nobody waits for a map that moves.

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, QueueId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::LookupMetrics;
use super::reach::Reach;
use crate::port::{Lookup, Map, MapEpoch, Slot, SlotSet, Whereabout};
use crate::registry::Registry;

/// Changes of one call.
const BATCH: usize = 1024;
/// Connections that are looked at at once.
const PAGE: usize = 4096;
/// Before slots that were refused are tried again; it doubles while they are.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Feed {
    me: Incarnation,
    registry: Arc<Registry>,
    lookup: Arc<dyn Lookup>,
    reach: Arc<Reach>,
    map: watch::Receiver<Arc<Map>>,
    followed: Option<MapEpoch>,
    /// There are others, so there is somebody to tell.
    among_others: bool,
    /// Whether a map that is followed names this gateway.
    listed: watch::Sender<bool>,
    dirty: SlotSet,
    walk: Option<Walk>,
    /// Dirty slots are left alone until then.
    retry: Option<Instant>,
    pause: Duration,
    refresh: Option<Instant>,
    metrics: LookupMetrics,
}

/// Going through everybody who is connected.
struct Walk {
    slots: SlotSet,
    after: Option<QueueId>,
}

impl Feed {
    pub(super) fn new(
        me: Incarnation,
        registry: Arc<Registry>,
        lookup: Arc<dyn Lookup>,
        reach: Arc<Reach>,
        map: watch::Receiver<Arc<Map>>,
        metrics: LookupMetrics,
    ) -> (Self, watch::Receiver<bool>) {
        let (listed, seen) = watch::channel(false);
        let (dirty, walk) = (SlotSet::EMPTY, None);
        let this = Self {
            me,
            registry,
            lookup,
            reach,
            map,
            followed: None,
            among_others: false,
            listed,
            dirty,
            walk,
            retry: None,
            pause: FIRST_PAUSE,
            refresh: None,
            metrics,
        };
        (this, seen)
    }

    /// Until the map has no writer any more.
    pub(super) async fn run(mut self) {
        loop {
            self.follow();
            let told = self.among_others && (self.changes().await | self.clean().await | self.step().await);
            if told {
                // A gateway with many changes shares its worker all the same.
                tokio::task::yield_now().await;
                continue;
            }
            let timer = [self.retry, self.refresh].into_iter().flatten().min();
            let timer = async {
                match timer {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                moved = self.map.changed() => {
                    if moved.is_err() {
                        return;
                    }
                }
                () = self.registry.changed() => {}
                () = timer => {}
            }
        }
    }

    fn follow(&mut self) {
        let map = Arc::clone(&self.map.borrow_and_update());
        if self.followed.is_some_and(|followed| map.epoch <= followed) {
            return;
        }
        self.followed = Some(map.epoch);
        self.reach.follow(&map);
        let moved = self.lookup.follow(&map);
        self.among_others = map.members.iter().any(|member| member.incarnation != self.me);
        self.registry.follow(self.among_others);
        if self.among_others {
            self.dirty = self.dirty.or(moved);
            (self.retry, self.pause) = (None, FIRST_PAUSE);
            self.refresh = self.lookup.refresh().map(|every| Instant::now() + every);
        } else {
            (self.dirty, self.walk, self.retry, self.refresh) = (SlotSet::EMPTY, None, None, None);
        }
        if map.member(self.me).is_some() {
            self.listed.send_replace(true);
        }
    }

    /// Hands on a batch of what has changed; whether there was any.
    async fn changes(&mut self) -> bool {
        let taken = self.registry.changes(BATCH);
        if taken.lost {
            self.dirty = SlotSet::ALL;
        }
        let any = taken.lost || !taken.list.is_empty();
        let gateway = self.me;
        let (came, went): (Vec<_>, Vec<_>) = taken.list.into_iter().partition(|(_, change)| change.online);
        for (list, online) in [(came, true), (went, false)] {
            if list.is_empty() {
                continue;
            }
            self.metrics.changes.inc_by(list.len() as u64);
            let entries =
                list.into_iter().map(|(client, change)| Whereabout { client, gateway, epoch: change.epoch }).collect();
            let refused = if online { self.lookup.put(entries).await } else { self.lookup.remove(entries).await };
            self.refused(refused);
        }
        any
    }

    /// Begins to go through dirty slots; whether there was anything to do.
    async fn clean(&mut self) -> bool {
        if self.refresh.is_some_and(|at| at <= Instant::now()) {
            self.dirty = SlotSet::ALL;
            self.refresh = self.lookup.refresh().map(|every| Instant::now() + every);
        }
        if self.walk.is_some() || self.dirty.is_empty() || self.retry.is_some_and(|at| Instant::now() < at) {
            return false;
        }
        self.retry = None;
        let slots = std::mem::take(&mut self.dirty);
        let refused = self.lookup.forget(self.me, slots).await;
        self.refused(refused);
        let slots = slots.without(refused);
        if !slots.is_empty() {
            self.walk = Some(Walk { slots, after: None });
        }
        true
    }

    /// Puts the clients of one page of the walk; whether there is one.
    async fn step(&mut self) -> bool {
        let Some(walk) = &mut self.walk else { return false };
        let page = self.registry.sessions(walk.after, PAGE);
        let slots = walk.slots;
        if let Some((last, _)) = page.last() {
            walk.after = Some(*last);
        } else {
            self.walk = None;
            if self.dirty.is_empty() {
                self.pause = FIRST_PAUSE;
            }
        }
        let here = page.into_iter().filter(|(client, _)| slots.contains(Slot::of(*client)));
        let entry = |(client, epoch): (_, Option<_>)| Some(Whereabout { client, gateway: self.me, epoch: epoch? });
        let entries: Vec<_> = here.filter_map(entry).collect();
        if !entries.is_empty() {
            self.metrics.reentered.inc_by(entries.len() as u64);
            let refused = self.lookup.put(entries).await;
            self.refused(refused);
        }
        true
    }

    fn refused(&mut self, slots: SlotSet) {
        if slots.is_empty() {
            return;
        }
        self.metrics.refusals.inc();
        self.dirty = self.dirty.or(slots);
        if self.retry.is_none() {
            self.retry = Some(Instant::now() + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }
}
