//! Gateways that were swept so long ago that none of them can come back: their names go.
//!
//! Each run of a gateway leaves one row of a few bytes, which refuses it should it have lived on without knowing that
//! it was given up. Names are random and never used again, so the row is of no other use. A gateway whose silence lasted
//! longer than this takes itself for lost (`causeway_compute::members`): no run needs the row any more.

use std::time::Duration;

use causeway_apply::record::{Gateway, GatewayEvent};
use causeway_apply::{Durable, Record, read};
use causeway_model::{Incarnation, Millis};
use causeway_replication::Priority;

use super::{Duties, PAGE, PutOff};

/// How long a name is kept after the sweep, beyond the shortest life of a message.
const KEPT: Duration = Duration::from_hours(24);

/// How long after one look at all names the next one begins.
const REST: Duration = Duration::from_hours(1);

/// Where the look at the names has come to.
#[derive(Debug, Default)]
pub(crate) struct State {
    after: Option<Incarnation>,
    /// Not before then: all were looked at.
    again: Millis,
}

impl<T: Durable> Duties<T> {
    /// Looks at one page, and forgets whoever of it is old enough.
    pub(super) fn forget(&mut self, term: u64) -> Result<(), PutOff> {
        let now = self.clock.now();
        if now < self.progress.forget.again {
            return Ok(());
        }
        let page = read::departed(&*self.tables, self.progress.forget.after, PAGE)?;
        let kept = self.retention.min_age.saturating_add(KEPT);
        let old = page.iter().filter(|(_, swept)| now.since(*swept) > kept);
        let forgotten = |(incarnation, _): &(Incarnation, Millis)| {
            Record::Gateway(Gateway { incarnation: *incarnation, event: GatewayEvent::Forgotten })
        };
        let records: Vec<_> = old.map(forgotten).collect();
        self.log(term, &records, Priority::Ordinary)?;
        if !records.is_empty() {
            tracing::info!(gateways = records.len(), "departed gateways forgotten");
        }
        self.progress.forget = if page.len() < PAGE {
            State { after: None, again: now.plus(REST) }
        } else {
            State { after: page.last().map(|(incarnation, _)| *incarnation), again: Millis(0) }
        };
        Ok(())
    }
}
