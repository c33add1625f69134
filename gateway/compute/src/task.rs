//! The only place that starts tasks. Every kind of task says what its end means, so that no failure passes unseen and
//! none takes down more than it must.
//!
//! | kind | panic | ends by itself while serving | aborted at the drain deadline |
//! |---|---|---|---|
//! | `Accept` | process stops | process stops: nobody could connect | never: it ends when drain begins |
//! | `Connection` | that client is disconnected | the client is gone | the client sees its socket close; its session has its last `Progress` |
//! | `Evict` | process stops: a drain would ask nobody to go | process stops | never: its pace ends well before the deadline |
//! | `Progress` | process stops: cursors would stand still unseen | process stops | cursors as of the last record: redelivery |
//! | `Dispatch` | process stops: subscribers would wait for ever | process stops | nothing: hints are volatile |
//! | `Interest`, `Settle` | process stops: wildcards would leak or never start | `Settle` is done | nothing: `Gateway{lost}` cleans up |
//! | `Lease` | process stops: gateways would be lost unseen, or never | a gateway's run ended: fenced, or it left | nothing: the lease runs out |
//! | `Lookup` | hints grow stale: finding a client asks every gateway | a gateway's run ended | nothing: hints are volatile |
//! | `Link` | process stops: no broker can be reached any more | its client was dropped | waiting calls are told |
//! | `LinkServer` | process stops: gateways would wait for ever | process stops | gateways see their link close, and try again |
//! | `Admin` | process stops: probes would lie | process stops | nothing |
//! | `AdminConnection` | that connection is closed | who asked is gone | nothing |

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::drain::Drain;
use crate::metrics::TaskMetrics;

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Accepts connections on one address.
    Accept,
    /// Serves one client.
    Connection,
    /// Asks clients to go in a drain, at its pace.
    Evict,
    /// Logs the progress of many sessions, lazily.
    Progress,
    /// Hands the frames of one shard to mailboxes.
    Dispatch,
    /// Ends the interest of wildcards that nobody uses.
    Interest,
    /// Awaits the outcome of one proposal and writes it down.
    Settle,
    /// Beats for a gateway, or counts the beats of all.
    Lease,
    /// Tells other gateways who is here.
    Lookup,
    /// Keeps the link to the brokers.
    Link,
    /// Serves links.
    LinkServer,
    /// Serves admin HTTP.
    Admin,
    /// Serves one connection of admin HTTP.
    AdminConnection,
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only what the task served is affected.
    Task,
    /// The process cannot serve without it: it drains and exits.
    Process,
}

/// Tasks that serve clients end first; what they stand on ends after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wave {
    /// Listeners, connections and what they leave behind.
    Front,
    /// Everything that connections need until their last packet.
    Back,
}

impl Kind {
    /// Every kind, for metrics.
    pub const ALL: [Self; 13] = [
        Self::Accept,
        Self::Connection,
        Self::Evict,
        Self::Progress,
        Self::Dispatch,
        Self::Interest,
        Self::Settle,
        Self::Lease,
        Self::Lookup,
        Self::Link,
        Self::LinkServer,
        Self::Admin,
        Self::AdminConnection,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connection => "connection",
            Self::Evict => "evict",
            Self::Progress => "progress",
            Self::Dispatch => "dispatch",
            Self::Interest => "interest",
            Self::Settle => "settle",
            Self::Lease => "lease",
            Self::Lookup => "lookup",
            Self::Link => "link",
            Self::LinkServer => "link_server",
            Self::Admin => "admin",
            Self::AdminConnection => "admin_connection",
        }
    }

    /// What a panic or an error of such a task affects.
    pub fn on_failure(self) -> Reach {
        match self {
            Self::Connection | Self::AdminConnection | Self::Lookup => Reach::Task,
            Self::Accept
            | Self::Evict
            | Self::Progress
            | Self::Dispatch
            | Self::Interest
            | Self::Settle
            | Self::Lease
            | Self::Link
            | Self::LinkServer
            | Self::Admin => Reach::Process,
        }
    }

    /// What it means that such a task ends although nothing asked it to.
    pub fn on_end(self) -> Reach {
        match self {
            Self::Connection | Self::AdminConnection | Self::Settle | Self::Lease | Self::Lookup | Self::Link => {
                Reach::Task
            }
            Self::Accept
            | Self::Evict
            | Self::Progress
            | Self::Dispatch
            | Self::Interest
            | Self::LinkServer
            | Self::Admin => Reach::Process,
        }
    }

    /// When it ends in a drain.
    pub fn wave(self) -> Wave {
        match self {
            Self::Accept | Self::Connection | Self::Evict | Self::Progress => Wave::Front,
            Self::Dispatch
            | Self::Interest
            | Self::Settle
            | Self::Lease
            | Self::Lookup
            | Self::Link
            | Self::LinkServer
            | Self::Admin
            | Self::AdminConnection => Wave::Back,
        }
    }
}

/// Why the process must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} task {cause}", kind.name())]
pub struct Failure {
    /// Which kind of task failed.
    pub kind: Kind,
    /// What it did: panicked, ended, or its error.
    pub cause: String,
}

/// Starts tasks and knows them all. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    drain: Drain,
    front: TaskTracker,
    back: TaskTracker,
    running: Mutex<Running>,
    failure: watch::Sender<Option<Failure>>,
    metrics: TaskMetrics,
}

