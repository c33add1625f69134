//! How far one stream of frames has come.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use causeway_compute::port::Frame;
use causeway_model::{Position, Text};
use prometheus::IntCounter;

/// See the module. Its stream writes, whoever scrapes reads.
pub(crate) struct Follower {
    gateway: Text,
    applied: Box<dyn Fn() -> Position + Send + Sync>,
    /// Where the next frame begins, if none is missed.
    next: AtomicU64,
    /// Nothing up to here is still to be told.
    told: AtomicU64,
    frames: IntCounter,
    gaps: IntCounter,
}

impl Follower {
    pub(super) fn new(
        gateway: Text,
        from: Position,
        applied: Box<dyn Fn() -> Position + Send + Sync>,
        frames: IntCounter,
        gaps: IntCounter,
    ) -> Self {
        Self { gateway, applied, next: AtomicU64::new(from.0), told: AtomicU64::new(from.0), frames, gaps }
    }

    pub(super) fn gateway(&self) -> &Text {
        &self.gateway
    }

    /// A frame is about to be told, or left out.
    pub(crate) fn takes(&self, frame: &Frame) {
        if frame.from.0 > self.next.fetch_max(frame.to.0, Ordering::Relaxed) {
            self.gaps.inc();
        }
        self.told.fetch_max(frame.to.0, Ordering::Relaxed);
    }

    /// There is no frame to be told; the gateway hears where the shard stands, and so of what it has missed.
    pub(crate) fn stands(&self, at: Position, applied: Option<Position>) {
        self.told.fetch_max(applied.unwrap_or(at).0, Ordering::Relaxed);
    }

    /// So many frames are sent.
    pub(crate) fn sends(&self, frames: usize) {
        self.frames.inc_by(frames as u64);
    }

    /// Bytes of log that it is still to be told of.
    pub(super) fn behind(&self) -> u64 {
        (self.applied)().0.saturating_sub(self.told.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}
