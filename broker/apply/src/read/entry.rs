//! Pages of queues: seek and iterate.

use std::ops::ControlFlow;

use causeway_model::{Offset, Position, QueueId};

use crate::row::QueueHead;
use crate::{ApplyError, Entry, Family, Tables, key, row};

/// Which entries of a sparse queue to read: those with `after < stamp <= upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The queue.
    pub queue: QueueId,
    /// Entries with a greater stamp.
    pub after: Position,
    /// Entries with at most this stamp.
    pub upto: Position,
    /// The log's first position: entries whose body lies below lead nowhere and are left out.
    pub first: Position,
    /// At most so many entries.
    pub limit: usize,
}

/// Entries in stamp order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Everything at or below has been scanned: the next page's `after`.
    pub next: Position,
    /// The limit was reached before `upto`.
    pub more: bool,
}

/// Reads one page of a sparse queue.
pub fn entries<T: Tables>(tables: &T, scan: &Scan) -> Result<Page, ApplyError> {
    // No stamp below the first position can lead to a body above it.
    let from = scan.after.plus(1).max(scan.first);
    let range = (Offset(from.0), Offset(scan.upto.0));
    let (entries, more) = page(tables, scan.queue, range, scan.first, scan.limit)?;
    let next = match entries.last() {
        _ if !more => scan.upto.max(scan.after),
        Some(last) => last.stamp.position(),
        None => scan.after,
    };
    Ok(Page { entries, next, more })
}

/// Entries of a server-topic queue in the order of their offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DensePage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The offset of the first entry beyond the page; with no more, the one that the next message gets.
    pub next: Offset,
    /// The limit was reached before the queue's end.
    pub more: bool,
}

/// Reads one page of a server-topic queue from an offset on. A queue without a head is empty: it has no message yet, or
/// its topic was dropped.
pub fn dense<T: Tables>(
    tables: &T,
    queue: QueueId,
    from: Offset,
    first: Position,
    limit: usize,
) -> Result<DensePage, ApplyError> {
    let end = match tables.get(Family::Queue, &key::queue(queue))? {
        Some(row) => QueueHead::decode(&row).ok_or(ApplyError::Damaged { row: "queue head" })?.next,
        None => 0,
    };
    let Some(last) = end.checked_sub(1).filter(|last| from.0 <= *last) else {
        return Ok(DensePage { entries: Vec::new(), next: Offset(end), more: false });
    };
    let (entries, more) = page(tables, queue, (from, Offset(last)), first, limit)?;
    let next = match entries.last() {
        _ if !more => Offset(end),
        Some(last) => Offset(last.offset.0 + 1),
        None => from,
    };
    Ok(DensePage { entries, next, more })
}

/// At most `limit` entries with `from <= offset <= last` whose body the log still holds, and whether there are more.
fn page<T: Tables>(
    tables: &T,
    queue: QueueId,
    (from, last): (Offset, Offset),
    first: Position,
    limit: usize,
) -> Result<(Vec<Entry>, bool), ApplyError> {
    let (mut entries, mut more, mut damaged) = (Vec::new(), false, false);
    let lower = key::entry(queue, from);
    let upper = match last.0.checked_add(1) {
        Some(beyond) => key::entry(queue, Offset(beyond)).to_vec(),
        None => key::beyond(&queue.0),
    };
    tables.scan(Family::Entry, &lower, &upper, &mut |key, value| {
        let Some(entry) = row::entry(key, value) else {
            damaged = true;
            return ControlFlow::Break(());
        };
        if entry.position < first {
            return ControlFlow::Continue(());
        }
        more = entries.len() >= limit;
        if more {
            return ControlFlow::Break(());
        }
        entries.push(entry);
        ControlFlow::Continue(())
    })?;
    if damaged { Err(ApplyError::Damaged { row: "entry" }) } else { Ok((entries, more)) }
}
