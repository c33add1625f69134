//! What came of a command, and the rows of a session.

use std::time::Duration;

use causeway_model::{
    Epoch, Filter, Incarnation, Kind, PacketId, Position, Qos, ShardId, Sid, Stamp, SubscribeOptions,
};

/// What came of one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The message is in the log at this position and in its queues.
    Published {
        /// Position of the record.
        position: Position,
    },
    /// The publisher's packet id is still held by an earlier message: stored once.
    Duplicate,
    /// The filter is indexed (or no longer) for messages above this position.
    Interest {
        /// Position of the record.
        position: Position,
    },
    /// The session is open.
    Opened(Opened),
    /// The subscription holds.
    Subscribed {
        /// It replaced one.
        existed: bool,
        /// Where it starts on each shard.
        from: Vec<(ShardId, Position)>,
    },
    /// The subscription is gone.
    Unsubscribed {
        /// There was one.
        existed: bool,
    },
    /// Applied.
    Done,
    /// Logged, and apply found that it must not take effect.
    Rejected(Rejected),
}

/// Why a logged command had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A newer epoch owns the session.
    Fenced,
    /// No such session, topic or gateway.
    NotFound,
    /// A limit would be passed: filters of a session, active filters.
    Quota,
    /// The content breaks a rule.
    Invalid,
}

impl Rejected {
    /// The kind that protocols translate.
    pub fn kind(self) -> Kind {
        match self {
            Self::Fenced => Kind::Fenced,
            Self::NotFound => Kind::NotFound,
            Self::Quota => Kind::Quota,
            Self::Invalid => Kind::Invalid,
        }
    }
}

/// An opened session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The session; kept on resume.
    pub sid: Sid,
    /// This opening.
    pub epoch: Epoch,
    /// A session was resumed: CONNACK's Session Present.
    pub present: bool,
    /// The session outlives the connection.
    pub persistent: bool,
    /// The gateway that held the client until now, if it was connected.
    pub old_owner: Option<Incarnation>,
    /// The expiry granted: capped to the log's `retention.min_age`.
    pub expiry: Duration,
}

/// The rows of a session as one shard has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Session {
    /// Its subscriptions; empty on another shard than its home.
    pub subscriptions: Vec<Subscription>,
    /// Its lane on the shard asked.
    pub lane: Lane,
}

/// A subscription as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The filter.
    pub filter: Filter,
    /// What was granted.
    pub options: SubscribeOptions,
    /// Where it starts on each shard.
    pub from: Vec<(ShardId, Position)>,
}

/// A session's progress on one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Everything at or below is finished.
    pub cursor: Position,
    /// Deliveries above the cursor, by stamp.
    pub flights: Vec<InFlight>,
}

/// A delivery above the cursor that was started or finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which entry.
    pub stamp: Stamp,
    /// Where its body is.
    pub position: Position,
    /// The quality of service it is delivered with.
    pub qos: Qos,
    /// Its packet id.
    pub pid: Option<PacketId>,
    /// How far it has come.
    pub state: FlightState,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightState {
    /// PUBLISH was sent.
    Sent = 1,
    /// PUBREC came (QoS 2).
    Received = 2,
    /// Finished ahead of the cursor.
    Done = 3,
    /// Given up for now; offered again later.
    Parked = 4,
}
