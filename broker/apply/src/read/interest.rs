//! Who wants what: the owners of wildcards.

use std::ops::ControlFlow;

use causeway_model::{Filter, Incarnation, Namespace, Position};

use super::collect;
use crate::key::Owner;
use crate::{ApplyError, Family, Tables, key};

/// One owner of one wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Tenant.
    pub namespace: Namespace,
    /// The wildcard.
    pub filter: Filter,
    /// Its owner.
    pub owner: Owner,
    /// The record that added it: entries above are indexed.
    pub position: Position,
}

/// A page of interest, by namespace, filter and owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestPage {
    /// The rows.
    pub rows: Vec<Interest>,
    /// Where the next page starts; none at the end.
    pub next: Option<Vec<u8>>,
}

/// All interest from a page's `next` on, at most `limit` rows; `&[]` starts.
pub fn interest<T: Tables>(tables: &T, from: &[u8], limit: usize) -> Result<InterestPage, ApplyError> {
    page(tables, from, limit, |_| true)
}

/// The interest of one gateway, to end it when that is lost. Looks at `limit` rows, whoever owns them: a page may be
/// empty and not the last.
pub fn interest_of<T: Tables>(
    tables: &T,
    gateway: Incarnation,
    from: &[u8],
    limit: usize,
) -> Result<InterestPage, ApplyError> {
    page(tables, from, limit, |owner| owner == Owner::Gateway(gateway))
}

/// At most `limit` owners of one wildcard.
pub fn owners<T: Tables>(
    tables: &T,
    namespace: &Namespace,
    filter: &str,
    limit: usize,
) -> Result<Vec<Interest>, ApplyError> {
    collect(tables, Family::Filter, &key::filter_prefix(namespace, filter), limit, "filter", row)
}

fn page<T: Tables>(
    tables: &T,
    from: &[u8],
    limit: usize,
    wanted: impl Fn(Owner) -> bool,
) -> Result<InterestPage, ApplyError> {
    let (mut page, mut seen, mut damaged) = (InterestPage::default(), 0, false);
    tables.scan(Family::Filter, from, &key::END, &mut |key, value| {
        if seen == limit {
            page.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        seen += 1;
        match row(key, value) {
            Some(row) if wanted(row.owner) => page.rows.push(row),
            Some(_) => {}
            None => damaged = true,
        }
        if damaged { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if damaged { Err(ApplyError::Damaged { row: "filter" }) } else { Ok(page) }
}

fn row(key: &[u8], value: &[u8]) -> Option<Interest> {
    let (namespace, filter, owner) = key::read_filter(key)?;
    let position = Position(u64::from_be_bytes(value.try_into().ok()?));
    Some(Interest { namespace, filter, owner, position })
}
