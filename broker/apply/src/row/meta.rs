//! Values of `meta` and `queue` rows: applied mark, gateways, topics, heads of server queues.

use bytes::{BufMut, Bytes};
use causeway_model::{Millis, Namespace, Position, Text};

use crate::record::Kind;
use crate::record::wire::{Reader, put_bytes};

const VERSION: u8 = 1;

/// How far apply has come: written with every batch, read at open.
///
/// ```text
/// version u8 ‖ index u64 ‖ term u64 ‖ position u64 ‖ time u64 ‖ digest u64 ‖ membership index u64 ‖ membership
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedMark {
    /// Index of the last applied batch.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its end: everything below is applied. Zero: nothing is.
    pub position: Position,
    /// Apply's clock: the largest time of all batches.
    pub time: Millis,
    /// The running digest of everything that records wrote.
    pub digest: u64,
    /// Index of the last batch that changed the membership.
    pub membership_index: u64,
    /// What that batch said, as the replication writes it.
    pub membership: Bytes,
}

impl AppliedMark {
    pub(crate) fn encode(&self, buf: &mut Vec<u8>) {
        buf.put_u8(VERSION);
        for number in [self.index, self.term, self.position.0, self.time.0, self.digest, self.membership_index] {
            buf.put_u64(number);
        }
        buf.put_slice(&self.membership);
    }

    /// Reads it from its row.
    pub fn decode(value: &Bytes) -> Option<Self> {
        let mut r = Reader::new(Kind::ClusterInit, value, 0);
        if r.u8("version").ok()? != VERSION {
            return None;
        }
        let mut number = || r.u64("mark").ok();
        Some(Self {
            index: number()?,
            term: number()?,
            position: Position(number()?),
            time: Millis(number()?),
            digest: number()?,
            membership_index: number()?,
            membership: r.remaining(),
        })
    }
}

/// What is known of a gateway process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayState {
    /// It may own sessions and interest.
    Joined = 1,
    /// It may not; what it owned is being closed.
    Lost = 2,
}

impl GatewayState {
    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        match value {
            [1] => Some(Self::Joined),
            [2] => Some(Self::Lost),
            _ => None,
        }
    }
}

/// The value of a topic's row.
///
/// ```text
/// version u8 ‖ queues u16
/// ```
pub(crate) fn topic_value(queues: u16) -> [u8; 3] {
    let [high, low] = queues.to_be_bytes();
    [VERSION, high, low]
}

/// The number of queues in a topic's row.
pub(crate) fn read_topic_value(value: &[u8]) -> Option<u16> {
    match value {
        [VERSION, high, low] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The head of a server-topic queue.
///
/// ```text
/// version u8 ‖ number u16 ‖ next u64 ‖ namespace ‖ topic
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueHead {
    pub(crate) namespace: Namespace,
    pub(crate) topic: Text,
    pub(crate) number: u16,
    pub(crate) next: u64,
}

impl QueueHead {
    /// Encodes one without owning its names.
    pub(crate) fn encode(namespace: &str, topic: &str, number: u16, next: u64) -> Vec<u8> {
        let mut buf = Vec::with_capacity(24 + namespace.len() + topic.len());
        buf.put_u8(VERSION);
        buf.put_u16(number);
        buf.put_u64(next);
        put_bytes(&mut buf, namespace.as_bytes());
        put_bytes(&mut buf, topic.as_bytes());
        buf
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut r = Reader::row(Kind::TopicPut, value);
        if r.u8("version").ok()? != VERSION {
            return None;
        }
        let (number, next) = (r.u16("number").ok()?, r.u64("next").ok()?);
        Some(Self { namespace: r.namespace().ok()?, topic: r.text("topic").ok()?, number, next })
    }
}
