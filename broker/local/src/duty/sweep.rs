//! What a lost gateway leaves behind: its sessions are closed, its interest is ended, page by page.

use std::sync::atomic::Ordering;

use causeway_apply::record::{CloseReason, Gateway, GatewayEvent, Interest, Owner, SessionClose};
use causeway_apply::row::GatewayState;
use causeway_apply::{Durable, Record, read};
use causeway_model::{Incarnation, Sid};
use causeway_replication::Priority;

use super::{Duties, PAGE, PAGES, PutOff};

/// Gateways that rows may exist of: joined and not swept. A cluster has few.
const MAX_GATEWAYS: usize = 65_536;

/// The lost gateways that are being swept.
#[derive(Debug, Default)]
pub(crate) struct State {
    lost: Vec<Sweep>,
    /// The tables were asked who is lost since this leader began.
    loaded: bool,
}

/// How far one gateway's sweep has come.
#[derive(Debug)]
struct Sweep {
    gateway: Incarnation,
    next: Next,
}

#[derive(Debug)]
enum Next {
    /// Sessions above this one.
    Sessions(Option<Sid>),
    /// Interest rows from here on.
    Interest(Vec<u8>),
}

impl<T: Durable> Duties<T> {
    pub(super) fn sweep(&mut self, term: u64) -> Result<(), PutOff> {
        if self.view.lost.swap(false, Ordering::AcqRel) || !self.progress.sweep.loaded {
            let known = read::gateways(&*self.tables, MAX_GATEWAYS)?;
            let lost = known.into_iter().filter(|(_, state)| *state == GatewayState::Lost).map(|(gateway, _)| gateway);
            for gateway in lost {
                if self.progress.sweep.lost.iter().all(|sweep| sweep.gateway != gateway) {
                    self.progress.sweep.lost.push(Sweep { gateway, next: Next::Sessions(None) });
                }
            }
            self.progress.sweep.loaded = true;
        }
        let mut pages = 0;
        while let Some(mut sweep) = self.progress.sweep.lost.pop() {
            let done = self.page(term, &mut sweep);
            if !matches!(done, Ok(true)) {
                self.progress.sweep.lost.push(sweep);
            }
            done?;
            pages += 1;
            if pages == PAGES {
                break;
            }
        }
        Ok(())
    }

    /// One page of one gateway; true when nothing of it is left.
    fn page(&self, term: u64, sweep: &mut Sweep) -> Result<bool, PutOff> {
        let gateway = sweep.gateway;
        match &sweep.next {
            Next::Sessions(after) => {
                let sessions = read::owned(&*self.tables, gateway, *after, PAGE)?;
                let Some((last, _)) = sessions.last().copied() else {
                    sweep.next = Next::Interest(Vec::new());
                    return Ok(false);
                };
                let reason = CloseReason::GatewayLost;
                let close = |(sid, epoch)| Record::SessionClose(SessionClose { sid, epoch, reason, expiry: None });
                let records: Vec<_> = sessions.into_iter().map(close).collect();
                self.log(term, &records, Priority::Ordinary)?;
                sweep.next = Next::Sessions(Some(last));
            }
            Next::Interest(from) => {
                let page = read::interest_of(&*self.tables, gateway, from, PAGE)?;
                let owner = Owner::Gateway(gateway);
                let end = |row: read::Interest| {
                    let read::Interest { namespace, filter, .. } = row;
                    Record::Interest(Interest { add: false, namespace, filter, owner })
                };
                let mut records: Vec<_> = page.rows.into_iter().map(end).collect();
                if page.next.is_none() {
                    records.push(Record::Gateway(Gateway { incarnation: gateway, event: GatewayEvent::Swept }));
                }
                if !records.is_empty() {
                    self.log(term, &records, Priority::Ordinary)?;
                }
                let Some(next) = page.next else {
                    tracing::info!(%gateway, "lost gateway swept");
                    return Ok(true);
                };
                sweep.next = Next::Interest(next);
            }
        }
        Ok(false)
    }
}
