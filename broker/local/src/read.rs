//! Pages of queues and rows of sessions, read on the pool.

pub(crate) mod fetch;
pub(crate) mod pool;

use std::sync::Arc;

use bytes::Bytes;
use causeway_apply::record::{Header, Kind as RecordKind, MessageHead};
use causeway_apply::{Durable, read};
use causeway_compute::port::{self, Entry, EntryFlags, Page, QueueRef, Read, Session, Subscription};
use causeway_model::{Kind, Millis, Namespace, Offset, Position, Sid, in_all_queue_name};
use causeway_storage::Reader;

use crate::machine::View;
use crate::notify::flags;
use crate::outcome::to_port_state;
use crate::settings::Reads;

/// What a read needs; cloned into its job.
pub(crate) struct Source<T> {
    pub(crate) tables: Arc<T>,
    pub(crate) reader: Reader,
    pub(crate) view: Arc<View>,
    pub(crate) budget: Reads,
    /// Everything at or below was applied when the read was asked for.
    pub(crate) end: Position,
}

impl<T: Durable> Source<T> {
    /// One page a read, in order.
    pub(crate) fn pages(&self, reads: &[Read]) -> Result<Vec<Page>, Kind> {
        reads.iter().map(|read| self.page(read)).collect()
    }

    fn page(&self, read: &Read) -> Result<Page, Kind> {
        let limit = read.limit.min(self.budget.page_entries);
        let upto = read.upto.min(self.end);
        match &read.queue {
            QueueRef::Sparse(queue) => {
                let first = self.view.first();
                let scan = read::Scan { queue: *queue, after: read.after, upto, first, limit };
                let page = read::entries(&*self.tables, &scan).map_err(|error| broken(&error))?;
                let entries = page.entries.iter().map(entry).collect();
                Ok(Page { entries, next: page.next, end: self.end, more: page.more })
            }
            QueueRef::Dense(queue, from) => self.dense(*queue, *from, limit),
            QueueRef::All(namespace) => self.all(namespace, read.after, upto, limit),
        }
    }

    fn dense(&self, queue: causeway_model::QueueId, from: Offset, limit: usize) -> Result<Page, Kind> {
        let first = self.view.first();
        let page = read::dense(&*self.tables, queue, from, first, limit).map_err(|error| broken(&error))?;
        let entries: Vec<_> = page.entries.iter().map(entry).collect();
        let next = match entries.last() {
            Some(last) if page.more => last.stamp.position(),
            _ => self.end,
        };
        Ok(Page { entries, next, end: self.end, more: page.more })
    }

    /// The queue of `#` is the log: a scan of its records, bounded in bytes as well as in entries.
    fn all(&self, namespace: &Namespace, after: Position, upto: Position, limit: usize) -> Result<Page, Kind> {
        let mut page = Page { entries: Vec::new(), next: after, end: self.end, more: false };
        let mut from = after.max(self.view.first());
        let mut scanned = 0_u64;
        let mut batches = self.reader.batches(from);
        while from < upto {
            let batch = match batches.next() {
                Some(Ok(batch)) => batch,
                // Trimmed and removed while we read: the log begins there now.
                Some(Err(causeway_storage::Error::Trimmed { first, .. })) if first > from => {
                    from = first;
                    batches = self.reader.batches(from);
                    continue;
                }
                Some(Err(error)) => return Err(unreadable(&error)),
                None => break,
            };
            if scanned >= self.budget.scan_bytes {
                page.more = true;
                return Ok(page);
            }
            scanned += u64::from(batch.header.length);
            let within = |at: Position| at > after && at >= from && at <= upto;
            for (at, payload) in batch.records().filter(|(at, _)| within(*at)) {
                let Some(flags) = in_all(namespace, &payload)? else { continue };
                if page.entries.len() >= limit {
                    page.more = true;
                    return Ok(page);
                }
                page.next = at;
                page.entries.push(scanned_entry(at, batch.header.time, &payload, flags));
            }
            from = batch.end();
            page.next = page.next.max(from.min(upto));
        }
        page.next = page.next.max(upto);
        Ok(page)
    }

    /// The rows of a session on this shard.
    pub(crate) fn session(&self, sid: Sid) -> Result<Session, Kind> {
        let rows = read::session(&*self.tables, sid).map_err(|error| broken(&error))?;
        let subscriptions = rows
            .subscriptions
            .into_iter()
            .map(|row| Subscription { filter: row.filter, options: row.options, from: row.from })
            .collect();
        let flights = rows
            .lane
            .flights
            .into_iter()
            .map(|row| port::InFlight {
                stamp: row.stamp,
                position: row.position,
                qos: row.qos,
                pid: row.pid,
                state: to_port_state(row.state),
            })
            .collect();
        Ok(Session { subscriptions, lane: port::Lane { cursor: rows.lane.cursor, flights } })
    }
}

/// What the record says of its message, if it is one that `#` matches in this namespace.
fn in_all(namespace: &Namespace, payload: &Bytes) -> Result<Option<EntryFlags>, Kind> {
    if Header::read(payload).is_none_or(|header| header.kind != RecordKind::Message as u8) {
        return Ok(None);
    }
    let head = MessageHead::read(payload).map_err(|error| {
        tracing::error!(%error, "a message in the log cannot be read");
        Kind::Corrupt
    })?;
    if head.namespace != namespace.as_str() || !in_all_queue_name(head.topic) {
        return Ok(None);
    }
    Ok(Some(EntryFlags { qos: head.qos, retain: head.retain, expires: head.expires, referred: false }))
}

fn scanned_entry(at: Position, time: Millis, payload: &Bytes, flags: EntryFlags) -> Entry {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    Entry { offset: at.stamp().offset(), stamp: at.stamp(), position: at, length, time, flags }
}

fn entry(entry: &causeway_apply::Entry) -> Entry {
    Entry {
        offset: entry.offset,
        stamp: entry.stamp,
        position: entry.position,
        length: entry.length,
        time: entry.time,
        flags: flags(entry.flags),
    }
}

/// Tables that cannot be read: said once here, since the port's kinds carry no text.
pub(crate) fn broken(error: &causeway_apply::ApplyError) -> Kind {
    tracing::error!(%error, "tables cannot be read");
    if matches!(error, causeway_apply::ApplyError::Damaged { .. }) { Kind::Corrupt } else { Kind::Unavailable }
}

/// A log that cannot be read; below its first position is no failure but never reaches this.
pub(crate) fn unreadable(error: &causeway_storage::Error) -> Kind {
    tracing::error!(%error, "the log cannot be read");
    error.kind()
}
