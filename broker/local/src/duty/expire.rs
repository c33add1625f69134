//! Sessions whose time is over, row by row: apply never sweeps, so each record names what it deletes.

use causeway_apply::row::Timer;
use causeway_apply::{Durable, Outcome, Record, read};
use causeway_replication::Priority;

use super::{Duties, PAGE, PAGES, PutOff};

/// Names of filters that one group may delete: a session can have long ones.
const MAX_BYTES: usize = 1 << 20;

impl<T: Durable> Duties<T> {
    pub(super) fn expire(&mut self, term: u64) -> Result<(), PutOff> {
        let now = self.clock.now();
        for _ in 0..PAGES {
            let timers = read::due(&*self.tables, now, PAGE)?;
            if timers.is_empty() {
                return Ok(());
            }
            // A rejected record lost a race, against a client that came back or rows that were read too early. If
            // nothing moves, going on at once would only do the same again.
            if !self.expire_page(term, &timers)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One record a session: each is answered before that session's rows are read again. True if one took effect.
    fn expire_page(&self, term: u64, timers: &[Timer]) -> Result<bool, PutOff> {
        let (mut records, mut bytes, mut moved) = (Vec::new(), 0, false);
        for (number, timer) in timers.iter().enumerate() {
            if let Some(expire) = read::expire_page(&*self.tables, timer)? {
                bytes += expire.filters.iter().map(|filter| filter.as_str().len()).sum::<usize>();
                records.push(Record::SessionExpire(expire));
            }
            if bytes > MAX_BYTES || number + 1 == timers.len() {
                let outcomes = self.log(term, &records, Priority::Ordinary)?;
                moved |= outcomes.iter().any(|outcome| matches!(outcome, Outcome::Done));
                records.clear();
                bytes = 0;
            }
        }
        Ok(moved)
    }
}
