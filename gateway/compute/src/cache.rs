//! Messages by body position, decoded once for all who read the tail.
//!
//! A message to ten thousand subscribers is asked for by each of their connections within a few milliseconds. The cache
//! keeps the messages of the last `window` bytes of each shard's log, counted from the newest that was asked for: what
//! is older belongs to somebody who lags, and lagging readers share nothing.
//!
//! It holds no second copy where the brokers are in this process: a message is a handful of slices of the buffer that
//! the log keeps for its own tail. **That is why the bound is a distance in the log** and not a sum of sizes: a small
//! message keeps the whole batch that it came in, and within the window the log keeps those batches anyway.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use causeway_model::{Message, Position, ShardId};
use parking_lot::Mutex;
use prometheus::IntCounter;

use crate::port::{Broker, Error};

type Kept = BTreeMap<Position, Arc<Message>>;

/// A cache shared by all connections.
pub struct Messages {
    broker: Arc<dyn Broker>,
    window: u64,
    shards: Box<[Mutex<Kept>]>,
    hits: IntCounter,
    misses: IntCounter,
}

impl Messages {
    /// Keeps the last `window` bytes of each shard's log; zero keeps nothing, and every call passes through.
    pub fn new(broker: Arc<dyn Broker>, window: u64, hits: IntCounter, misses: IntCounter) -> Self {
        let shards = broker.cluster().shards().map(|_| Mutex::default()).collect();
        Self { broker, window, shards, hits, misses }
    }

    /// Messages by body position, in order of the positions; `None` where the log was trimmed past it. Ready at once
    /// where all are kept, or where the broker is.
    ///
    /// # Errors
    /// The broker's.
    pub async fn fetch(&self, shard: ShardId, positions: Vec<Position>) -> Result<Vec<Option<Arc<Message>>>, Error> {
        let Some(kept) = self.shards.get(shard.0 as usize).filter(|_| self.window > 0) else {
            return self.broker.fetch(shard, positions).await;
        };
        let mut found = find(&kept.lock(), &positions);
        let missing: Vec<usize> = (0..found.len()).filter(|at| found.get(*at).is_some_and(Option::is_none)).collect();
        self.hits.inc_by((found.len() - missing.len()) as u64);
        if missing.is_empty() {
            return Ok(found);
        }
        self.misses.inc_by(missing.len() as u64);
        let ask = missing.iter().filter_map(|at| positions.get(*at).copied()).collect();
        let fetched = self.broker.fetch(shard, ask).await?;
        let mut kept = kept.lock();
        for (at, message) in missing.into_iter().zip(fetched) {
            if let (Some(position), Some(message)) = (positions.get(at), &message) {
                keep(&mut kept, *position, message, self.window);
            }
            if let Some(place) = found.get_mut(at) {
                *place = message;
            }
        }
        Ok(found)
    }

    /// Messages kept now.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|kept| kept.lock().len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn find(kept: &Kept, positions: &[Position]) -> Vec<Option<Arc<Message>>> {
    positions.iter().map(|position| kept.get(position).cloned()).collect()
}

fn keep(kept: &mut Kept, position: Position, message: &Arc<Message>, window: u64) {
    let newest = kept.last_key_value().map_or(position, |(newest, _)| position.max(*newest));
    let oldest = Position(newest.0.saturating_sub(window));
    if position < oldest {
        return;
    }
    kept.insert(position, Arc::clone(message));
    while let Some(first) = kept.first_entry().filter(|first| *first.key() < oldest) {
        first.remove();
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
    use crate::double::{Double, message};

    const SHARD: ShardId = ShardId(0);

    fn positions(numbers: &[u64]) -> Vec<Position> {
        numbers.iter().copied().map(Position).collect()
    }

    fn cache(broker: &Arc<Double>, window: u64) -> Messages {
        let counter = || IntCounter::new("c", "test").unwrap();
        Messages::new(broker.clone(), window, counter(), counter())
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
        assert_eq!((cache.hits.get(), cache.misses.get()), (2, 5));
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
    }
}
