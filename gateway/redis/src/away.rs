//! Whether Redis answers: so that one that is away costs one deadline a while, and not one a call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// For how long it is left alone; it doubles while it is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(crate) struct Away {
    /// Until when it is left alone, and for how long that is.
    pause: Mutex<Option<(Instant, Duration)>>,
    /// It was away since somebody was told to put all.
    was: AtomicBool,
    followed: AtomicBool,
}

impl Away {
    pub(crate) fn may_try(&self) -> bool {
        self.pause.lock().is_none_or(|(until, _)| Instant::now() >= until)
    }

    pub(crate) fn answered(&self) {
        *self.pause.lock() = None;
    }

    /// Notes a failure; whether it is the first since an answer.
    pub(crate) fn failed(&self) -> bool {
        self.was.store(true, Ordering::Relaxed);
        let mut pause = self.pause.lock();
        let now = Instant::now();
        let next = match *pause {
            // Others failed at the same time.
            Some((until, _)) if now < until => return false,
            Some((_, pause)) => (pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let first = pause.is_none();
        *pause = Some((now + next, next));
        first
    }

    /// Whether it was away and answers again; true once.
    pub(crate) fn is_back(&self) -> bool {
        self.was.swap(false, Ordering::Relaxed)
    }

    /// True once.
    pub(crate) fn is_first(&self) -> bool {
        !self.followed.swap(true, Ordering::Relaxed)
    }
}
