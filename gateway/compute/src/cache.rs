//! Messages by body position. Where the brokers are in the same process their log's tail is in memory already, so the
//! budget is zero and every call passes through: no second copy. Over a network the same message is asked for once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use causeway_model::{Message, Position, ShardId};
use parking_lot::Mutex;
use prometheus::IntCounter;

use crate::port::{Broker, Error};

/// A shared cache of messages, first in first out: readers of a tail want what came last.
pub struct Messages {
    broker: Arc<dyn Broker>,
    budget: usize,
    kept: Mutex<Kept>,
    hits: IntCounter,
    misses: IntCounter,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    messages: HashMap<(ShardId, Position), Arc<Message>>,
    order: VecDeque<(ShardId, Position)>,
}

/// What a message costs beside its topic, properties and body.
const OVERHEAD: usize = 400;

impl Messages {
    /// A cache of at most `budget` bytes; zero keeps nothing.
    pub fn new(broker: Arc<dyn Broker>, budget: usize, hits: IntCounter, misses: IntCounter) -> Self {
        Self { broker, budget, kept: Mutex::default(), hits, misses }
    }

    /// Messages by body position, in order of the positions; `None` where the log was trimmed past it.
    ///
    /// # Errors
    /// The broker's.
    pub async fn fetch(&self, shard: ShardId, positions: Vec<Position>) -> Result<Vec<Option<Arc<Message>>>, Error> {
        if self.budget == 0 {
            return self.broker.fetch(shard, positions).await;
        }
        let mut found = self.kept.lock().find(shard, &positions);
        let missing: Vec<usize> = (0..found.len()).filter(|at| found.get(*at).is_some_and(Option::is_none)).collect();
        self.hits.inc_by((found.len() - missing.len()) as u64);
        if missing.is_empty() {
            return Ok(found);
        }
        self.misses.inc_by(missing.len() as u64);
        let ask = missing.iter().filter_map(|at| positions.get(*at).copied()).collect();
        let fetched = self.broker.fetch(shard, ask).await?;
        let mut kept = self.kept.lock();
        for (at, message) in missing.into_iter().zip(fetched) {
            if let (Some(position), Some(message)) = (positions.get(at), &message) {
                kept.keep((shard, *position), message, self.budget);
            }
            if let Some(place) = found.get_mut(at) {
                *place = message;
            }
        }
        Ok(found)
    }

    /// Bytes kept now.
    pub fn bytes(&self) -> usize {
        self.kept.lock().bytes
    }
}

impl Kept {
    fn find(&self, shard: ShardId, positions: &[Position]) -> Vec<Option<Arc<Message>>> {
        positions.iter().map(|position| self.messages.get(&(shard, *position)).cloned()).collect()
    }

    fn keep(&mut self, key: (ShardId, Position), message: &Arc<Message>, budget: usize) {
        let cost = cost(message);
        if cost > budget || self.messages.contains_key(&key) {
            return;
        }
        while self.bytes + cost > budget {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.messages.remove(&oldest).map_or(0, |message| self::cost(&message));
        }
        self.bytes += cost;
        self.messages.insert(key, Arc::clone(message));
        self.order.push_back(key);
    }
}

fn cost(message: &Message) -> usize {
    OVERHEAD + message.topic.as_str().len() + message.properties.encoded().len() + message.body.len()
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("budget", &self.budget).finish_non_exhaustive()
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

    fn cache(broker: &Arc<Double>, budget: usize) -> Messages {
        let counter = || IntCounter::new("c", "test").unwrap();
        Messages::new(broker.clone(), budget, counter(), counter())
    }

    fn broker() -> Arc<Double> {
        let broker = Double::new(1);
        (0..10).for_each(|position| broker.store(0, position, message(b"body")));
        broker
    }

    #[tokio::test]
    async fn without_a_budget_every_call_passes_through() {
        let broker = broker();
        let cache = cache(&broker, 0);
        for _ in 0..2 {
            assert_eq!(cache.fetch(SHARD, positions(&[1, 2])).await.unwrap().len(), 2);
            assert_eq!(broker.fetched(), positions(&[1, 2]));
        }
        assert_eq!(cache.bytes(), 0);
    }

    #[tokio::test]
    async fn with_one_a_message_is_asked_for_once_and_answers_come_in_the_order_of_the_question() {
        let broker = broker();
        let cache = cache(&broker, 1 << 20);
        let first = cache.fetch(SHARD, positions(&[3, 1])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[3, 1]));
        let second = cache.fetch(SHARD, positions(&[1, 99, 2, 3])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[99, 2]));
        let shared = |a: &Option<Arc<Message>>, b: &Option<Arc<Message>>| {
            a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
        };
        assert!(shared(&first[0], &second[3]) && shared(&first[1], &second[0]));
        assert!(second[1].is_none() && second[2].is_some());
        // Nothing is kept of what is not there.
        assert!(cache.fetch(SHARD, positions(&[99])).await.unwrap()[0].is_none());
        assert_eq!(broker.fetched(), positions(&[99]));
        assert_eq!((cache.hits.get(), cache.misses.get()), (2, 5));
    }

    #[tokio::test]
    async fn the_budget_holds_and_what_came_first_goes_first() {
        let broker = broker();
        let each = cost(&message(b"body"));
        let small = cache(&broker, 3 * each);
        for position in 0..10 {
            small.fetch(SHARD, positions(&[position])).await.unwrap();
            assert!(small.bytes() <= 3 * each);
        }
        broker.fetched();
        small.fetch(SHARD, positions(&[6, 7, 8, 9])).await.unwrap();
        assert_eq!(broker.fetched(), positions(&[6]));
        let tiny = cache(&broker, each - 1);
        tiny.fetch(SHARD, positions(&[1])).await.unwrap();
        assert_eq!(tiny.bytes(), 0);
    }
}
