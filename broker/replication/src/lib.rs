//! The committer seam: ordered proposals in, durable and applied records out.
//!
//! ```text
//!  propose(group) ─► gate ─► log thread: all waiting groups → one batch → one append → one sync
//!       │           (budget)      │
//!       │                         ▼ durable batches, bounded
//!       │                    apply thread: all that wait = one run → StateMachine::apply
//!       │                         │
//!       └──── outcomes, or ◄──────┘──► durable, applied, failed: watches
//!             refused, or Unknown
//! ```
//!
//! [`Committer`] is what callers see; [`Single`] is the one made by hand for a log without replicas. It writes exactly
//! the format that a Raft committer will, so either opens the other's directory, and both run the same `suite`.
//!
//! Invariants:
//! - `propose` never waits, and its order is the order in the log. A group is never split and never interleaved.
//! - A refusal means *not appended*. What was appended and has no answer is [`Failure::Unknown`].
//! - Acknowledged means durable *and* applied; a machine never sees a batch that is not durable here.
//! - No (term, index) is used twice: each open starts a term, and makes it durable with a blank batch before it takes
//!   a proposal. What came before is replay, and replay has no outcomes and no events.
//! - The first failed write or sync ends all writing until the process restarts; reads go on.
//!
//! What it refuses: to linger (a batch is what came during the last sync), to poll (idle costs no CPU), to grow
//! (proposals over the budget are [`Refused::Busy`]).

mod committer;
mod error;
mod hold;
mod single;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use committer::{Answer, Applied, Committer, Failure, Pending, Priority, Refused, Role, StateMachine};
pub use error::Error;
pub use hold::Hold;
pub use single::{Options, Progress, Single, Stopper};
