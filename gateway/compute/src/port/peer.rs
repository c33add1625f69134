//! What gateways ask each other: who holds a client, where an entry of the lookup is, that a client be asked to go.
//!
//! Nothing here is needed for a message to arrive: an ask that is lost costs a broadcast, a redelivery or a kick that
//! fencing makes up for.

use std::time::Duration;

use causeway_model::{Epoch, Incarnation, QueueId, Text};
use futures_util::future::BoxFuture;

use super::{MapEpoch, Member, SlotSet, Whereabout};
use crate::registry::{Kick, Online};

/// Other gateways, to ask things of.
pub trait Peers: Send + Sync + 'static {
    /// Asks another gateway; one answer an ask, in order. Dropping the future gives the question up. It may take as
    /// long as the peer is silent: the caller brings the deadline.
    ///
    /// # Errors
    /// Some or all of the asks may have taken effect.
    fn ask(&self, to: &Member, asks: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>>;
}

/// This gateway, as others ask it.
pub trait Peer: Send + Sync + 'static {
    /// One answer an ask, in order.
    fn answer(&self, asks: Vec<Ask>) -> BoxFuture<'static, Vec<Answer>>;
}

/// Nobody to ask: a gateway that others cannot reach, and that reaches none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn ask(&self, to: &Member, _: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>> {
        let error = PeerError::NoAddress { gateway: to.name.clone() };
        Box::pin(std::future::ready(Err(error)))
    }
}

/// A question or an order to another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// These clients are online, for the owner of their slots. Answered by [`Answer::Done`] or [`Answer::Moved`]. With
    /// no entries it is how a newcomer says that a newer map exists.
    Enter {
        /// The asker's map.
        epoch: MapEpoch,
        /// Who is where.
        entries: Vec<Whereabout>,
    },
    /// These sessions' connections have ended: entries that are not newer go. Answered as `Enter` is.
    Leave {
        /// The asker's map.
        epoch: MapEpoch,
        /// What ended.
        entries: Vec<Whereabout>,
    },
    /// A gateway's entries in these slots go: it enters its clients anew. Answered as `Enter` is.
    Forget {
        /// The asker's map.
        epoch: MapEpoch,
        /// Whose entries.
        gateway: Incarnation,
        /// In which slots.
        slots: SlotSet,
    },
    /// Where the owner of a client's slot has it. Answered by [`Answer::Found`] or [`Answer::Moved`].
    Find {
        /// The asker's map.
        epoch: MapEpoch,
        /// The id of the client's queue.
        client: QueueId,
    },
    /// Whether the asked gateway holds a connection of the client. Answered by [`Answer::Here`].
    Where(QueueId),
    /// That a client's connection be asked to go. Answered by [`Answer::Kicked`].
    Kick {
        /// The id of the client's queue.
        client: QueueId,
        /// What it is told.
        why: Kick,
        /// Only a connection whose session was opened here or earlier; `None`: any.
        upto: Option<Epoch>,
        /// How long the answer may wait for the end of the connection and of its last words.
        wait: Duration,
    },
    /// Connections of the asked gateway in the order of their ids. Answered by [`Answer::Page`].
    Page {
        /// Those after this id.
        after: Option<QueueId>,
        /// At most so many.
        limit: u32,
    },
}

/// What the asked gateway says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The asked gateway has another map, or does not own the slot: nothing was done, it knows nothing.
    Moved {
        /// The newest map that it knows of.
        epoch: MapEpoch,
    },
    /// The entry, if the owner has one.
    Found(Option<Whereabout>),
    /// The connection, if there is one.
    Here {
        /// The newest map that the asked gateway knows of: who has an older one cannot know everybody.
        epoch: MapEpoch,
        /// The connection.
        online: Option<Online>,
    },
    /// What became of a kick.
    Kicked(Kicked),
    /// Connections in the order of their ids.
    Page(Vec<Online>),
    /// The asked gateway does not know what it was asked.
    Refused,
}

/// What became of a kick at one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kicked {
    /// It has no such connection.
    Absent,
    /// The connection was asked to go and has not ended yet.
    Asked,
    /// The connection has ended and its last words were proposed.
    Ended,
}

/// Why another gateway's answer did not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nobody can ask it.
    #[error("gateway {gateway} has no address for other gateways")]
    NoAddress {
        /// Its name.
        gateway: Text,
    },
    /// No connection, or it ended.
    #[error("gateway {gateway} cannot be reached: {cause}")]
    Unreachable {
        /// Its name.
        gateway: Text,
        /// What happened.
        cause: Text,
    },
    /// It runs, and does not answer.
    #[error("gateway {gateway} did not answer within {}ms", after.as_millis())]
    Silent {
        /// Its name.
        gateway: Text,
        /// The deadline.
        after: Duration,
    },
    /// So much is asked of it already that more would not be answered in time.
    #[error("too many questions wait for gateway {gateway}")]
    Busy {
        /// Its name.
        gateway: Text,
    },
    /// It answered something else than what was asked.
    #[error("gateway {gateway} gave an answer that fits no question")]
    Nonsense {
        /// Its name.
        gateway: Text,
    },
}
