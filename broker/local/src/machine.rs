//! The state machine of a shard: apply over tables, and frames for whoever listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use causeway_apply::{Apply, ApplyError, BatchMeta, Durable, Effects, Event, Outcome};
use causeway_model::{Position, ShardId};
use causeway_replication::{Applied, StateMachine};
use causeway_storage::{Batch, Mark};
use parking_lot::Mutex;

use crate::flush::Dirty;
use crate::notify::{self, Subscribers};

/// What the apply thread publishes for everyone else.
#[derive(Debug, Default)]
pub(crate) struct View {
    applied: AtomicU64,
    first: AtomicU64,
    full: AtomicBool,
    /// Gateways were declared lost since somebody looked.
    pub(crate) lost: AtomicBool,
    /// End of the last applied batch, and the digest there.
    pub(crate) digest: Mutex<(Position, u64)>,
}

impl View {
    /// Everything below is applied and readable. Never behind a frame that somebody was sent.
    pub(crate) fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    /// The disk is so full that only what makes room is logged.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Release);
    }

    /// The first position that the log has not given up.
    pub(crate) fn first(&self) -> Position {
        Position(self.first.load(Ordering::Acquire))
    }

    pub(crate) fn set_first(&self, first: Position) {
        self.first.store(first.0, Ordering::Release);
    }
}

/// See the module.
pub(crate) struct Machine<T> {
    pub(crate) shard: ShardId,
    pub(crate) apply: Apply,
    pub(crate) tables: Arc<T>,
    /// Kept between runs: a run allocates nothing that the last one already had.
    pub(crate) effects: Effects,
    pub(crate) positions: Vec<Position>,
    pub(crate) view: Arc<View>,
    pub(crate) subscribers: Arc<Subscribers>,
    pub(crate) dirty: Arc<Dirty>,
}

/// Where one batch's messages end within the run's.
struct End {
    batch: usize,
    entered: usize,
    queues: usize,
}

impl<T: Durable> Machine<T> {
    fn apply_run(&mut self, run: &[Arc<Batch>]) -> Result<Vec<End>, ApplyError> {
        let mut ends = Vec::new();
        for (number, batch) in run.iter().enumerate() {
            let header = &batch.header;
            let meta = BatchMeta {
                index: header.index,
                term: header.term,
                position: header.position,
                end: batch.end(),
                time: header.time,
                // Written by a replicated committer; a single node has none to remember.
                membership: None,
            };
            let positions = &mut self.positions;
            let records = batch.records().inspect(|(position, _)| positions.push(*position));
            self.apply.batch(&*self.tables, &meta, records, &mut self.effects)?;
            ends.push(End { batch: number, entered: self.effects.entered.len(), queues: self.effects.queues.len() });
        }
        self.tables.write(&self.effects.mutations)?;
        Ok(ends)
    }

    fn publish(&mut self, run: &[Arc<Batch>], ends: &[End], live: bool) {
        let applied = self.apply.applied();
        *self.view.digest.lock() = (applied.position, applied.digest);
        self.view.applied.store(applied.position.0, Ordering::Release);
        self.dirty.applied(applied.position);
        for event in &self.effects.events {
            match event {
                Event::Trimmed { first } => {
                    self.view.set_first(*first);
                    // Files go after a flush: somebody may be waiting for the room.
                    self.dirty.hurry();
                }
                Event::GatewayLost { .. } => self.view.lost.store(true, Ordering::Release),
                // Connections learn of it through their own gateway; timers are looked at by the clock.
                Event::TakenOver { .. } | Event::Timer { .. } => {}
            }
        }
        if live && !self.subscribers.is_empty() {
            self.notify(run, ends);
        }
    }

    fn notify(&self, run: &[Arc<Batch>], ends: &[End]) {
        let (mut entered, mut queues) = (self.effects.entered.as_slice(), self.effects.queues.as_slice());
        let (mut entered_before, mut queues_before) = (0, 0);
        for end in ends {
            let Some(batch) = run.get(end.batch) else { continue };
            let (mine, rest) = entered.split_at_checked(end.entered - entered_before).unwrap_or((entered, &[]));
            let (ids, more) = queues.split_at_checked(end.queues - queues_before).unwrap_or((queues, &[]));
            (entered, queues) = (rest, more);
            (entered_before, queues_before) = (end.entered, end.queues);
            let frame = notify::frame(self.shard, batch.header.position, batch.end(), mine, ids);
            self.subscribers.send(&Arc::new(frame));
        }
    }
}

impl<T: Durable> StateMachine for Machine<T> {
    type Outcome = Outcome;
    type Error = ApplyError;

    fn applied(&self) -> Mark {
        let mark = self.apply.applied();
        Mark { index: mark.index, term: mark.term, position: mark.position }
    }

    fn apply(
        &mut self,
        run: &[Arc<Batch>],
        live: bool,
        outcomes: &mut Vec<Applied<Outcome>>,
    ) -> Result<(), ApplyError> {
        self.effects.clear();
        self.effects.replay = !live;
        self.positions.clear();
        let ends = self.apply_run(run)?;
        self.publish(run, &ends, live);
        let applied = self.positions.drain(..).zip(self.effects.outcomes.drain(..));
        outcomes.extend(applied.map(|(position, outcome)| Applied { position, outcome }));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
