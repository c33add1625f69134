//! The log thread: sequencer and writer in one. What waits becomes one batch, one append, one sync.

use std::collections::VecDeque;
use std::sync::Arc;

use causeway_model::{Clock, Position};
use causeway_storage::format::HEADER_BYTES;
use causeway_storage::{Batch, BatchKind, Draft, Group, Writer};
use tokio::sync::watch;

use super::failure::Alarm;
use super::gate::{Gate, Waiting, Wake};
use super::handover::{Durable, Handover, Waiter};
use crate::hold::Floor;
use crate::{Error, Priority, Refused};

pub(super) struct Log<O> {
    pub(super) writer: Writer,
    pub(super) gate: Arc<Gate<O>>,
    pub(super) handover: Arc<Handover<O>>,
    pub(super) floor: Arc<Floor>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) durable: watch::Sender<Position>,
    pub(super) term: u64,
    /// Index of the newest batch, which is durable.
    pub(super) last: u64,
    /// A batch takes groups up to here, and always one.
    pub(super) batch_bytes: usize,
    /// Bytes at the end of the last segment that only [`Priority::MakesRoom`] may use when no other can be had.
    pub(super) reserve: u64,
    /// Ordinary groups are being refused. A smaller one that would still fit is refused too, or it would get ahead of
    /// an earlier one of the same publisher.
    pub(super) refusing: bool,
}

/// Groups on their way into one batch.
struct Next<O> {
    groups: Vec<Group>,
    waiters: Vec<Waiter<O>>,
    bytes: usize,
}

/// Why the thread ends, and whose groups may be in the log or not.
struct Stop<O> {
    error: Box<Error>,
    waiters: Vec<Waiter<O>>,
}

impl<O> Log<O> {
    /// Runs until the gate is closed and empty, or the disk fails.
    pub(super) fn run(mut self, alarm: &Alarm) {
        let mut backlog = VecDeque::new();
        let result = loop {
            match self.gate.take(&mut backlog) {
                Wake::Groups => {
                    if let Err(stop) = self.commit(&mut backlog) {
                        break Err(stop);
                    }
                    if self.gate.take_reclaim() {
                        self.reclaim();
                    }
                }
                Wake::Reclaim => self.reclaim(),
                Wake::Closed => break Ok(()),
            }
        };
        if let Err(Stop { error, waiters }) = result {
            // First the alarm, then the answers: whoever learns of the failure can ask what it was.
            alarm.raise(*error);
            drop(waiters);
            for waiting in backlog {
                // Not appended. If nobody waits any more there is nobody to tell.
                let _ = waiting.done.send(Err(Refused::Unavailable));
            }
        }
        self.handover.close();
    }

    fn commit(&mut self, backlog: &mut VecDeque<Waiting<O>>) -> Result<(), Stop<O>> {
        let Next { groups, waiters, bytes } = self.next(backlog);
        self.gate.left(waiters.len(), bytes);
        let (groups, waiters) = self.admit(groups, waiters, bytes);
        if groups.is_empty() {
            return Ok(());
        }
        let batch = match self.append(groups) {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.refusing = true;
                refuse(waiters, &Refused::DiskFull);
                return Ok(());
            }
            Err(error) => return Err(Stop { error: Box::new(error), waiters }),
        };
        match self.writer.sync() {
            Ok(end) => self.durable.send_replace(end),
            Err(source) => {
                let error = Box::new(Error::Sync { index: self.last, source });
                return Err(Stop { error, waiters });
            }
        };
        // False only after the apply thread failed: then the waiters are dropped and learn `Unknown`.
        self.handover.push(Durable { batch, waiters });
        Ok(())
    }

    fn next(&self, backlog: &mut VecDeque<Waiting<O>>) -> Next<O> {
        let mut next = Next { groups: Vec::new(), waiters: Vec::new(), bytes: 0 };
        while let Some(front) = backlog.front() {
            let bytes = next.bytes.saturating_add(front.group.len());
            if bytes > self.batch_bytes && !next.groups.is_empty() {
                break;
            }
            let Some(Waiting { group, priority, done }) = backlog.pop_front() else { break };
            next.bytes = bytes;
            next.waiters.push(Waiter { records: group.records(), priority, done });
            next.groups.push(group);
        }
        next
    }

    /// Refuses ordinary groups when they would eat into the reserve and the disk has no other segment to give.
    fn admit(&mut self, groups: Vec<Group>, waiters: Vec<Waiter<O>>, bytes: usize) -> (Vec<Group>, Vec<Waiter<O>>) {
        let needed = if self.refusing { self.batch_bytes.max(bytes) } else { bytes };
        self.refusing = !self.has_room(needed);
        if !self.refusing {
            return (groups, waiters);
        }
        let (mut kept, mut keepers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (group, waiter) in groups.into_iter().zip(waiters) {
            if waiter.priority == Priority::MakesRoom {
                kept.push(group);
                keepers.push(waiter);
            } else {
                refused.push(waiter);
            }
        }
        refuse(refused, &Refused::DiskFull);
        (kept, keepers)
    }

    /// None when the disk is full and nothing was written.
    fn append(&mut self, groups: Vec<Group>) -> Result<Option<Arc<Batch>>, Error> {
        let index = self.last + 1;
        let time = self.clock.now();
        let draft = Draft { kind: BatchKind::Data, term: self.term, index, committed: self.last, time, groups };
        match self.writer.append(draft) {
            Ok(batch) => {
                self.last = index;
                Ok(Some(batch))
            }
            Err(causeway_storage::Error::Full { .. }) => Ok(None),
            Err(source) => Err(Error::Append { index, source }),
        }
    }

    /// Removes what nobody needs. A failure costs disk space until the next time, and no data.
    fn reclaim(&mut self) {
        let below = self.floor.give_up();
        if let Err(error) = self.writer.reclaim(below) {
            tracing::warn!(%error, %below, "segments could not be removed");
        }
    }

    /// Whether a batch with so many bytes of records leaves the reserve untouched, or the disk has another segment.
    fn has_room(&self, bytes: usize) -> bool {
        let room = self.writer.room();
        let needed = (HEADER_BYTES as u64).saturating_add(bytes as u64).saturating_add(self.reserve);
        if room.spare || room.bytes >= needed {
            return true;
        }
        // Asked only while the spare is not there: at the end of a segment, for as long as its making takes. Where the
        // question fails, the append finds out.
        self.writer.space().map_or(true, |space| space.free >= self.writer.options().segment_bytes)
    }
}

fn refuse<O>(waiters: Vec<Waiter<O>>, why: &Refused) {
    for waiter in waiters {
        // If nobody waits any more there is nobody to tell.
        let _ = waiter.done.send(Err(why.clone()));
    }
}
