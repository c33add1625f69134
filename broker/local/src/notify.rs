//! Frames for whoever listens: built once a batch, offered to each reader, never waited for.

use std::sync::Arc;

use causeway_apply::Entered;
use causeway_compute::port::{EntryFlags, Frame, FrameSender, Frames, Notice, Offered, frames};
use causeway_model::{Position, QueueId, ShardId};
use parking_lot::Mutex;

/// A frame with more content than this says only that it had some.
const MAX_FRAME_BYTES: usize = 256 << 10;

/// The readers of one shard's frames.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Vec<FrameSender>>);

impl Subscribers {
    /// A reader of everything from now on; over `count` frames or `bytes` of them behind, it misses some.
    pub(crate) fn subscribe(&self, count: usize, bytes: usize) -> Frames {
        let (sender, frames) = frames(count, bytes);
        self.0.lock().push(sender);
        frames
    }

    /// Whether anybody listens: without readers no frame needs to be built.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Offers a frame to all. A reader that is full misses it and sees that by the positions of the next one.
    pub(crate) fn send(&self, frame: &Arc<Frame>) {
        self.0.lock().retain(|sender| sender.offer(frame) != Offered::Gone);
    }

    /// No more frames will come: readers see the end.
    pub(crate) fn close(&self) {
        self.0.lock().clear();
    }
}

/// The frame of one batch.
pub(crate) fn frame(shard: ShardId, from: Position, to: Position, entered: &[Entered], queues: &[QueueId]) -> Frame {
    let bytes = size_of_val(queues).saturating_add(entered.len().saturating_mul(size_of::<Notice>()));
    if bytes > MAX_FRAME_BYTES {
        return Frame { shard, from, to, collapsed: true, notices: Vec::new(), queues: Vec::new() };
    }
    let notices = entered.iter().map(notice).collect();
    Frame { shard, from, to, collapsed: false, notices, queues: queues.to_vec() }
}

fn notice(entered: &Entered) -> Notice {
    Notice {
        stamp: entered.stamp,
        position: entered.position,
        length: entered.length,
        flags: flags(entered.flags),
        queues: entered.queues,
    }
}

/// What apply says of an entry, in the port's words.
pub(crate) fn flags(flags: causeway_apply::EntryFlags) -> EntryFlags {
    EntryFlags { qos: flags.qos, retain: flags.retain, expires: flags.expires, referred: flags.referred }
}
