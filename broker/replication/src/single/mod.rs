//! The committer of a log without replicas: one log thread, one apply thread, nothing in between.

mod apply;
mod failure;
mod gate;
mod handover;
mod log;
mod replay;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use causeway_model::{Clock, Position};
use causeway_storage::format::MAX_BODY_BYTES;
use causeway_storage::{BatchKind, Draft, Group, Opened, Writer};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use self::apply::Apply;
use self::failure::Alarm;
use self::gate::{Budget, Gate};
use self::handover::Handover;
use self::log::Log;
pub use self::replay::Progress;
use crate::hold::Floor;
use crate::{Committer, Error, Hold, Pending, Priority, Refused, Role, StateMachine};

/// The budgets of a [`Single`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A batch takes waiting groups up to so many bytes, and always one.
    pub batch_bytes: usize,
    /// The largest group.
    pub group_bytes: usize,
    /// Bytes that may wait for the log thread.
    pub waiting_bytes: usize,
    /// Groups that may wait for the log thread.
    pub waiting_groups: usize,
    /// Bytes that may be durable and not yet applied; over it, the log thread waits for the apply thread.
    pub unapplied_bytes: usize,
    /// Bytes at the end of the log that are kept for groups that make room, once the disk has no more to give.
    pub reserve_bytes: u64,
    /// What [`Refused::Busy`] advises.
    pub retry_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_bytes: 8 << 20,
            group_bytes: 64 << 20,
            waiting_bytes: 32 << 20,
            waiting_groups: 65_536,
            unapplied_bytes: 16 << 20,
            reserve_bytes: 256 << 10,
            retry_after: Duration::from_millis(20),
        }
    }
}

/// See the module.
pub struct Single<O> {
    gate: Arc<Gate<O>>,
    floor: Arc<Floor>,
    group_bytes: usize,
    role: watch::Sender<Role>,
    durable: watch::Receiver<Position>,
    applied: watch::Receiver<Position>,
    failed: watch::Receiver<Option<Arc<Error>>>,
}

/// Stops a [`Single`]: takes nothing new, lets through what was taken, and joins its threads. Dropping it does the same.
pub struct Stopper {
    close: Box<dyn Fn() + Send + Sync>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Stopper {
    /// Returns once everything that was taken is answered and the log is closed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        (self.close)();
        for thread in self.threads.drain(..) {
            // A panic has raised the alarm already.
            let _ = thread.join();
        }
    }
}

impl<O: Send + 'static> Single<O> {
    /// Replays what the machine has not seen, starts a new term with a blank batch, and starts the threads. Blocks on
    /// the disk. An empty log is begun with `first`, the records of batch 0.
    pub fn start<S>(
        opened: Opened,
        mut machine: S,
        first: Option<Group>,
        clock: Arc<dyn Clock>,
        options: Options,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Arc<Self>, Stopper), Error>
    where
        S: StateMachine<Outcome = O>,
    {
        let Opened { mut writer, reader, .. } = opened;
        replay::replay(&reader, writer.end(), &mut machine, progress)?;
        let Led { term, index, end } = lead(&mut writer, first, clock.as_ref())?;
        replay::replay(&reader, end, &mut machine, &mut |_| {})?;
        tracing::info!(term, index, position = %end, "leading");

        let gate = Arc::new(Gate::new(Budget {
            bytes: options.waiting_bytes,
            groups: options.waiting_groups,
            retry_after: options.retry_after,
        }));
        let handover = Arc::new(Handover::new(options.unapplied_bytes));
        let floor = Floor::new({
            let gate = Arc::clone(&gate);
            move || gate.reclaim()
        });
        let alarm = Alarm::new({
            let (gate, handover) = (Arc::clone(&gate), Arc::clone(&handover));
            move || {
                gate.fail();
                handover.close();
            }
        });
        let durable = watch::Sender::new(end);
        let applied = watch::Sender::new(end);
        let single = Arc::new(Self {
            gate: Arc::clone(&gate),
            floor: Arc::clone(&floor),
            // What no batch could hold must be refused here: an append that fails is fatal.
            group_bytes: options.group_bytes.min(MAX_BODY_BYTES as usize),
            role: watch::Sender::new(Role { term, leader: true, since: end }),
            durable: durable.subscribe(),
            applied: applied.subscribe(),
            failed: alarm.watch(),
        });
        let log = Log {
            writer,
            gate: Arc::clone(&gate),
            handover: Arc::clone(&handover),
            floor,
            clock,
            durable,
            term,
            last: index,
            batch_bytes: options.batch_bytes,
            reserve: options.reserve_bytes,
            refusing: false,
        };
        let apply = Apply { machine, applied, run: Vec::new(), outcomes: Vec::new() };
        let mut stopper = Stopper { close: Box::new(move || gate.close()), threads: Vec::new() };
        let alarms = alarm.clone();
        stopper.threads.push(spawn("log", &alarm, move || log.run(&alarms))?);
        let alarms = alarm.clone();
        stopper.threads.push(spawn("apply", &alarm, move || apply.run(&handover, &alarms))?);
        Ok((single, stopper))
    }
}

