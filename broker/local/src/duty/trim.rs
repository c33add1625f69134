//! How much of the log may go: by age, by size, by what the disk has left, and never what is younger than it may be.

use causeway_apply::{Durable, Outcome, Record, record};
use causeway_model::{Millis, Position};
use causeway_replication::Priority;
use causeway_storage::Reader;

use super::{Duties, PutOff};
use crate::settings::{Retention, Watermarks};

/// What need not be read again at every tick.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The log's first position, and the time of the batch there.
    oldest: Option<(Position, Millis)>,
    /// Not before then: what is old enough was looked for and is too little to be worth a trim.
    again: Millis,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// The first position that is still needed.
    first: Position,
    /// End of the log.
    end: Position,
    /// When the oldest batch was appended, by the leader's clock.
    oldest: Millis,
    now: Millis,
    /// Free bytes of the file system, and those that earlier trims will free.
    free: u64,
}

/// How often what is over its age is looked for within that age.
const LOOKS: u32 = 64;

impl Facts {
    /// Where size and disk want the log to begin. Age wants more only if the oldest batch is over it.
    fn by_bytes(&self, retention: &Retention, disk: &Watermarks) -> Position {
        let kept = self.end.0.saturating_sub(self.first.0);
        let over = retention.max_bytes.map_or(0, |max| kept.saturating_sub(max));
        let missing = match disk.trim_below.saturating_sub(self.free) {
            0 => 0,
            // Less than a step would never be trimmed, and writes may be waiting for it.
            missing => missing.max(retention.step_bytes),
        };
        self.first.plus(over.max(missing))
    }

    fn is_old(&self, retention: &Retention) -> bool {
        retention.max_age.is_some_and(|max| self.now.since(self.oldest) > max)
    }
}

impl<T: Durable> Duties<T> {
    pub(super) fn trim(&mut self, term: u64) -> Result<(), PutOff> {
        let facts = self.facts()?;
        // Before anything is trimmed for it: what is young enough to stay must be able to.
        self.view.set_full(facts.free < self.disk.refuse_below);
        let step = self.retention.step_bytes;
        let wanted = self.wanted(&facts)?;
        if wanted.0.saturating_sub(facts.first.0) < step {
            return Ok(());
        }
        let target = wanted.min(self.younger_than(&facts, self.retention.min_age)?);
        if target.0.saturating_sub(facts.first.0) < step {
            return Ok(());
        }
        let record = Record::Trim(record::Trim { first: target });
        if let Some(Outcome::Rejected(reason)) = self.log(term, &[record], Priority::MakesRoom)?.first() {
            tracing::warn!(?reason, %target, "the log cannot be trimmed");
        } else {
            tracing::info!(from = %facts.first, to = %target, "log trimmed");
        }
        Ok(())
    }

    /// Where size, disk and age want the log to begin, were nothing too young for it.
    fn wanted(&mut self, facts: &Facts) -> Result<Position, PutOff> {
        let step = self.retention.step_bytes;
        let wanted = facts.by_bytes(&self.retention, &self.disk);
        let Some(max_age) = self.retention.max_age.filter(|_| facts.is_old(&self.retention)) else { return Ok(wanted) };
        if facts.end.0.saturating_sub(facts.first.0) < step || facts.now < self.progress.trim.again {
            return Ok(wanted);
        }
        let old = self.younger_than(facts, max_age)?;
        if old.0.saturating_sub(facts.first.0) < step {
            // Looking costs some twenty reads: not every second for what grows in hours.
            self.progress.trim.again = facts.now.plus(max_age / LOOKS);
        }
        Ok(wanted.max(old))
    }

    fn facts(&mut self) -> Result<Facts, PutOff> {
        let (first, end, now) = (self.view.first(), self.view.applied(), self.clock.now());
        let oldest = match self.progress.trim.oldest {
            Some((at, time)) if at == first => time,
            _ => {
                let time = self.reader.batches(first).next().transpose()?.map_or(now, |batch| batch.header.time);
                self.progress.trim.oldest = Some((first, time));
                time
            }
        };
        let space = self.fs.space(&self.dir).map_err(|source| PutOff::Space { dir: self.dir.clone(), source })?;
        // Trimmed, and not removed yet: counting it as missing would trim for the same bytes twice.
        let pending = first.0.saturating_sub(self.reader.first().0);
        Ok(Facts { first, end, oldest, now, free: space.free.saturating_add(pending) })
    }

    /// Where the first batch starts that is at most `age` old.
    fn younger_than(&self, facts: &Facts, age: std::time::Duration) -> Result<Position, PutOff> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let cutoff = Millis(facts.now.0.saturating_sub(age));
        search(&self.reader, facts.first, facts.end, cutoff)
    }
}

/// Where the first batch starts that was appended at `cutoff` or later, or the end. Where the clock stepped back the
/// answer is one of several; each of them is as old as the cutoff by the clock of its time.
pub(super) fn search(reader: &Reader, first: Position, end: Position, cutoff: Millis) -> Result<Position, PutOff> {
    let (mut from, mut upto) = (first, end);
    while from < upto {
        let middle = Position(from.0 + (upto.0 - from.0) / 2);
        let Some(batch) = reader.batches(middle).next().transpose()? else {
            upto = middle;
            continue;
        };
        if batch.header.time < cutoff {
            from = batch.end();
        } else {
            upto = batch.header.position;
        }
    }
    Ok(from.clamp(first, end))
}
