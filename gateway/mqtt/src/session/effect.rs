//! What a session is told and what it wants: values, so that it needs neither socket nor broker nor clock.

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::{Command, Error, LaneProgress, Page, Read, Reply, Session as Rows};
use causeway_model::{
    ClientId, Epoch, Filter, Incarnation, Message, Millis, PacketId, Position, QueueId, ShardId, Sid,
};

use super::Delivery;
use crate::codec::{Packet, Reason};

/// The time of an input, on both clocks: intervals are measured on the monotonic one, messages expire on the wall's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since some moment before the connection; never steps back.
    pub elapsed: Duration,
    /// The wall clock.
    pub wall: Millis,
}

/// Names the call that an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ticket {
    /// [`Call::Enter`].
    Enter,
    /// The proposal of `SessionOpen`.
    Open,
    /// The stored rows of a resumed session.
    Rows(ShardId),
    /// Attaching all queues of a resumed session.
    Resume,
    /// A proposal of publishes, numbered.
    Publish(u64),
    /// Pages for a lane that catches up.
    Read(ShardId),
    /// Messages to deliver from a lane.
    Fetch(ShardId),
    /// A step of the SUBSCRIBE or UNSUBSCRIBE in work, on a shard or for an item of it.
    Step(Step),
    /// The last words of a session on a shard.
    Close(ShardId),
    /// Nobody waits for the answer, and it is not tried again.
    Forgotten,
}

/// A step of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Queues are attached to the mailbox.
    Attach,
    /// A persistent session's wildcards become interest on a shard other than its home.
    Interest(ShardId),
    /// A volatile session's wildcard: the item's number in its SUBSCRIBE.
    Acquire(usize),
    /// Subscriptions are logged on the home shard, with the interest that they need there.
    Log,
    /// Subscriptions of a persistent session and their interest are removed on a shard.
    Remove(ShardId),
}

/// What a session asks for. Each call is answered once, under its ticket.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// Become the client's only connection on this gateway: kick the old one and wait until it has had its last
    /// proposals ordered. Answered by [`Answer::Entered`].
    Enter {
        /// The client.
        client: ClientId,
        /// What is left of its session is wanted: last words of a connection to another gateway are worth a short wait.
        resume: bool,
    },
    /// `Broker::propose`. Answered by [`Answer::Replies`].
    Propose(ShardId, Vec<Command>),
    /// `Broker::session`. Answered by [`Answer::Rows`].
    Rows(ShardId, Sid),
    /// `Broker::read`. Answered by [`Answer::Pages`].
    Read(ShardId, Vec<Read>),
    /// Messages by body position. Answered by [`Answer::Messages`].
    Fetch(ShardId, Vec<Position>),
    /// Attach queues to the session's mailbox. Answered by [`Answer::Attached`].
    Attach(Vec<QueueId>),
    /// Have a wildcard indexed for a volatile session. Answered by [`Answer::Acquired`].
    Acquire(Filter),
}

/// What came of a [`Call`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// No other connection of the client is left here.
    Entered,
    /// One reply a command.
    Replies(Result<Vec<Reply>, Error>),
    /// The rows, and the first position that the shard's log still holds.
    Rows(Result<Rows, Error>, Position),
    /// One page a read.
    Pages(Result<Vec<Page>, Error>),
    /// One message a position; `None` where the log was trimmed past it.
    Messages(Result<Vec<Option<Arc<Message>>>, Error>),
    /// Per shard: every entry above comes as a hint, everything at or below can be read.
    Attached(Vec<(ShardId, Position)>),
    /// Per shard: entries above are indexed.
    Acquired(Result<Vec<(ShardId, Position)>, Error>),
}

/// A packet to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Any packet but a PUBLISH.
    Packet(Packet),
    /// PUBACK, the most frequent one.
    PubAck(PacketId, Reason),
    /// PUBLISH.
    Publish(Delivery),
}

/// What a session wants done and does not wait for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// No more hints of these queues.
    Detach(Vec<QueueId>),
    /// The wildcard is no longer used by this volatile session.
    Release(Filter),
    /// A lane's cursor, to be logged lazily together with those of other sessions.
    Progress(ShardId, LaneProgress),
    /// The stored cursor lies below what the log still holds: messages may have been missed.
    Gap {
        /// On which shard.
        shard: ShardId,
        /// Bytes of log between them.
        bytes: u64,
    },
    /// Another gateway held the client until this opening: its connection is to go. Fencing protects the session from it
    /// meanwhile.
    TakenFrom {
        /// That gateway.
        owner: Incarnation,
        /// The opening that fenced it.
        epoch: Epoch,
    },
    /// Write what is to be written, then close the connection; the calls made before are answered or not, as it comes.
    Close,
}

/// Counts of one step, to be added to the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Publishes accepted for logging, by QoS.
    pub published: [u64; 3],
    /// QoS 0 publishes that could not be logged.
    pub dropped: u64,
    /// QoS 1 publishes answered with an error.
    pub refused: u64,
    /// Deliveries written, by QoS.
    pub delivered: [u64; 3],
    /// PUBACKs received.
    pub acknowledged: u64,
    /// Deliveries skipped because the message expired.
    pub expired: u64,
    /// Deliveries skipped because the message is over the client's Maximum Packet Size.
    pub oversized: u64,
    /// Deliveries skipped because the log no longer has the message.
    pub trimmed: u64,
    /// Times a lane had to read the index since hints were dropped.
    pub lagged: u64,
}

/// What one step of a session leaves to do, in order within each list: effects come before calls, but for
/// [`Effect::Close`], which is last.
#[derive(Debug, Default)]
pub struct Output {
    /// Packets.
    pub writes: Vec<Write>,
    /// Calls to be answered.
    pub calls: Vec<(Ticket, Call)>,
    /// All else.
    pub effects: Vec<Effect>,
    /// What happened.
    pub tally: Tally,
}

impl Output {
    pub(super) fn packet(&mut self, packet: Packet) {
        self.writes.push(Write::Packet(packet));
    }

    pub(super) fn call(&mut self, ticket: Ticket, call: Call) {
        self.calls.push((ticket, call));
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}
