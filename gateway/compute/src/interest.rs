//! Interest of volatile sessions: a wildcard is indexed while somebody on this gateway wants it, and for a minute more.
//!
//! Thousands of subscribers of a wildcard cost one `Interest` record a shard: the first one adds it and waits, those
//! that come later start at what is applied. The last one's going removes it after a delay, so that a reconnect costs
//! nothing. Persistent sessions own their interest themselves and do not come here; exact topics and `#` need none.
//!
//! If this process dies, the broker removes everything that its incarnation owned.

mod book;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Filter, Incarnation, Kind, Namespace, Position, ShardId};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::book::{Book, Key, Outcome, Turn, Want};
use crate::port::{Broker, Command, Error, Interest, Owner, Reply};
use crate::task::{self, Tasks};

/// How long a wildcard stays indexed after its last subscriber has gone.
pub const DELAY: Duration = Duration::from_mins(1);

/// Removes of one proposal.
const BATCH: usize = 256;

type Adding = Shared<BoxFuture<'static, Result<Position, Error>>>;

/// The wildcards of this gateway's volatile sessions.
pub struct Interests {
    broker: Arc<dyn Broker>,
    owner: Owner,
    tasks: Tasks,
    state: Mutex<State>,
    /// Deadlines began to exist.
    changed: Notify,
    filters: IntGauge,
}

struct State {
    book: Book,
    /// Outcomes to come, by (wildcard, shard): every subscriber waits on the same.
    adding: HashMap<(Key, usize), Adding>,
    /// The deadline that the sweeper knows of.
    armed: Option<Instant>,
}

impl Interests {
    /// No interest yet; starts the task that ends unused ones.
    pub fn start(broker: Arc<dyn Broker>, incarnation: Incarnation, tasks: &Tasks, filters: IntGauge) -> Arc<Self> {
        let shards = broker.cluster().shards().count();
        let state = State { book: Book::new(shards, DELAY), adding: HashMap::new(), armed: None };
        let this = Arc::new(Self {
            broker,
            owner: Owner::Gateway(incarnation),
            tasks: tasks.clone(),
            state: Mutex::new(state),
            changed: Notify::new(),
            filters,
        });
        let (sweep, drain) = (Arc::clone(&this), tasks.drain().clone());
        tasks.spawn(task::Kind::Interest, async move {
            tokio::select! {
                () = drain.closing() => {}
                () = sweep.sweep() => {}
            }
        });
        this
    }

    /// Makes sure that a filter's queue is filled on every shard and says from where: entries above the positions are
    /// in it. Each success must be paired with one [`Interests::release`]. A dropped call releases what it took.
    ///
    /// # Errors
    /// The first shard's error; nothing is held then.
    pub async fn acquire(
        self: &Arc<Self>,
        namespace: &Namespace,
        filter: &Filter,
    ) -> Result<Vec<(ShardId, Position)>, Error> {
        let shards = self.broker.cluster().shards();
        if !needs_interest(filter) {
            return Ok(shards.map(|shard| (shard, self.broker.applied(shard))).collect());
        }
        let key = (namespace.clone(), filter.clone());
        let waits = self.want(&key);
        let held = Held { interests: self, key: Some(key) };
        let mut from = Vec::with_capacity(waits.len());
        for (shard, wait) in shards.zip(waits) {
            from.push((shard, wait.await?));
        }
        held.keep();
        Ok(from)
    }

    /// Gives back what one [`Interests::acquire`] took.
    pub fn release(&self, namespace: &Namespace, filter: &Filter) {
        if needs_interest(filter) {
            self.put_back(&(namespace.clone(), filter.clone()));
        }
    }

