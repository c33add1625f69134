//! The apply thread: all durable batches that wait are one run; then the waiters get their outcomes.

use std::collections::VecDeque;
use std::sync::Arc;

use causeway_model::Position;
use causeway_storage::Batch;
use tokio::sync::watch;

use super::failure::Alarm;
use super::handover::{Durable, Handover};
use crate::{Applied, Error, StateMachine};

pub(super) struct Apply<S: StateMachine> {
    pub(super) machine: S,
    pub(super) applied: watch::Sender<Position>,
    /// Kept between runs: a run allocates nothing that the last one already had.
    pub(super) run: Vec<Arc<Batch>>,
    pub(super) outcomes: Vec<Applied<S::Outcome>>,
}

impl<S: StateMachine> Apply<S> {
    /// Runs until the handover is closed and empty, or the machine refuses a batch.
    pub(super) fn run(mut self, handover: &Handover<S::Outcome>, alarm: &Alarm) {
        let mut waiting = VecDeque::new();
        while handover.take(&mut waiting) {
            if let Err(error) = self.step(&mut waiting) {
                // Dropping the waiters tells them `Unknown`: durable, and no outcome.
                alarm.raise(error);
                return;
            }
        }
    }

    fn step(&mut self, waiting: &mut VecDeque<Durable<S::Outcome>>) -> Result<(), Error> {
        self.run.clear();
        self.run.extend(waiting.iter().map(|durable| Arc::clone(&durable.batch)));
        let Some(last) = self.run.last() else { return Ok(()) };
        let end = last.end();
        let from = self.run.first().map_or(end, |batch| batch.header.position);
        self.outcomes.clear();
        self.machine
            .apply(&self.run, true, &mut self.outcomes)
            .map_err(|source| Error::Apply { from, source: Box::new(source) })?;
        let records = waiting.iter().flat_map(|durable| &durable.waiters).map(|waiter| waiter.records as usize).sum();
        if records != self.outcomes.len() {
            return Err(Error::Outcomes { from, records, outcomes: self.outcomes.len() });
        }
        // Before the outcomes: whoever has one may read up to here at once.
        self.applied.send_replace(end);
        let mut outcomes = self.outcomes.drain(..);
        for waiter in waiting.drain(..).flat_map(|durable| durable.waiters) {
            let mine = outcomes.by_ref().take(waiter.records as usize).collect();
            // If nobody waits any more there is nobody to tell.
            let _ = waiter.done.send(Ok(mine));
        }
        // The log's ring decides how long batches stay in memory, not an idle thread.
        self.run.clear();
        Ok(())
    }
}