/// A term that was begun: its blank batch.
struct Led {
    term: u64,
    index: u64,
    end: Position,
}

/// Begins an empty log with batch 0, whose term nobody leads, and then a term with its blank batch.
fn lead(writer: &mut Writer, first: Option<Group>, clock: &dyn Clock) -> Result<Led, Error> {
    if writer.last().is_none() {
        let groups = vec![first.ok_or(Error::NoFirstBatch)?];
        let kind = BatchKind::Membership;
        write(writer, Draft { kind, term: 0, index: 0, committed: 0, time: clock.now(), groups })?;
    }
    let term = writer.last().map_or(0, |(term, _)| term) + 1;
    let (index, committed) = (writer.next_index(), writer.next_index() - 1);
    let end =
        write(writer, Draft { kind: BatchKind::Blank, term, index, committed, time: clock.now(), groups: Vec::new() })?;
    Ok(Led { term, index, end })
}

fn write(writer: &mut Writer, draft: Draft) -> Result<Position, Error> {
    let index = draft.index;
    writer.append(draft).map_err(|source| Error::Append { index, source })?;
    writer.sync().map_err(|source| Error::Sync { index, source })
}

fn spawn(
    name: &'static str,
    alarm: &Alarm,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let alarm = alarm.clone();
    let body = move || {
        let guard = alarm.guard(name);
        body();
        drop(guard);
    };
    thread::Builder::new().name(name.into()).spawn(body).map_err(|source| Error::Thread { name, source })
}

impl<O: Send + 'static> Committer<O> for Single<O> {
    fn propose(&self, group: Group, term: Option<u64>, priority: Priority) -> Result<Pending<O>, Refused> {
        if group.len() > self.group_bytes {
            return Err(Refused::TooLarge { bytes: group.len(), max: self.group_bytes });
        }
        if term.is_some_and(|term| term != self.role.borrow().term) {
            return Err(Refused::NotLeader { hint: None });
        }
        self.gate.enter(group, priority)
    }

    fn role(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    fn durable(&self) -> watch::Receiver<Position> {
        self.durable.clone()
    }

    fn applied(&self) -> watch::Receiver<Position> {
        self.applied.clone()
    }

    fn barrier(&self) -> BoxFuture<'static, Result<Position, Refused>> {
        // Nobody else can lead, and what was acknowledged is applied: now is late enough.
        let applied = *self.applied.borrow();
        ready(if self.failed.borrow().is_some() { Err(Refused::Unavailable) } else { Ok(applied) }).boxed()
    }

    fn hold(&self, at: Position) -> Hold {
        self.floor.hold(at)
    }

    fn release(&self, below: Position) {
        self.floor.release(below);
    }

    fn failed(&self) -> watch::Receiver<Option<Arc<Error>>> {
        self.failed.clone()
    }
}
