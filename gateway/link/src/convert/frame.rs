//! Frames: notices in columns, all queue ids in one block.

use bytes::{BufMut, Bytes, BytesMut};
use causeway_compute::port::{Frame, Notice};
use causeway_model::{Position, QueueId, ShardId, Stamp};

use super::page::{flags_from, flags_to, moved, pairs};
use super::{Malformed, number};
use crate::proto as pb;

/// A frame. Its shard is the stream's.
pub(crate) fn frame_to(frame: &Frame) -> pb::Frame {
    let notices = &frame.notices;
    let (moved, moved_to) = moved(notices.iter().map(|notice| (notice.stamp, notice.position)));
    pb::Frame {
        from: frame.from.0,
        to: frame.to.0,
        collapsed: frame.collapsed,
        stamps: notices.iter().map(|notice| notice.stamp.0).collect(),
        lengths: notices.iter().map(|notice| notice.length).collect(),
        flags: notices.iter().map(|notice| flags_to(notice.flags)).collect::<Vec<u8>>().into(),
        moved,
        moved_to,
        counts: notices.iter().map(|notice| notice.queues.into()).collect(),
        queues: ids_to(&frame.queues),
    }
}

/// The frame that came.
pub(crate) fn frame_from(shard: ShardId, frame: &pb::Frame) -> Result<Frame, Malformed> {
    let count = frame.stamps.len();
    let whole = [frame.lengths.len(), frame.flags.len(), frame.counts.len()].iter().all(|len| *len == count);
    let named = frame.counts.iter().map(|count| u64::from(*count)).sum::<u64>();
    let queues = ids_from(&frame.queues)?;
    if !whole || named != queues.len() as u64 {
        return Err(Malformed::Columns("frame"));
    }
    let columns = frame.stamps.iter().zip(&frame.lengths).zip(&frame.flags).zip(&frame.counts);
    let notice = |(((stamp, length), flags), count)| {
        let (stamp, length, flags, count): (&u64, &u32, &u8, &u32) = (stamp, length, flags, count);
        Ok(Notice {
            stamp: Stamp(*stamp),
            position: Position(*stamp),
            length: *length,
            flags: flags_from(*flags)?,
            queues: number("queues of a notice", *count)?,
        })
    };
    let mut notices = columns.map(notice).collect::<Result<Vec<_>, Malformed>>()?;
    for (at, to) in pairs("frame", &frame.moved, &frame.moved_to)? {
        notices.get_mut(at).ok_or(Malformed::Columns("frame"))?.position = to;
    }
    let (from, to) = (Position(frame.from), Position(frame.to));
    Ok(Frame { shard, from, to, collapsed: frame.collapsed, notices, queues })
}

/// Queue ids back to back.
pub(crate) fn ids_to(ids: &[QueueId]) -> Bytes {
    let mut block = BytesMut::with_capacity(size_of_val(ids));
    for id in ids {
        block.put_slice(&id.0);
    }
    block.freeze()
}

/// The ids that came.
pub(crate) fn ids_from(block: &[u8]) -> Result<Vec<QueueId>, Malformed> {
    let (ids, rest) = block.as_chunks::<16>();
    if !rest.is_empty() {
        return Err(Malformed::Length { field: "queue ids", found: block.len() });
    }
    Ok(ids.iter().map(|id| QueueId(*id)).collect())
}
