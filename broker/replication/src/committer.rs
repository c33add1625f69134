//! The seam on one screen: what callers may ask of whoever commits a shard's log, and what a state machine owes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_model::Position;
use causeway_storage::{Batch, Group, Mark};
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use crate::Hold;

/// What is made of the log: an ordered consumer of whole, durable batches.
pub trait StateMachine: Send + 'static {
    /// What a proposer gets for one record.
    type Outcome: Send + 'static;
    /// Why a batch cannot be applied. Any error stops the shard: the log says something that this build cannot do.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Up to where batches are applied; replay starts behind it.
    fn applied(&self) -> Mark;

    /// Applies a run of whole batches, in order, and appends one outcome a record, in order of the records.
    ///
    /// On replay (`live` is false) nobody waits: outcomes may be left out and events must not fire.
    fn apply(
        &mut self,
        run: &[Arc<Batch>],
        live: bool,
        outcomes: &mut Vec<Applied<Self::Outcome>>,
    ) -> Result<(), Self::Error>;
}

/// What came of one record, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied<O> {
    /// First byte of the record's frame.
    pub position: Position,
    /// What the state machine made of it.
    pub outcome: O,
}

/// Why a group was not taken. Nothing was appended: it may be proposed again as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More waits than the budget allows.
    #[error("too many proposals wait, retry after {} ms", retry_after.as_millis())]
    Busy {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The group is larger than a batch may be.
    #[error("a group of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Bytes of the group.
        bytes: usize,
        /// The most a group may have.
        max: usize,
    },
    /// This replica does not lead, or not in the expected term.
    #[error("not leader")]
    NotLeader {
        /// The leader's address, when known.
        hint: Option<String>,
    },
    /// The disk has no room for this group. Reads go on, and writes resume by themselves once there is space.
    #[error("disk full")]
    DiskFull,
    /// Shut down, or writing ended with a failed disk.
    #[error("unavailable")]
    Unavailable,
}

/// How a proposal that was taken can end without outcomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It turned out that it could not be appended: nothing was done.
    #[error("refused: {0}")]
    Refused(Refused),
    /// It may be in the log or not: the disk failed, the shard stopped, or leadership was lost in between.
    #[error("outcome unknown")]
    Unknown,
}

/// What a group is for, which decides what happens to it when the disk is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Refused with [`Refused::DiskFull`] when only the reserve is left.
    #[default]
    Ordinary,
    /// May use the reserve: small records that make room, such as a trim.
    MakesRoom,
}

/// What a committer answers: one outcome a record, or that nothing was appended.
pub type Answer<O> = Result<Vec<Applied<O>>, Refused>;

/// The answer to a proposal: one outcome a record of the group, in order. Dropping it changes nothing.
#[derive(Debug)]
pub struct Pending<O>(oneshot::Receiver<Answer<O>>);

impl<O> Pending<O> {
    /// An answer, and the end through which the committer gives it; dropping that end answers [`Failure::Unknown`].
    pub fn channel() -> (oneshot::Sender<Answer<O>>, Self) {
        let (done, pending) = oneshot::channel();
        (done, Self(pending))
    }

    /// Waits on a thread of its own, for callers that are not async.
    ///
    /// # Panics
    /// Within an async runtime, as every blocking wait there would.
    pub fn wait(self) -> Result<Vec<Applied<O>>, Failure> {
        settle(self.0.blocking_recv())
    }
}

impl<O> Future for Pending<O> {
    type Output = Result<Vec<Applied<O>>, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(settle)
    }
}

fn settle<O>(answer: Result<Answer<O>, oneshot::error::RecvError>) -> Result<Vec<Applied<O>>, Failure> {
    match answer {
        Ok(Ok(outcomes)) => Ok(outcomes),
        Ok(Err(refused)) => Err(Failure::Refused(refused)),
        Err(_) => Err(Failure::Unknown),
    }
}

/// Whether this replica leads, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The current term.
    pub term: u64,
    /// This replica leads in it.
    pub leader: bool,
    /// End of the leader's own blank batch: what is above it was proposed here, in this term.
    pub since: Position,
}

/// Whoever commits a shard's log.
pub trait Committer<O>: Send + Sync + 'static {
    /// Takes a group. Calls are ordered: of two, the earlier one's records come first in the log. Never waits.
    ///
    /// With `term`, the group is refused unless this replica leads in exactly that term: for proposers who acted on
    /// what they read as the leader.
    ///
    /// # Errors
    /// The group was not taken and nothing was appended.
    fn propose(&self, group: Group, term: Option<u64>, priority: Priority) -> Result<Pending<O>, Refused>;

    /// Term and leadership.
    fn role(&self) -> watch::Receiver<Role>;

    /// Everything below is durable here.
    fn durable(&self) -> watch::Receiver<Position>;

    /// Everything below is applied here; published before the proposers get their outcomes.
    fn applied(&self) -> watch::Receiver<Position>;

    /// Resolves to a position that covers everything acknowledged before the call, once it is applied here.
    fn barrier(&self) -> BoxFuture<'static, Result<Position, Refused>>;

    /// Keeps the log from `at` on, or from as low as it still goes, until the hold is dropped.
    fn hold(&self, at: Position) -> Hold;

    /// Says that this replica needs nothing below: trimmed, and covered by flushed tables and a checkpoint. Whole
    /// segments below it and below every hold may go.
    fn release(&self, below: Position);

    /// Becomes set when the shard stopped: a failed disk, or a batch that cannot be applied. The process should exit.
    fn failed(&self) -> watch::Receiver<Option<Arc<crate::Error>>>;
}
