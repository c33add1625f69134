//! Those who read frames here. They outlive links: each link opens a stream for each of them, and the first frame of a
//! new stream shows by its `from` what was missed.

use std::sync::Arc;

use causeway_compute::port::{FrameSender, Frames, Wants, frames};
use causeway_model::ShardId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::calls::Calls;
use super::shared::Proposer;

/// One reader.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) number: u64,
    pub(crate) shard: ShardId,
    pub(crate) sender: FrameSender,
    /// What it wants to hear of; `None`: of all.
    pub(crate) wants: Option<Arc<Wants>>,
    /// Proposals made after `notify` returned wait behind it until the first stream has begun, so that this reader
    /// hears of them.
    pub(crate) barrier: u64,
}

/// All readers.
#[derive(Debug)]
pub(crate) struct Readers {
    state: Mutex<State>,
    added: Notify,
    shards: u32,
    frames: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    readers: Vec<Arc<Reader>>,
    next: u64,
    closed: bool,
}

impl Readers {
    pub(crate) fn new(shards: u32, frames: usize, bytes: usize) -> Self {
        Self { state: Mutex::default(), added: Notify::new(), shards, frames, bytes }
    }

    /// A new reader of a shard; one of a shard that the cluster does not have sees the end at once.
    pub(crate) fn add(&self, shard: ShardId, wants: Option<Arc<Wants>>, proposals: &Calls<Proposer>) -> Frames {
        if shard.0 >= self.shards {
            return frames(1, 0).1;
        }
        let (sender, frames) = frames(self.frames, self.bytes);
        {
            let mut state = self.state.lock();
            if state.closed {
                return frames;
            }
            let barrier = proposals.barrier();
            let number = state.next;
            state.next += 1;
            state.readers.push(Arc::new(Reader { number, shard, sender, wants, barrier }));
        }
        self.added.notify_one();
        frames
    }

    /// Readers from this number on, and the number after the last.
    pub(crate) fn since(&self, number: u64) -> (Vec<Arc<Reader>>, u64) {
        let state = self.state.lock();
        let newer = state.readers.iter().filter(|reader| reader.number >= number);
        (newer.cloned().collect(), state.next)
    }

    /// Resolves when there may be a new reader; cancel safe.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// A reader has left, or sees the end.
    pub(crate) fn remove(&self, number: u64) {
        self.state.lock().readers.retain(|reader| reader.number != number);
    }

    /// All readers see the end, and so will those who come.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.readers.clear();
    }
}
