//! The queue cache: messages by body position, read and decoded once for all who read the tail.
//!
//! ```text
//!  fetch ─► kept: hit      ─► under way: joins it, a hit as well     ─► neither: a miss, asked for once, then kept
//!        └► older than the window: read directly, for this reader alone
//! ```
//!
//! A message to ten thousand subscribers is asked for by each of their connections within a few milliseconds. **The
//! broker is asked for it once**, however many ask while the answer is on its way; a reader that gives up does not take
//! the answer from the others.
//!
//! It keeps the messages of the last `window` bytes of each shard's log, counted from the newest that was asked for: what
//! is older belongs to somebody who lags, and lagging readers share nothing. It holds no second copy where the brokers
//! are in this process: a message is a handful of slices of the buffer that the log keeps for its own tail. **That is why
//! the bound is a distance in the log** and not a sum of sizes: a small message keeps the whole batch that it came in,
//! and within the window the log keeps those batches anyway.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use causeway_model::{Message, Position, ShardId};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;

use crate::metrics::CacheMetrics;
use crate::port::{Broker, Error};

type Found = Vec<Option<Arc<Message>>>;

/// One question to the broker that many may wait for. Whoever waits drives it.
type Asked = Shared<BoxFuture<'static, Result<Arc<Found>, Error>>>;

/// What is known of a position.
enum Known {
    Kept(Arc<Message>),
    /// The answer to this place of a question is under way.
    Under(Asked, usize),
}

type Window = BTreeMap<Position, Known>;

/// A cache shared by all connections.
pub struct Messages {
    broker: Arc<dyn Broker>,
    window: u64,
    shards: Box<[Mutex<Window>]>,
    metrics: CacheMetrics,
}

/// What one call has of its own, and what it must wait for.
struct Plan {
    found: Found,
    /// Places whose message comes with somebody else's question.
    joined: Vec<(usize, Asked, usize)>,
    /// The question of this call, and the places that it answers.
    asked: Option<(Asked, Vec<usize>)>,
}

impl Messages {
    /// Keeps the last `window` bytes of each shard's log; zero keeps nothing, and every call passes through.
    pub fn new(broker: Arc<dyn Broker>, window: u64, metrics: CacheMetrics) -> Self {
        let shards = broker.cluster().shards().map(|_| Mutex::default()).collect();
        Self { broker, window, shards, metrics }
    }

    /// Messages by body position, in order of the positions; `None` where the log was trimmed past it. Ready at once
    /// where all are kept, or where the broker is.
    ///
    /// # Errors
    /// The broker's.
    pub async fn fetch(&self, shard: ShardId, positions: Vec<Position>) -> Result<Found, Error> {
        let Some(window) = self.shards.get(shard.0 as usize).filter(|_| self.window > 0) else {
            self.metrics.direct.inc_by(positions.len() as u64);
            return self.broker.fetch(shard, positions).await;
        };
        let Plan { mut found, joined, asked } = self.plan(window, shard, &positions);
        if let Some((question, places)) = asked {
            let answer = question.clone().await;
            settle(window, &question, places.iter().filter_map(|place| positions.get(*place)), answer.as_deref().ok());
            let answer = answer?;
            for (place, message) in places.into_iter().zip(answer.iter()) {
                put(&mut found, place, message.clone());
            }
        }
        for (place, question, index) in joined {
            let answer = question.clone().await;
            // Whoever asked may have given up before he could do this.
            settle(window, &question, positions.get(place).into_iter(), answer.as_deref().ok());
            put(&mut found, place, answer?.get(index).cloned().flatten());
        }
        Ok(found)
    }

