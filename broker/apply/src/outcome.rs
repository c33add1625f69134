//! What came of a record: one outcome each, in order. The broker maps them one to one onto the port's replies.

use std::time::Duration;

use causeway_model::{Epoch, Incarnation, Position, ShardId, Sid};

/// What came of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message is in its queues. Its position is the record's.
    Published,
    /// The filter is indexed (or no longer) for messages above the record's position.
    Interest,
    /// The session is open.
    Opened(Box<Opened>),
    /// The subscription holds.
    Subscribed {
        /// It replaced one, and `from` is the old one's.
        existed: bool,
        /// Where it starts on each shard: entries above are its.
        from: Vec<(ShardId, Position)>,
    },
    /// The subscription is gone.
    Unsubscribed {
        /// There was one.
        existed: bool,
    },
    /// Took effect, or had before.
    Done,
    /// Had no effect.
    Rejected(Reason),
}

/// An opened session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session; kept on resume.
    pub sid: Sid,
    /// This opening.
    pub epoch: Epoch,
    /// A session was resumed.
    pub present: bool,
    /// The session has rows beyond its head: subscriptions and a lane.
    pub persistent: bool,
    /// The gateway that held the client until now, if it was connected.
    pub old_owner: Option<Incarnation>,
    /// The expiry that the record granted.
    pub expiry: Duration,
}

/// Why a record had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A newer epoch owns the session, the session's connection has ended, or the gateway was declared lost.
    Fenced,
    /// No such session, topic, gateway or timer.
    NotFound,
    /// A limit would be passed.
    Quota,
    /// The content breaks a rule.
    Invalid,
    /// Something below still needs the log.
    Pinned,
}
