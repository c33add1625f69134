//! From where the tables are to the end of the log, before anything new is taken.

use std::sync::Arc;

use causeway_model::Position;
use causeway_storage::{Batch, Reader};

use crate::{Error, StateMachine};

/// Batches of one run, by bytes: large enough to spread the cost of a table write, small enough to show progress.
const RUN_BYTES: u64 = 4 << 20;

/// How far the replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the tables were.
    pub from: Position,
    /// Everything below is applied.
    pub at: Position,
    /// The end of the log.
    pub to: Position,
}

/// Applies what the log has and the tables have not.
pub(super) fn replay<S: StateMachine>(
    reader: &Reader,
    end: Position,
    machine: &mut S,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let from = machine.applied().position;
    let first = reader.first();
    if from < first {
        return Err(Error::LogBeginsLater { applied: from, first });
    }
    if from > end {
        return Err(Error::LogEndsEarlier { applied: from, end });
    }
    if from == end {
        return Ok(());
    }
    let mut run = Run { machine, batches: Vec::new(), bytes: 0, outcomes: Vec::new() };
    let mut at = from;
    progress(Progress { from, at, to: end });
    for batch in reader.batches(from) {
        let batch = batch.map_err(|source| Error::Replay { from: at, source })?;
        if batch.header.position != at {
            // The tables end inside a batch: they were not made from this log.
            return Err(Error::LogEndsEarlier { applied: from, end: batch.header.position });
        }
        at = batch.end();
        if run.push(batch)? {
            progress(Progress { from, at, to: end });
        }
    }
    run.apply()?;
    if at != end {
        return Err(Error::LogEndsEarlier { applied: end, end: at });
    }
    progress(Progress { from, at, to: end });
    Ok(())
}

struct Run<'a, S: StateMachine> {
    machine: &'a mut S,
    batches: Vec<Arc<Batch>>,
    bytes: u64,
    outcomes: Vec<crate::Applied<S::Outcome>>,
}

impl<S: StateMachine> Run<'_, S> {
    /// True when the run was full and is applied.
    fn push(&mut self, batch: Arc<Batch>) -> Result<bool, Error> {
        self.bytes += u64::from(batch.header.length);
        self.batches.push(batch);
        if self.bytes < RUN_BYTES {
            return Ok(false);
        }
        self.apply()?;
        Ok(true)
    }

    fn apply(&mut self) -> Result<(), Error> {
        let Some(first) = self.batches.first() else { return Ok(()) };
        let from = first.header.position;
        self.machine
            .apply(&self.batches, false, &mut self.outcomes)
            .map_err(|source| Error::Apply { from, source: Box::new(source) })?;
        self.batches.clear();
        self.outcomes.clear();
        self.bytes = 0;
        Ok(())
    }
}
