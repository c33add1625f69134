//! The leader's duties: what needs a clock, a disk or a scan, and must therefore be proposed rather than applied.
//!
//! ```text
//! tick ─► disk: refuse writes below the watermark      ─► trim: by age, size, disk     ─► Trim
//!      ─► sweep: lost gateways' sessions and interest, page by page   ─► SessionClose, Interest, Gateway{swept}
//!      ─► forget: gateways swept long ago, a page a tick               ─► Gateway{forgotten}
//!      ─► expire: due timers, page by page             ─► SessionExpire
//!      ─► check: a digest now and then                 ─► Check
//! ```
//!
//! Each record is small, names what it is for, and is proposed for the term in which its reason was read. A tick does a
//! bounded amount of work and is idempotent: whatever it did not get to, or was refused, the next one finds again.

mod check;
mod expire;
mod forget;
mod sweep;
#[cfg(test)]
mod tests;
mod trim;

use std::path::PathBuf;
use std::sync::Arc;

use causeway_apply::{ApplyError, Durable, Outcome, Record};
use causeway_model::Clock;
use causeway_replication::{Committer, Failure, Priority, Refused};
use causeway_storage::io::Fs;
use causeway_storage::{Group, GroupBuilder, Reader};

use crate::machine::View;
use crate::settings::{Duty, Retention, Watermarks};

/// Rows that one page of a duty looks at.
const PAGE: usize = 256;

/// Pages that one tick gets through.
const PAGES: usize = 64;

/// Why a tick ended before its work was done. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum PutOff {
    /// The committer takes nothing now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A record was taken and its outcome is unknown.
    #[error("a duty's record: {0}")]
    Unanswered(Failure),
    /// Tables could not be read.
    #[error(transparent)]
    Tables(#[from] ApplyError),
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] causeway_storage::Error),
    /// The file system did not say how much room it has.
    #[error("ask for the free space of {}: {source}", dir.display())]
    Space {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// See the module.
pub(crate) struct Duties<T> {
    pub(crate) committer: Arc<dyn Committer<Outcome>>,
    pub(crate) tables: Arc<T>,
    pub(crate) reader: Reader,
    pub(crate) view: Arc<View>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) fs: Arc<dyn Fs>,
    /// The log's directory.
    pub(crate) dir: PathBuf,
    pub(crate) retention: Retention,
    pub(crate) disk: Watermarks,
    pub(crate) settings: Duty,
    pub(crate) progress: Progressed,
}

/// How far the duties have come that do not begin anew with each tick.
#[derive(Debug, Default)]
pub(crate) struct Progressed {
    trim: trim::State,
    sweep: sweep::State,
    forget: forget::State,
    check: check::State,
}

impl<T: Durable> Duties<T> {
    /// Looks at every duty once. One that is put off does not keep the others from their turn.
    pub(crate) fn tick(&mut self) -> Result<(), PutOff> {
        let role = *self.committer.role().borrow();
        if !role.leader {
            return Ok(());
        }
        let trimmed = self.trim(role.term);
        let swept = self.sweep(role.term);
        let forgotten = self.forget(role.term);
        let expired = self.expire(role.term);
        let checked = self.check(role.term);
        trimmed.and(swept).and(forgotten).and(expired).and(checked)
    }

    /// Logs records as one group and waits for their outcomes.
    fn log(&self, term: u64, records: &[Record], priority: Priority) -> Result<Vec<Outcome>, PutOff> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let pending = self.committer.propose(group(records), Some(term), priority)?;
        match pending.wait() {
            Ok(applied) => Ok(applied.into_iter().map(|applied| applied.outcome).collect()),
            Err(Failure::Refused(refused)) => Err(refused.into()),
            Err(failure) => Err(PutOff::Unanswered(failure)),
        }
    }
}

/// Encodes records as one group.
pub(crate) fn group(records: &[Record]) -> Group {
    let mut group = GroupBuilder::with_capacity(64 * records.len());
    for record in records {
        group.record(|buf| record.encode(buf));
    }
    group.finish()
}
