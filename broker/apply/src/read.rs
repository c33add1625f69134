//! Reading tables: everything a port, a tool or a duty of the leader wants to know, as pure functions with limits.
//!
//! None of them holds anything between two calls; a page says where the next one starts. They run on threads that may
//! block, never on the apply thread. Each scan sees one state of the tables, two scans may see two.

use std::ops::ControlFlow;

use causeway_model::{Incarnation, Millis, Namespace, Position, Text};

use crate::record::{ClusterInit, Kind, wire::Reader};
use crate::row::{GatewayState, read_topic_value};
use crate::{AppliedMark, ApplyError, Family, Tables, key};

mod entry;
mod interest;
mod session;

pub use entry::{DensePage, Page, Scan, dense, entries};
pub use interest::{Interest, InterestPage, interest, interest_of, owners};
pub use session::{
    Lane, Session, Subscription, client, due, expire_page, head, lane, owned, session, subscriptions, will,
};

/// How far apply has come; the default where nothing is applied.
pub fn applied<T: Tables>(tables: &T) -> Result<AppliedMark, ApplyError> {
    match tables.get(Family::Meta, &key::APPLIED)? {
        Some(row) => AppliedMark::decode(&row).ok_or(ApplyError::Damaged { row: "applied mark" }),
        None => Ok(AppliedMark::default()),
    }
}

/// The log's constants; none before `ClusterInit`.
pub fn cluster<T: Tables>(tables: &T) -> Result<Option<ClusterInit>, ApplyError> {
    let Some(row) = tables.get(Family::Meta, &key::CLUSTER)? else { return Ok(None) };
    let mut reader = Reader::new(Kind::ClusterInit, &row, 0);
    ClusterInit::decode(&mut reader).map(Some).map_err(|_| ApplyError::Damaged { row: "cluster" })
}

/// The feature level; zero before `ClusterInit`.
pub fn level<T: Tables>(tables: &T) -> Result<u8, ApplyError> {
    match tables.get(Family::Meta, &key::LEVEL)?.as_deref() {
        Some([level]) => Ok(*level),
        Some(_) => Err(ApplyError::Damaged { row: "level" }),
        None => Ok(0),
    }
}

/// The first position that is still needed: the last `Trim`.
pub fn first<T: Tables>(tables: &T) -> Result<Position, ApplyError> {
    let Some(row) = tables.get(Family::Meta, &key::FIRST)? else { return Ok(Position(0)) };
    let bytes = row.as_ref().try_into().map_err(|_| ApplyError::Damaged { row: "first position" })?;
    Ok(Position(u64::from_be_bytes(bytes)))
}

/// A server topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTopic {
    /// Tenant.
    pub namespace: Namespace,
    /// First-level name.
    pub name: Text,
    /// Number of queues on this shard.
    pub queues: u16,
}

/// At most `limit` server topics, by namespace and name.
pub fn topics<T: Tables>(tables: &T, limit: usize) -> Result<Vec<ServerTopic>, ApplyError> {
    collect(tables, Family::Meta, &key::TOPICS, limit, "topic", |row, value| {
        let (namespace, name) = key::read_topic(row)?;
        Some(ServerTopic { namespace, name, queues: read_topic_value(value)? })
    })
}

/// At most `limit` gateway processes that joined and are not swept.
pub fn gateways<T: Tables>(tables: &T, limit: usize) -> Result<Vec<(Incarnation, GatewayState)>, ApplyError> {
    collect(tables, Family::Meta, &key::GATEWAYS, limit, "gateway", |row, value| {
        Some((key::read_gateway(row)?, GatewayState::decode(value)?))
    })
}

/// At most `limit` gateway processes of which nothing is left, by incarnation, after one; with the time of their sweep,
/// by apply's clock.
pub fn departed<T: Tables>(
    tables: &T,
    after: Option<Incarnation>,
    limit: usize,
) -> Result<Vec<(Incarnation, Millis)>, ApplyError> {
    let prefix = key::DEPARTURES;
    let from = after.map_or(prefix.to_vec(), |incarnation| key::beyond(&key::departed(incarnation)));
    let range = (from.as_slice(), &key::beyond(&prefix)[..]);
    collect_range(tables, Family::Meta, range, limit, "departed gateway", |row, value| {
        Some((key::read_departed(row)?, Millis(u64::from_be_bytes(value.try_into().ok()?))))
    })
}

/// Reads the rows that start with `prefix`, at most `limit`; one that cannot be read means damage.
fn collect<T: Tables, R>(
    tables: &T,
    family: Family,
    prefix: &[u8],
    limit: usize,
    row: &'static str,
    read: impl FnMut(&[u8], &[u8]) -> Option<R>,
) -> Result<Vec<R>, ApplyError> {
    collect_range(tables, family, (prefix, &key::beyond(prefix)), limit, row, read)
}

fn collect_range<T: Tables, R>(
    tables: &T,
    family: Family,
    (from, upto): (&[u8], &[u8]),
    limit: usize,
    row: &'static str,
    mut read: impl FnMut(&[u8], &[u8]) -> Option<R>,
) -> Result<Vec<R>, ApplyError> {
    let (mut rows, mut damaged) = (Vec::new(), false);
    tables.scan(family, from, upto, &mut |key, value| {
        if rows.len() >= limit {
            return ControlFlow::Break(());
        }
        match read(key, value) {
            Some(row) => rows.push(row),
            None => damaged = true,
        }
        if damaged { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if damaged { Err(ApplyError::Damaged { row }) } else { Ok(rows) }
}

#[cfg(test)]
mod tests;
