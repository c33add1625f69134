//! Reads and pages: entries in columns.

use causeway_compute::port::{Entry, EntryFlags, Page, QueueRef, Read};
use causeway_model::{Millis, Offset, Position, Qos, Stamp};

use super::{Malformed, bytes_of, namespace, need, number, queue_from};
use crate::proto as pb;
use crate::proto::read::Queue;

const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const REFERRED: u8 = 1 << 4;

/// One read.
pub(crate) fn read_to(read: &Read) -> pb::Read {
    let copy = |id: &causeway_model::QueueId| bytes::Bytes::copy_from_slice(&id.0);
    let (queue, offset) = match &read.queue {
        QueueRef::Sparse(id) => (Queue::Sparse(copy(id)), 0),
        QueueRef::Dense(id, offset) => (Queue::Dense(copy(id)), offset.0),
        QueueRef::All(namespace) => (Queue::All(bytes_of(namespace.text())), 0),
    };
    pb::Read { queue: Some(queue), after: read.after.0, upto: read.upto.0, limit: read.limit as u64, offset }
}

/// The read that came.
pub(crate) fn read_from(read: pb::Read) -> Result<Read, Malformed> {
    let queue = match need("queue", read.queue)? {
        Queue::Sparse(id) => QueueRef::Sparse(queue_from(&id)?),
        Queue::Dense(id) => QueueRef::Dense(queue_from(&id)?, Offset(read.offset)),
        Queue::All(name) => QueueRef::All(namespace(name)?),
    };
    let limit = number("limit", read.limit)?;
    Ok(Read { queue, after: Position(read.after), upto: Position(read.upto), limit })
}

/// A page.
pub(crate) fn page_to(page: &Page) -> pb::Page {
    let entries = &page.entries;
    let sparse = entries.iter().all(|entry| entry.offset == entry.stamp.offset());
    let (moved, moved_to) = moved(entries.iter().map(|entry| (entry.stamp, entry.position)));
    pb::Page {
        next: page.next.0,
        end: page.end.0,
        more: page.more,
        stamps: entries.iter().map(|entry| entry.stamp.0).collect(),
        offsets: if sparse { Vec::new() } else { entries.iter().map(|entry| entry.offset.0).collect() },
        lengths: entries.iter().map(|entry| entry.length).collect(),
        times: entries.iter().map(|entry| entry.time.0).collect(),
        flags: entries.iter().map(|entry| flags_to(entry.flags)).collect::<Vec<u8>>().into(),
        moved,
        moved_to,
    }
}

/// The page that came.
pub(crate) fn page_from(page: &pb::Page) -> Result<Page, Malformed> {
    let count = page.stamps.len();
    let offsets = page.offsets.len();
    let whole = [page.lengths.len(), page.times.len(), page.flags.len()].iter().all(|len| *len == count);
    if !whole || (offsets != 0 && offsets != count) {
        return Err(Malformed::Columns("page"));
    }
    let offsets = if offsets == 0 { &page.stamps } else { &page.offsets };
    let columns = page.stamps.iter().zip(offsets).zip(&page.lengths).zip(&page.times).zip(&page.flags);
    let entry = |((((stamp, offset), length), time), flags)| {
        let (stamp, offset, length): (&u64, &u64, &u32) = (stamp, offset, length);
        let (time, flags): (&u64, &u8) = (time, flags);
        Ok(Entry {
            offset: Offset(*offset),
            stamp: Stamp(*stamp),
            position: Position(*stamp),
            length: *length,
            time: Millis(*time),
            flags: flags_from(*flags)?,
        })
    };
    let mut entries = columns.map(entry).collect::<Result<Vec<_>, Malformed>>()?;
    for (at, to) in pairs("page", &page.moved, &page.moved_to)? {
        entries.get_mut(at).ok_or(Malformed::Columns("page"))?.position = to;
    }
    Ok(Page { entries, next: Position(page.next), end: Position(page.end), more: page.more })
}

pub(super) fn flags_to(flags: EntryFlags) -> u8 {
    let bit = |set, bit| if set { bit } else { 0 };
    flags.qos.number() | bit(flags.retain, RETAIN) | bit(flags.expires, EXPIRES) | bit(flags.referred, REFERRED)
}

pub(super) fn flags_from(flags: u8) -> Result<EntryFlags, Malformed> {
    let qos = Qos::from_number(flags & 3);
    Ok(EntryFlags {
        qos: qos.ok_or(Malformed::Number { field: "quality of service", found: (flags & 3).into() })?,
        retain: flags & RETAIN != 0,
        expires: flags & EXPIRES != 0,
        referred: flags & REFERRED != 0,
    })
}

/// The columns of entries whose body is elsewhere: which, and where.
pub(super) fn moved(entries: impl Iterator<Item = (Stamp, Position)>) -> (Vec<u32>, Vec<u64>) {
    (0..)
        .zip(entries)
        .filter(|(_, (stamp, position))| stamp.position() != *position)
        .map(|(at, (_, to))| (at, to.0))
        .unzip()
}

/// The inverse of [`moved`].
pub(super) fn pairs<'a>(
    of: &'static str,
    moved: &'a [u32],
    moved_to: &'a [u64],
) -> Result<impl Iterator<Item = (usize, Position)> + use<'a>, Malformed> {
    if moved.len() != moved_to.len() {
        return Err(Malformed::Columns(of));
    }
    Ok(moved.iter().zip(moved_to).map(|(at, to)| (*at as usize, Position(*to))))
}
