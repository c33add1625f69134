//! What everybody calls to find a client, kick it, or take its session over; and what other gateways are answered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{ClientId, Epoch, Incarnation, Namespace, Position, QueueId, Text};
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::watch;

use super::others::Others;
use super::{LookupMetrics, Network};
use crate::port::{Answer, Ask, Kicked, MapEpoch, Peer};
use crate::registry::{Handle, Kick, Online, Registry};
use crate::task::Tasks;

/// The longest that an answer waits for the end of a connection, whatever was asked.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest page that is given at once.
const LONGEST_PAGE: usize = 1000;

/// Every client of every gateway. See [`lookup`](super).
pub struct Clients {
    me: Incarnation,
    name: Text,
    registry: Arc<Registry>,
    /// `None`: this gateway is the only one there will ever be.
    others: Option<Arc<Others>>,
}

/// Where a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is connected.
    Online {
        /// To this run of a gateway.
        gateway: Incarnation,
        /// What people call the gateway.
        name: Text,
        /// The connection.
        online: Online,
    },
    /// No gateway holds a connection of it: all were asked.
    Offline,
    /// Nobody says that it holds a connection, but not everybody answered.
    Unknown {
        /// The names of those who did not. Empty: there is a newer map of gateways, which did not come in time.
        silent: Vec<Text>,
    },
}

/// What came of a kick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kicks {
    /// A connection was asked to go.
    Kicked {
        /// At this run of a gateway.
        gateway: Incarnation,
        /// What people call the gateway.
        name: Text,
    },
    /// The client is not connected.
    Offline,
    /// As [`Whereabouts::Unknown`].
    Unknown {
        /// The names of those who did not answer.
        silent: Vec<Text>,
    },
}

/// Connections of all gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Everybody {
    /// In the order of their ids, each with the gateway that holds it.
    pub clients: Vec<(Text, Online)>,
    /// The names of the gateways that did not answer: theirs are missing.
    pub silent: Vec<Text>,
}

impl Clients {
    /// Those of the only gateway there will ever be.
    pub fn alone(me: Incarnation, name: Text, registry: Arc<Registry>) -> Arc<Self> {
        Arc::new(Self { me, name, registry, others: None })
    }

    /// Those of a gateway among others; starts the tasks that tell them who is here. Must be called within a Tokio
    /// runtime.
    pub fn start(
        me: Incarnation,
        registry: Arc<Registry>,
        network: Network,
        metrics: &LookupMetrics,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let name = network.name.clone();
        let others = Others::start(me, Arc::clone(&registry), network, metrics, tasks);
        Arc::new(Self { me, name, registry, others: Some(Arc::new(others)) })
    }

    /// Resolves when all gateways that answer know that this one is there. Until then some would call its clients
    /// offline: no client is let in before. Those that do not answer in time are told as soon as they hear.
    pub async fn introduced(&self) {
        if let Some(others) = &self.others {
            others.introduced().await;
        }
    }

    /// Whether another gateway is in this one's map.
    pub fn knows(&self, gateway: Incarnation) -> bool {
        gateway == self.me || self.others.as_ref().is_some_and(|others| others.knows(gateway))
    }

    /// The newest map that another gateway spoke of: a newer one than this gateway has is to be asked for. `None` where
    /// there are no others.
    pub fn heard(&self) -> Option<watch::Receiver<MapEpoch>> {
        self.others.as_ref().map(|others| others.heard())
    }

    /// Where a client is.
    pub async fn find(&self, namespace: &Namespace, client: &ClientId) -> Whereabouts {
        self.find_id(self.registry.id(namespace, client)).await
    }

    /// As [`Clients::find`], by the id of the client's queue.
    pub async fn find_id(&self, client: QueueId) -> Whereabouts {
        match (self.here(client), &self.others) {
            (Some(here), Some(others)) => {
                others.metrics.found_here.inc();
                here
            }
            (Some(here), None) => here,
            (None, None) => Whereabouts::Offline,
            (None, Some(others)) => others.find(client, || self.here(client)).await,
        }
    }

    /// Asks a client's connection to go, wherever it is.
    pub async fn kick(&self, namespace: &Namespace, client: &ClientId, why: Kick) -> Kicks {
        let client = self.registry.id(namespace, client);
        // It may move once between the two questions; whoever moves faster than that is asked again by whoever cares.
        for _ in 0..2 {
            let (gateway, name) = match self.find_id(client).await {
                Whereabouts::Online { gateway, name, .. } => (gateway, name),
                Whereabouts::Offline => return Kicks::Offline,
                Whereabouts::Unknown { silent } => return Kicks::Unknown { silent },
            };
            let kicked = match &self.others {
                Some(others) if gateway != self.me => {
                    others.kick(gateway, Ask::Kick { client, why, upto: None, wait: Duration::ZERO }).await
                }
                _ => Some(self.kick_here(client, why, None).map_or(Kicked::Absent, |_| Kicked::Asked)),
            };
            match kicked {
                Some(Kicked::Asked | Kicked::Ended) => return Kicks::Kicked { gateway, name },
                Some(Kicked::Absent) => {}
                None => return Kicks::Unknown { silent: vec![name] },
            }
        }
        Kicks::Unknown { silent: Vec::new() }
    }

