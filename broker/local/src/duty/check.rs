//! A digest in the log now and then: a replica whose tables differ halts instead of serving.

use causeway_apply::{Durable, Record, record};
use causeway_model::{Millis, Position};
use causeway_replication::Priority;

use super::{Duties, PutOff};

/// What was checked last.
#[derive(Debug, Default)]
pub(crate) struct State {
    at: Millis,
    /// The end of the log after that check: an idle log is not checked again.
    end: Position,
}

impl<T: Durable> Duties<T> {
    pub(super) fn check(&mut self, term: u64) -> Result<(), PutOff> {
        let now = self.clock.now();
        let (position, digest) = *self.view.digest.lock();
        if position == self.progress.check.end || now.since(self.progress.check.at) < self.settings.check_every {
            return Ok(());
        }
        let record = Record::Check(record::Check { position, digest });
        self.log(term, &[record], Priority::Ordinary)?;
        self.progress.check = State { at: now, end: self.view.digest.lock().0 };
        Ok(())
    }
}
