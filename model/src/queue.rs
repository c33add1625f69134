//! What a queue is called in the index: a keyed hash of its name, so that nothing is registered and nothing interned.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::{Filter, Namespace, topic_queue};

/// What a queue collects. The number is part of the queue's id and frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// A queue of a server topic, with dense offsets (RocketMQ, AMQP).
    Server = 1,
    /// One exact topic.
    Light = 2,
    /// One wildcard filter that has an owner.
    Filter = 3,
    /// Messages to one client, peer to peer.
    Client = 4,
    /// A namespace's messages that match more filters than one record may enter.
    Overflow = 5,
    /// Everything a namespace's `#` matches. Its entries are the log itself: the id names it in notify frames only.
    All = 6,
}

/// A queue's id: SipHash-2-4-128 under the cluster's key. A collision cannot misdeliver, since readers check the topic
/// against the record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueId(pub [u8; 16]);

impl Hash for QueueId {
    // Already a keyed hash: its first half is as good as anything a hasher could make of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (first, _) = self.0.split_at(8);
        state.write_u64(first.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueId({self})")
    }
}

/// A map by queue id that does not hash the hash again.
pub type QueueIdMap<V> = HashMap<QueueId, V, BuildHasherDefault<PassThrough>>;

/// A set of queue ids, likewise.
pub type QueueIdSet = HashSet<QueueId, BuildHasherDefault<PassThrough>>;

/// The hasher of [`QueueIdMap`]: hands the id's first eight bytes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Only QueueId uses this hasher and it writes one u64; folding keeps any other use correct, if slow.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The 16-byte key that `ClusterInit` draws: without it nobody can make names whose queues collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(..)")
    }
}

impl HashKey {
    /// The id of a queue: hash of kind ‖ namespace ‖ 0 ‖ name.
    pub fn queue(&self, kind: QueueKind, namespace: &Namespace, name: &str) -> QueueId {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[kind as u8]);
        hasher.write(namespace.as_str().as_bytes());
        hasher.write(&[0]);
        hasher.write(name.as_bytes());
        QueueId(hasher.finish128().as_bytes())
    }

    /// The queue that messages to a topic enter: the topic's own, or that of the client it is addressed to.
    pub fn topic_queue(&self, namespace: &Namespace, topic: &str) -> QueueId {
        let (kind, name) = topic_queue(topic);
        self.queue(kind, namespace, name)
    }

    /// The queue that holds what a filter matches.
    pub fn filter_queue(&self, namespace: &Namespace, filter: &Filter) -> QueueId {
        let (kind, name) = filter.queue();
        self.queue(kind, namespace, name)
    }

    /// The queue of a server topic, by number.
    pub fn server_queue(&self, namespace: &Namespace, topic: &str, number: u16) -> QueueId {
        // NUL cannot be in a topic, so no topic's name can look like another's queue.
        self.queue(QueueKind::Server, namespace, &format!("{topic}\0{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_frozen() {
        let key = HashKey([7; 16]);
        let id = key.queue(QueueKind::Light, &Namespace::default(), "plant/7/temp");
        assert_eq!(id.to_string(), GOLDEN);
    }

    const GOLDEN: &str = "eb6ede7da479808e1d80253c2cfb07ad";

    #[test]
    fn a_topic_and_the_filter_of_its_name_are_one_queue() {
        let (key, namespace) = (HashKey([1; 16]), Namespace::default());
        for (topic, kind, name) in [("a/b", QueueKind::Light, "a/b"), ("$p2p/a/b", QueueKind::Client, "a/b")] {
            let queue = key.queue(kind, &namespace, name);
            assert_eq!(key.topic_queue(&namespace, topic), queue);
            assert_eq!(key.filter_queue(&namespace, &Filter::new(topic.into()).unwrap()), queue);
        }
    }

    #[test]
    fn kind_namespace_and_name_each_make_another_queue() {
        let key = HashKey([1; 16]);
        let ns = |name: &'static str| Namespace::new(name.into()).unwrap();
        let ids = [
            key.queue(QueueKind::Light, &ns(""), "a/b"),
            key.queue(QueueKind::Filter, &ns(""), "a/b"),
            key.queue(QueueKind::Client, &ns(""), "a/b"),
            key.queue(QueueKind::Light, &ns("a"), "a/b"),
            key.queue(QueueKind::Light, &ns("a"), "/b"),
            HashKey([2; 16]).queue(QueueKind::Light, &ns(""), "a/b"),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|b| a != b));
        }
    }
}