    /// Has another gateway end its connection of a client whose session is about to be resumed here, and waits for its
    /// last words, in all for at most [`Settings::take_over`](super::Settings::take_over): so packet ids survive.
    /// `None`: there is nobody to ask. Failures are passed over, since fencing protects the session.
    pub fn take_over(self: &Arc<Self>, namespace: &Namespace, client: &ClientId) -> Option<BoxFuture<'static, ()>> {
        let others = self.others.as_ref().filter(|others| others.any())?;
        Some(others.take_over(self.registry.id(namespace, client)))
    }

    /// Tells the gateway that held a client's session until this opening of it. Nobody waits.
    pub fn kick_at(&self, gateway: Incarnation, namespace: &Namespace, client: &ClientId, opened: Epoch, why: Kick) {
        // A gateway that this one has not heard of yet may be among them: the kick waits for its name.
        if let Some(others) = self.others.as_ref().filter(|_| gateway != self.me) {
            others.kick_later(gateway, self.registry.id(namespace, client), opened, why);
        }
    }

    /// Up to `limit` connections of all gateways, at most 1,000, in the order of their ids, after the given one.
    pub async fn page(&self, after: Option<QueueId>, limit: usize) -> Everybody {
        let limit = limit.min(LONGEST_PAGE);
        let here = self.registry.page(after, limit).into_iter().map(|online| (self.name.clone(), online));
        let mut all = Everybody { clients: here.collect(), silent: Vec::new() };
        if let Some(others) = &self.others {
            others.page(after, limit, &mut all).await;
            all.clients.sort_by_key(|(_, online)| online.id);
            all.clients.truncate(limit);
        }
        all
    }

    fn here(&self, client: QueueId) -> Option<Whereabouts> {
        let online = self.registry.by_id(client)?.online();
        Some(Whereabouts::Online { gateway: self.me, name: self.name.clone(), online })
    }

    fn kick_here(&self, client: QueueId, why: Kick, upto: Option<Epoch>) -> Option<Handle> {
        let handle = self.registry.by_id(client)?;
        let opened = handle.online().session.map(|(_, epoch)| epoch);
        let old = upto.is_none_or(|upto| opened.is_some_and(|opened| opened <= upto));
        old.then(|| handle.kick(why)).map(|()| handle)
    }

    fn reply(&self, ask: &Ask) -> Reply {
        let now = match ask {
            Ask::Where(client) => {
                let epoch = self.others.as_ref().map(|others| others.newest()).unwrap_or_default();
                Answer::Here { epoch, online: self.registry.by_id(*client).map(|handle| handle.online()) }
            }
            Ask::Kick { client, why, upto, wait } => match self.kick_here(*client, *why, *upto) {
                None => Answer::Kicked(Kicked::Absent),
                Some(_) if wait.is_zero() => Answer::Kicked(Kicked::Asked),
                Some(handle) => return Reply::Ending(handle, (*wait).min(LONGEST_WAIT)),
            },
            Ask::Page { after, limit } => {
                let limit = usize::try_from(*limit).unwrap_or(LONGEST_PAGE).min(LONGEST_PAGE);
                Answer::Page(self.registry.page(*after, limit))
            }
            Ask::Enter { .. } | Ask::Leave { .. } | Ask::Forget { .. } | Ask::Find { .. } => {
                self.others.as_ref().map_or(Answer::Refused, |others| others.answer(ask))
            }
        };
        Reply::Now(now)
    }
}

/// What is answered at once, and what an answer waits for.
enum Reply {
    Now(Answer),
    Ending(Handle, Duration),
}

impl Reply {
    async fn settle(self) -> Answer {
        match self {
            Self::Now(answer) => answer,
            Self::Ending(handle, wait) => {
                let ended = tokio::time::timeout(wait, handle.ended()).await.is_ok();
                Answer::Kicked(if ended { Kicked::Ended } else { Kicked::Asked })
            }
        }
    }
}

impl Peer for Clients {
    fn answer(&self, asks: Vec<Ask>) -> BoxFuture<'static, Vec<Answer>> {
        let replies: Vec<_> = asks.iter().map(|ask| self.reply(ask)).collect();
        Box::pin(async move { join_all(replies.into_iter().map(Reply::settle)).await })
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("name", &self.name).field("me", &self.me).finish_non_exhaustive()
    }
}

/// Later than every opening: whoever asks with it has not opened its session yet.
pub(super) const ANY_OPENED: Epoch = Epoch(Position(u64::MAX));
