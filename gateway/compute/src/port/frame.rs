//! The one shape of notify, hosted and remote alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use causeway_model::{Position, QueueId, ShardId, Stamp};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::EntryFlags;

/// What one applied batch put into queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The shard.
    pub shard: ShardId,
    /// Everything at or below was in earlier frames.
    pub from: Position,
    /// Everything at or below is applied.
    pub to: Position,
    /// The content was too large to carry: read `(from, to]` from the index.
    pub collapsed: bool,
    /// The entries in stamp order, those without subscribers too.
    pub notices: Vec<Notice>,
    /// The queues of all notices, back to back: see [`Notice::queues`].
    pub queues: Vec<QueueId>,
}

impl Frame {
    /// Bytes that it keeps in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.notices.as_slice()) + size_of_val(self.queues.as_slice())
    }

    /// Each notice with the queues it entered.
    pub fn iter(&self) -> impl Iterator<Item = (&Notice, &[QueueId])> {
        let mut rest = self.queues.as_slice();
        self.notices.iter().map(move |notice| {
            let (mine, others) = rest.split_at_checked(usize::from(notice.queues)).unwrap_or((rest, &[]));
            rest = others;
            (notice, mine)
        })
    }
}

/// One message that entered queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The record that made the entries.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body.
    pub length: u32,
    /// What a reader may want to know before fetching.
    pub flags: EntryFlags,
    /// How many of the frame's queue ids are this notice's. The id of kind `All` stands for the namespace's `#`.
    pub queues: u16,
}

/// A stream of frames with a budget: over it, whole frames are missed and the reader sees a gap. Nobody waits for it.
pub fn frames(count: usize, bytes: usize) -> (FrameSender, Frames) {
    let (sender, receiver) = mpsc::channel(count.max(1));
    let held = Arc::new(AtomicUsize::new(0));
    (FrameSender { sender, held: Arc::clone(&held), bytes }, Frames { receiver, held })
}

/// The writing end of [`frames`].
#[derive(Debug)]
pub struct FrameSender {
    sender: mpsc::Sender<Arc<Frame>>,
    held: Arc<AtomicUsize>,
    bytes: usize,
}

/// What became of a frame that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// The reader will have it.
    Taken,
    /// The budget is used up: the reader misses it.
    Missed,
    /// There is no reader any more.
    Gone,
}

impl FrameSender {
    /// Offers a frame; never waits. An empty stream takes a frame of any size.
    pub fn offer(&self, frame: &Arc<Frame>) -> Offered {
        let bytes = frame.bytes();
        let held = self.held.fetch_add(bytes, Ordering::Relaxed);
        let sent = if held > 0 && held.saturating_add(bytes) > self.bytes {
            if self.sender.is_closed() { Offered::Gone } else { Offered::Missed }
        } else {
            match self.sender.try_send(Arc::clone(frame)) {
                Ok(()) => return Offered::Taken,
                Err(TrySendError::Full(_)) => Offered::Missed,
                Err(TrySendError::Closed(_)) => Offered::Gone,
            }
        };
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        sent
    }

    /// Resolves when the reader is gone; cancel safe.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// The reading end of [`frames`].
#[derive(Debug)]
pub struct Frames {
    receiver: mpsc::Receiver<Arc<Frame>>,
    held: Arc<AtomicUsize>,
}

impl Frames {
    /// The next frame; `None` when the stream has ended. Cancel safe.
    pub async fn recv(&mut self) -> Option<Arc<Frame>> {
        let frame = self.receiver.recv().await;
        self.taken(frame.as_ref());
        frame
    }

    /// The next frame, for who polls by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Frame>>> {
        let polled = self.receiver.poll_recv(cx);
        if let Poll::Ready(frame) = &polled {
            self.taken(frame.as_ref());
        }
        polled
    }

    /// The next frame if it is there already.
    pub fn try_recv(&mut self) -> Option<Arc<Frame>> {
        let frame = self.receiver.try_recv().ok();
        self.taken(frame.as_ref());
        frame
    }

    /// How many frames the stream holds at most.
    pub fn max_capacity(&self) -> usize {
        self.receiver.max_capacity()
    }

    fn taken(&self, frame: Option<&Arc<Frame>>) {
        if let Some(frame) = frame {
            self.held.fetch_sub(frame.bytes(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: u64, queues: usize) -> Arc<Frame> {
        let (shard, from, to) = (ShardId(0), Position(from), Position(from + 1));
        Arc::new(Frame {
            shard,
            from,
            to,
            collapsed: false,
            notices: Vec::new(),
            queues: vec![QueueId([0; 16]); queues],
        })
    }

    #[tokio::test]
    async fn over_the_budget_of_bytes_frames_are_missed_until_the_reader_took_some() {
        let large = frame(0, 100).bytes();
        let (sender, mut frames) = frames(10, large * 2);
        assert_eq!(sender.offer(&frame(0, 100)), Offered::Taken);
        assert_eq!(sender.offer(&frame(1, 100)), Offered::Taken);
        assert_eq!(sender.offer(&frame(2, 0)), Offered::Missed);
        assert_eq!(frames.recv().await.unwrap().from, Position(0));
        assert_eq!(sender.offer(&frame(3, 0)), Offered::Taken);
        assert_eq!(frames.recv().await.unwrap().from, Position(1));
        assert_eq!(frames.try_recv().unwrap().from, Position(3));
        assert_eq!(sender.offer(&frame(4, 1000)), Offered::Taken, "an empty stream takes any frame");
        drop(frames);
        assert_eq!(sender.offer(&frame(5, 0)), Offered::Gone);
    }
}