    /// Wildcards that are wanted or not yet gone.
    pub fn len(&self) -> usize {
        self.state.lock().book.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put_back(&self, key: &Key) {
        let mut state = self.state.lock();
        state.book.release(key, Instant::now());
        self.settled(&mut state);
    }

    /// Shows the count, and wakes the sweeper if it waits for another deadline than the next.
    fn settled(&self, state: &mut State) {
        self.filters.set(i64::try_from(state.book.len()).unwrap_or(i64::MAX));
        let next = state.book.next_deadline();
        if state.armed != next {
            state.armed = next;
            self.changed.notify_one();
        }
    }

    /// Proposes under the lock: the order of proposals is that of the book's transitions.
    fn want(self: &Arc<Self>, key: &Key) -> Vec<Adding> {
        let mut state = self.state.lock();
        let State { book, adding, .. } = &mut *state;
        let places = book.want(key).into_iter().enumerate();
        let waits = places.zip(self.broker.cluster().shards()).map(|((index, want), shard)| {
            let place = (key.clone(), index);
            match (want, adding.get(&place)) {
                (Want::Wait, Some(pending)) => pending.clone(),
                (Want::Ready | Want::Wait, _) => std::future::ready(Ok(self.broker.applied(shard))).boxed().shared(),
                (Want::Add(turn), _) => {
                    let pending = self.propose_add(shard, key);
                    adding.insert(place.clone(), pending.clone());
                    self.settle_add(place, turn, pending.clone());
                    pending
                }
            }
        });
        let waits = waits.collect();
        self.settled(&mut state);
        waits
    }

    fn propose_add(&self, shard: ShardId, key: &Key) -> Adding {
        let reply = self.broker.propose(shard, vec![self.command(true, key)]);
        let outcome = async move {
            let failed = |kind| Error { operation: "add interest", shard, kind };
            match reply.await?.first() {
                Some(Reply::Interest { position }) => Ok(*position),
                Some(Reply::Rejected(why)) => Err(failed(why.kind())),
                _ => Err(failed(Kind::Unknown)),
            }
        };
        outcome.boxed().shared()
    }

    fn command(&self, add: bool, key: &Key) -> Command {
        let (namespace, filter) = key.clone();
        Command::Interest(Interest { add, namespace, filter, owner: self.owner })
    }

    /// In a task of its own: the subscriber that asked may be gone before the outcome comes.
    fn settle_add(self: &Arc<Self>, place: (Key, usize), turn: Turn, pending: Adding) {
        let this = Arc::clone(self);
        self.tasks.spawn(task::Kind::Settle, async move {
            let outcome = match pending.clone().await {
                Ok(_) => Outcome::Done,
                Err(Error { kind: Kind::Unknown, .. }) => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            let mut state = this.state.lock();
            if state.adding.get(&place).is_some_and(|current| current.ptr_eq(&pending)) {
                state.adding.remove(&place);
            }
            let (key, shard) = place;
            state.book.added(&key, shard, turn, outcome, Instant::now());
            this.settled(&mut state);
        });
    }

    async fn sweep(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                state.armed = state.book.next_deadline();
                state.armed
            };
            match next {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => self.remove_unused(),
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    fn remove_unused(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let mut removes: Vec<_> = state.book.expire(Instant::now(), BATCH);
        removes.sort_by_key(|(_, shard, _)| *shard);
        // Still under the lock, as in `want`.
        for batch in removes.chunk_by(|(_, a, _), (_, b, _)| a == b) {
            let Some(shard) = batch.first().and_then(|(_, index, _)| self.broker.cluster().shards().nth(*index)) else {
                continue;
            };
            let commands = batch.iter().map(|(key, ..)| self.command(false, key)).collect();
            self.settle_removes(batch.to_vec(), self.broker.propose(shard, commands));
        }
        drop(state);
    }

    fn settle_removes(
        self: &Arc<Self>,
        removes: Vec<(Key, usize, Turn)>,
        replies: BoxFuture<'static, Result<Vec<Reply>, Error>>,
    ) {
        let this = Arc::clone(self);
        self.tasks.spawn(task::Kind::Settle, async move {
            let replies = replies.await;
            let mut state = this.state.lock();
            let now = Instant::now();
            for (index, (key, shard, turn)) in removes.iter().enumerate() {
                let outcome = match &replies {
                    Ok(replies) => match replies.get(index) {
                        Some(Reply::Interest { .. } | Reply::Rejected(_)) => Outcome::Done,
                        _ => Outcome::Unknown,
                    },
                    Err(Error { kind: Kind::Unknown, .. }) => Outcome::Unknown,
                    Err(_) => Outcome::Refused,
                };
                state.book.removed(key, *shard, *turn, outcome, now);
            }
            this.settled(&mut state);
        });
    }
}

/// Exact topics are always indexed, and the queue of `#` is the log.
fn needs_interest(filter: &Filter) -> bool {
    filter.is_wildcard() && !filter.is_all()
}

/// Releases on drop: a subscriber may vanish while it waits.
struct Held<'a> {
    interests: &'a Interests,
    key: Option<Key>,
}

impl Held<'_> {
    fn keep(mut self) {
        self.key = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.interests.put_back(&key);
        }
    }
}

impl fmt::Debug for Interests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interests").field("owner", &self.owner).finish_non_exhaustive()
    }
}