    /// Looks up what is known, and makes one question of the rest. It is asked when it is polled: not under the lock.
    fn plan(&self, window: &Mutex<Window>, shard: ShardId, positions: &[Position]) -> Plan {
        let mut plan = Plan { found: vec![None; positions.len()], joined: Vec::new(), asked: None };
        let mut missing = Vec::new();
        let mut known = window.lock();
        for (place, position) in positions.iter().enumerate() {
            match known.get(position) {
                Some(Known::Kept(message)) => put(&mut plan.found, place, Some(Arc::clone(message))),
                Some(Known::Under(question, index)) => plan.joined.push((place, question.clone(), *index)),
                None => missing.push(place),
            }
        }
        self.metrics.hits.inc_by((positions.len() - missing.len()) as u64);
        if missing.is_empty() {
            return plan;
        }
        let ask: Vec<_> = missing.iter().filter_map(|place| positions.get(*place).copied()).collect();
        let newest = known.last_key_value().map(|(newest, _)| *newest).max(ask.iter().max().copied());
        let oldest = Position(newest.unwrap_or_default().0.saturating_sub(self.window));
        let question = self.question(shard, ask.clone());
        let mut misses = 0;
        for (index, position) in ask.iter().enumerate().filter(|(_, position)| **position >= oldest) {
            misses += 1;
            known.insert(*position, Known::Under(question.clone(), index));
        }
        while let Some(first) = known.first_entry().filter(|first| *first.key() < oldest) {
            first.remove();
        }
        self.metrics.misses.inc_by(misses);
        self.metrics.direct.inc_by(ask.len() as u64 - misses);
        plan.asked = Some((question, missing));
        plan
    }

    fn question(&self, shard: ShardId, ask: Vec<Position>) -> Asked {
        let broker = Arc::clone(&self.broker);
        async move { broker.fetch(shard, ask).await.map(Arc::new) }.boxed().shared()
    }

    /// Messages kept now, or under way.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|window| window.lock().len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn put(found: &mut Found, place: usize, message: Option<Arc<Message>>) {
    if let Some(found) = found.get_mut(place) {
        *found = message;
    }
}

