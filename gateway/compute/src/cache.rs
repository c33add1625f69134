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
