//! The other gateways: asking them by a hint, or all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use causeway_model::{Epoch, Incarnation, QueueId, Text};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::clients::{ANY_OPENED, Everybody, Whereabouts};
use super::errand::{Errand, Errands, errands};
use super::feed::Feed;
use super::greet::Greeter;
use super::reach::Reach;
use super::{LookupMetrics, Network, Settings, Slots};
use crate::port::{Answer, Ask, Kicked, Lookup, Map, MapEpoch, Member, Whereabout};
use crate::registry::{Kick, Online, Registry};
use crate::task::{self, Tasks};

/// How often everybody is asked while the map moves away under the question.
const ROUNDS: usize = 3;

pub(super) struct Others {
    me: Incarnation,
    map: watch::Receiver<Arc<Map>>,
    lookup: Arc<dyn Lookup>,
    /// Answers others, where the lookup is the built-in.
    slots: Option<Slots>,
    reach: Arc<Reach>,
    /// The newest map that others spoke of.
    heard: watch::Sender<MapEpoch>,
    introduced: watch::Receiver<bool>,
    errands: Errands,
    settings: Settings,
    pub(super) metrics: LookupMetrics,
}

/// What all others together say of a client.
struct Said {
    holder: Option<(Incarnation, Text, Online)>,
    silent: Vec<Text>,
    /// The newest map that one of them knows of.
    newest: MapEpoch,
}

impl Said {
    /// Of several connections the one whose session was opened last counts: the others are fenced.
    fn holds(&mut self, member: &Member, online: Online) {
        let epoch = |online: &Online| online.session.map(|(_, epoch)| epoch);
        if self.holder.as_ref().is_none_or(|(.., known)| epoch(known) < epoch(&online)) {
            self.holder = Some((member.incarnation, member.name.clone(), online));
        }
    }
}