/// A question is answered, or failed: its places in the window are kept, or forgotten so that they are asked for again.
fn settle<'a>(
    window: &Mutex<Window>,
    question: &Asked,
    positions: impl Iterator<Item = &'a Position>,
    answer: Option<&Found>,
) {
    let mut known = window.lock();
    for position in positions {
        let Some(place) = known.get_mut(position) else { continue };
        let Known::Under(other, index) = place else { continue };
        if !other.ptr_eq(question) {
            continue;
        }
        match answer.and_then(|answer| answer.get(*index).cloned().flatten()) {
            Some(message) => *place = Known::Kept(message),
            // Nothing is kept of what is not there.
            None => drop(known.remove(position)),
        }
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("window", &self.window).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::double::{Double, message, process};

    const SHARD: ShardId = ShardId(0);

    fn positions(numbers: &[u64]) -> Vec<Position> {
        numbers.iter().copied().map(Position).collect()
    }

    fn cache(broker: &Arc<Double>, window: u64) -> Messages {
        Messages::new(broker.clone(), window, process().metrics.cache)
    }

    fn counts(cache: &Messages) -> [u64; 3] {
        [&cache.metrics.hits, &cache.metrics.misses, &cache.metrics.direct].map(prometheus::IntCounter::get)
    }

    fn broker() -> Arc<Double> {
        let broker = Double::new(1);
        (0..100).for_each(|position| broker.store(0, position, message(b"body")));
        broker
    }

    #[tokio::test]
    async fn without_a_window_every_call_passes_through() {
        let broker = broker();
        let cache = cache(&broker, 0);
        for _ in 0..2 {
            assert_eq!(cache.fetch(SHARD, positions(&[1, 2])).await.unwrap().len(), 2);
            assert_eq!(broker.fetched(), positions(&[1, 2]));
        }
        assert!(cache.is_empty());
    }

    #[tokio::test]
    async fn with_one_a_message_is_asked_for_once_and_answers_come_in_the_order_of_the_question() {
        let broker = broker();
        let cache = cache(&broker, 1000);
        let first = cache.fetch(SHARD, positions(&[3, 1])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[3, 1]));
        let second = cache.fetch(SHARD, positions(&[1, 999, 2, 3])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[999, 2]));
        let shared = |a: &Option<Arc<Message>>, b: &Option<Arc<Message>>| {
            a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
        };
        assert!(shared(&first[0], &second[3]) && shared(&first[1], &second[0]));
        assert!(second[1].is_none() && second[2].is_some());
        // Nothing is kept of what is not there.
        assert!(cache.fetch(SHARD, positions(&[999])).await.unwrap()[0].is_none());
        assert_eq!(broker.fetched(), positions(&[999]));
        assert_eq!(counts(&cache), [2, 5, 0]);
    }

    #[tokio::test]
    async fn what_lies_further_back_than_the_window_is_not_kept() {
        let broker = broker();
        let cache = cache(&broker, 10);
        for position in 0..100 {
            cache.fetch(SHARD, positions(&[position])).await.unwrap();
            assert!(cache.len() <= 11);
        }
        broker.fetched();
        // Whoever lags gets what it asks for and leaves no trace.
        assert!(cache.fetch(SHARD, positions(&[5])).await.unwrap()[0].is_some());
        cache.fetch(SHARD, positions(&[5, 88, 89, 99])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[5, 5, 88]));
        assert_eq!(cache.len(), 11);
        assert_eq!(counts(&cache), [2, 100, 3]);
    }

    #[tokio::test]
    async fn however_many_ask_at_once_the_broker_is_asked_once() {
        let broker = broker();
        let cache = cache(&broker, 1000);
        let answer = broker.hold_fetch();
        let mut first = std::pin::pin!(cache.fetch(SHARD, positions(&[1, 2])));
        let mut second = std::pin::pin!(cache.fetch(SHARD, positions(&[2, 1])));
        let mut third = std::pin::pin!(cache.fetch(SHARD, positions(&[3, 2])));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        answer.send(true).unwrap();
        let (first, second, third) = (first.await.unwrap(), second.await.unwrap(), third.await.unwrap());
        assert_eq!(broker.fetched(), positions(&[1, 2, 3]));
        assert!(Arc::ptr_eq(first[1].as_ref().unwrap(), second[0].as_ref().unwrap()));
        assert!(Arc::ptr_eq(first[1].as_ref().unwrap(), third[1].as_ref().unwrap()));
        assert_eq!(counts(&cache), [3, 3, 0]);
    }

    #[tokio::test]
    async fn a_reader_that_gives_up_leaves_the_answer_to_the_others() {
        let broker = broker();
        let cache = cache(&broker, 1000);
        let answer = broker.hold_fetch();
        let mut gives_up = Box::pin(cache.fetch(SHARD, positions(&[1])));
        assert!(futures_util::poll!(gives_up.as_mut()).is_pending());
        let mut other = std::pin::pin!(cache.fetch(SHARD, positions(&[1])));
        assert!(futures_util::poll!(other.as_mut()).is_pending());
        drop(gives_up);
        answer.send(true).unwrap();
        assert!(other.await.unwrap()[0].is_some());
        assert!(cache.fetch(SHARD, positions(&[1])).await.unwrap()[0].is_some());
        assert_eq!(broker.fetched(), positions(&[1]));
    }

    #[tokio::test]
    async fn a_failed_read_fails_for_all_who_waited_and_is_tried_again_by_the_next() {
        let broker = broker();
        let cache = cache(&broker, 1000);
        let answer = broker.hold_fetch();
        let mut first = std::pin::pin!(cache.fetch(SHARD, positions(&[1])));
        let mut second = std::pin::pin!(cache.fetch(SHARD, positions(&[1])));
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        answer.send(false).unwrap();
        assert!(first.await.is_err() && second.await.is_err());
        assert!(cache.fetch(SHARD, positions(&[1])).await.unwrap()[0].is_some());
        assert_eq!(broker.fetched(), positions(&[1, 1]));
    }
}