impl Tasks {
    /// No task yet. `drain` tells an expected end from a failure.
    pub fn new(drain: Drain, metrics: TaskMetrics) -> Self {
        Self(Arc::new(Inner {
            drain,
            front: TaskTracker::new(),
            back: TaskTracker::new(),
            running: Mutex::default(),
            failure: watch::Sender::new(None),
            metrics,
        }))
    }

    /// Starts a task that cannot fail but by panic. Must be called within a Tokio runtime.
    pub fn spawn(&self, kind: Kind, task: impl Future<Output = ()> + Send + 'static) {
        self.start(kind, task.map(|()| Ok(())));
    }

    /// Starts a task whose error is a failure of its kind.
    pub fn spawn_fallible<E: Display + Send + 'static>(
        &self,
        kind: Kind,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.start(kind, task.map(|outcome| outcome.map_err(|error| format!("failed: {error}"))));
    }

    // Combinators, not an async block: a block would hold the task's state twice, and a connection's is the largest
    // part of what an idle client costs.
    fn start(&self, kind: Kind, task: impl Future<Output = Result<(), String>> + Send + 'static) {
        let ticket = self.0.running.lock().reserve();
        let mut leave = Leave { inner: Arc::clone(&self.0), kind, ticket, ended: false };
        let watched = AssertUnwindSafe(task).catch_unwind().map(move |outcome| leave.judge(outcome));
        let tracker = match kind.wave() {
            Wave::Front => &self.0.front,
            Wave::Back => &self.0.back,
        };
        #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
        let handle = tokio::spawn(tracker.track_future(watched)).abort_handle();
        self.0.running.lock().fill(ticket, kind, handle);
    }

    /// The drain that these tasks follow.
    pub fn drain(&self) -> &Drain {
        &self.0.drain
    }

    /// The first failure that reached the process.
    pub fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.0.failure.subscribe()
    }

    /// Tasks that have not ended.
    pub fn count(&self) -> usize {
        self.0.front.len() + self.0.back.len()
    }

    /// Resolves when no task of the wave is left.
    pub async fn ended(&self, wave: Wave) {
        let tracker = match wave {
            Wave::Front => &self.0.front,
            Wave::Back => &self.0.back,
        };
        tracker.close();
        tracker.wait().await;
    }

    /// Drops every task of the wave wherever it waits; returns how many there were.
    pub fn abort(&self, wave: Wave) -> usize {
        let handles = self.0.running.lock().take(wave);
        // Outside the lock: dropping a task takes it again.
        handles.iter().for_each(AbortHandle::abort);
        handles.len()
    }
}

/// Ends a task's entry whether it returned, panicked or was aborted.
struct Leave {
    inner: Arc<Inner>,
    kind: Kind,
    ticket: Ticket,
    ended: bool,
}

impl Leave {
    fn judge(&mut self, outcome: Result<Result<(), String>, Box<dyn std::any::Any + Send>>) {
        self.ended = true;
        let draining = match self.kind.wave() {
            Wave::Front => self.inner.drain.has_begun(),
            Wave::Back => self.inner.drain.is_closing(),
        };
        let (cause, reach) = match outcome {
            Ok(Ok(())) if draining || self.kind.on_end() == Reach::Task => return,
            Ok(Ok(())) => ("ended".to_owned(), Reach::Process),
            Ok(Err(cause)) => (cause, self.kind.on_failure()),
            Err(payload) => {
                self.inner.metrics.panics(self.kind).inc();
                (format!("panicked: {}", panic_text(&*payload)), self.kind.on_failure())
            }
        };
        match reach {
            Reach::Task => tracing::error!(kind = self.kind.name(), cause, "task failed"),
            Reach::Process => {
                tracing::error!(kind = self.kind.name(), cause, "task failed, the process cannot serve without it");
                let failure = Failure { kind: self.kind, cause };
                self.inner.failure.send_if_modified(|first| first.is_none().then(|| *first = Some(failure)).is_some());
            }
        }
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.ended {
            self.inner.metrics.aborted(self.kind).inc();
        }
        self.inner.running.lock().leave(self.ticket);
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Names one use of one slot: a task may end before its handle is stored, and another may have its slot by then.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    slot: usize,
    turn: u64,
}

#[derive(Debug, Default)]
struct Running {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Slot {
    turn: u64,
    task: Option<(Kind, AbortHandle)>,
}

impl Running {
    fn reserve(&mut self) -> Ticket {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        Ticket { slot, turn: self.slots.get(slot).map_or(0, |slot| slot.turn) }
    }

    fn fill(&mut self, ticket: Ticket, kind: Kind, handle: AbortHandle) {
        if let Some(slot) = self.slots.get_mut(ticket.slot).filter(|slot| slot.turn == ticket.turn) {
            slot.task = Some((kind, handle));
        }
    }

    fn leave(&mut self, ticket: Ticket) {
        if let Some(slot) = self.slots.get_mut(ticket.slot).filter(|slot| slot.turn == ticket.turn) {
            slot.turn += 1;
            slot.task = None;
            self.free.push(ticket.slot);
        }
    }

    fn take(&mut self, wave: Wave) -> Vec<AbortHandle> {
        let slots = self.slots.iter().filter_map(|slot| slot.task.as_ref());
        slots.filter(|(kind, _)| kind.wave() == wave).map(|(_, handle)| handle.clone()).collect()
    }
}