impl Others {
    pub(super) fn start(
        me: Incarnation,
        registry: Arc<Registry>,
        network: Network,
        metrics: &LookupMetrics,
        tasks: &Tasks,
    ) -> Self {
        let Network { name: _, peers, map, lookup, settings } = network;
        let reach = Reach::new(peers, settings.deadline, metrics.unanswered.clone());
        let (lookup, slots): (Arc<dyn Lookup>, _) = if let Some(lookup) = lookup {
            (lookup, None)
        } else {
            let slots = Slots::over(me, Arc::clone(&reach), &settings, metrics);
            (Arc::new(slots.clone()), Some(slots))
        };
        let (errands, courier) =
            errands(map.clone(), Arc::clone(&lookup), Arc::clone(&reach), metrics.dropped_errands.clone());
        let (feed, listed) =
            Feed::new(me, registry, Arc::clone(&lookup), Arc::clone(&reach), map.clone(), metrics.clone());
        let (greeter, introduced) = Greeter::new(me, Arc::clone(&reach), map.clone());
        let runs: [BoxFuture<'static, ()>; 3] =
            [Box::pin(feed.run()), Box::pin(courier.run()), Box::pin(greeter.run(listed))];
        for run in runs {
            let drain = tasks.drain().clone();
            tasks.spawn(task::Kind::Lookup, async move {
                tokio::select! {
                    () = drain.closing() => {}
                    () = run => {}
                }
            });
        }
        let (heard, metrics) = (watch::Sender::default(), metrics.clone());
        Self { me, map, lookup, slots, reach, heard, introduced, errands, settings, metrics }
    }

    pub(super) async fn introduced(&self) {
        // An error: nobody was greeted before the end of this run of the gateway.
        let _ = self.introduced.clone().wait_for(|introduced| *introduced).await;
    }

    /// Whether there is anybody to ask.
    pub(super) fn any(&self) -> bool {
        self.map.borrow().members.iter().any(|member| member.incarnation != self.me)
    }

    pub(super) fn knows(&self, gateway: Incarnation) -> bool {
        self.map.borrow().member(gateway).is_some()
    }

    /// The newest map that this gateway knows of, whether it has it or not.
    pub(super) fn newest(&self) -> MapEpoch {
        self.map.borrow().epoch.max(*self.heard.borrow())
    }

    /// The newest map that others spoke of, as they do.
    pub(super) fn heard(&self) -> watch::Receiver<MapEpoch> {
        self.heard.subscribe()
    }

    /// Where a client is that is not here.
    pub(super) async fn find(&self, client: QueueId, here: impl Fn() -> Option<Whereabouts>) -> Whereabouts {
        let mut whereabouts = match self.by_hint(client).await {
            Some(found) => found,
            None => self.by_all(client).await,
        };
        if !matches!(whereabouts, Whereabouts::Online { .. }) {
            // It may have come here while the others were asked.
            whereabouts = here().unwrap_or(whereabouts);
        }
        if matches!(whereabouts, Whereabouts::Unknown { .. }) {
            self.metrics.unknown.inc();
        }
        whereabouts
    }

    async fn hint(&self, client: QueueId) -> Option<Whereabout> {
        if !self.any() {
            return None;
        }
        self.lookup.find(vec![client]).await.pop().flatten().filter(|hint| hint.gateway != self.me)
    }

    async fn by_hint(&self, client: QueueId) -> Option<Whereabouts> {
        let hint = self.hint(client).await?;
        let holder = self.member(hint.gateway)?;
        let answer = self.reach.ask(&holder, vec![Ask::Where(client)]).await.ok()?.pop()?;
        let Answer::Here { epoch, online } = answer else { return None };
        self.hear(epoch);
        let Some(online) = online else {
            self.metrics.stale_hints.inc();
            self.errands.leave(Errand::Stale(hint));
            return None;
        };
        self.metrics.found_by_hint.inc();
        Some(Whereabouts::Online { gateway: holder.incarnation, name: holder.name, online })
    }

    async fn by_all(&self, client: QueueId) -> Whereabouts {
        let mut silent = Vec::new();
        for _ in 0..ROUNDS {
            let map = Arc::clone(&self.map.borrow());
            self.metrics.broadcasts.inc();
            let said = self.ask_all(&map, client).await;
            if let Some((gateway, name, online)) = said.holder {
                return Whereabouts::Online { gateway, name, online };
            }
            self.hear(said.newest);
            let newest = self.newest();
            if newest == map.epoch {
                return if said.silent.is_empty() {
                    Whereabouts::Offline
                } else {
                    Whereabouts::Unknown { silent: said.silent }
                };
            }
            // There are others than those that were asked, and some of these may be gone.
            silent = said.silent;
            let mut moved = self.map.clone();
            let newer = moved.wait_for(|map| map.epoch >= newest);
            if !matches!(tokio::time::timeout(self.settings.deadline, newer).await, Ok(Ok(_))) {
                break;
            }
        }
        Whereabouts::Unknown { silent }
    }

    /// Asks everybody, and waits for everybody who is not known to be silent: a connection that was taken over may still
    /// be there, and quicker to answer than the one that counts.
    async fn ask_all(&self, map: &Map, client: QueueId) -> Said {
        let mut said = Said { holder: None, silent: Vec::new(), newest: map.epoch };
        let others = map.members.iter().filter(|member| member.incarnation != self.me);
        let mut awaited: BTreeSet<_> = others.clone().map(|member| member.incarnation).collect();
        awaited.retain(|gateway| !self.reach.is_silent(*gateway));
        let asks = others.map(|member| async move { (member, self.reach.ask(member, vec![Ask::Where(client)]).await) });
        let mut asks: FuturesUnordered<_> = asks.collect();
        while let Some((member, answers)) = asks.next().await {
            awaited.remove(&member.incarnation);
            match answers.unwrap_or_default().pop() {
                Some(Answer::Here { online: Some(online), .. }) => said.holds(member, online),
                Some(Answer::Here { epoch, online: None }) => said.newest = said.newest.max(epoch),
                _ => said.silent.push(member.name.clone()),
            }
            if said.holder.is_some() && awaited.is_empty() {
                break;
            }
        }
        said
    }

    /// What became of a kick at a gateway; `None`: it did not answer.
    pub(super) async fn kick(&self, gateway: Incarnation, ask: Ask) -> Option<Kicked> {
        let Some(member) = self.member(gateway) else { return Some(Kicked::Absent) };
        let answer = self.reach.ask(&member, vec![ask]).await.ok()?.pop()?;
        if let Answer::Kicked(kicked) = answer { Some(kicked) } else { None }
    }

    pub(super) fn kick_later(&self, gateway: Incarnation, client: QueueId, upto: Epoch, why: Kick) {
        self.errands.leave(Errand::Kick { gateway, client, upto, why });
    }

    pub(super) fn take_over(self: &Arc<Self>, client: QueueId) -> BoxFuture<'static, ()> {
        let this = Arc::clone(self);
        let limit = self.settings.take_over;
        Box::pin(async move {
            let take_over = async {
                let hint = this.hint(client).await?;
                let holder = this.member(hint.gateway)?;
                let (why, upto) = (Kick::TakenOver, Some(ANY_OPENED));
                let kick = Ask::Kick { client, why, upto, wait: limit };
                // The wait is the asked one's; that it uses all of it is no silence.
                this.reach.ask_within(limit + this.settings.deadline, &holder, vec![kick]).await.ok()
            };
            let _ = tokio::time::timeout(limit, take_over).await;
        })
    }

    pub(super) async fn page(&self, after: Option<QueueId>, limit: usize, all: &mut Everybody) {
        let map = Arc::clone(&self.map.borrow());
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let others = map.members.iter().filter(|member| member.incarnation != self.me);
        let asks = others.map(|member| async move {
            (member, self.reach.ask(member, vec![Ask::Page { after, limit }]).await.unwrap_or_default().pop())
        });
        for (member, answer) in join_all(asks).await {
            match answer {
                Some(Answer::Page(page)) => {
                    all.clients.extend(page.into_iter().map(|online| (member.name.clone(), online)));
                }
                _ => all.silent.push(member.name.clone()),
            }
        }
    }

    /// Answers another gateway about the slots that this one owns.
    pub(super) fn answer(&self, ask: &Ask) -> Answer {
        if let Ask::Enter { epoch, .. }
        | Ask::Leave { epoch, .. }
        | Ask::Forget { epoch, .. }
        | Ask::Find { epoch, .. } = ask
        {
            self.hear(*epoch);
        }
        match (&self.slots, ask) {
            (Some(slots), _) => slots.answer(ask),
            // A newcomer's greeting.
            (None, Ask::Enter { entries, .. }) if entries.is_empty() => Answer::Done,
            (None, _) => Answer::Refused,
        }
    }

    fn hear(&self, epoch: MapEpoch) {
        if epoch > self.map.borrow().epoch {
            self.heard.send_if_modified(|heard| {
                let newer = epoch > *heard;
                if newer {
                    *heard = epoch;
                }
                newer
            });
        }
    }

    fn member(&self, gateway: Incarnation) -> Option<Member> {
        self.map.borrow().member(gateway).cloned()
    }
}
