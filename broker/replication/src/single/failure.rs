//! The one way a shard's threads end early: said once, seen by everyone.

use std::sync::Arc;

use tokio::sync::watch;

use crate::Error;

/// Raised by a thread that cannot go on; the first cause is the one that is kept.
#[derive(Clone)]
pub(super) struct Alarm {
    failed: watch::Sender<Option<Arc<Error>>>,
    /// Makes every part stop: nothing new is taken, nobody is left waiting.
    stop: Arc<dyn Fn() + Send + Sync>,
}

impl Alarm {
    pub(super) fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self { failed: watch::Sender::new(None), stop: Arc::new(stop) }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<Error>>> {
        self.failed.subscribe()
    }

    pub(super) fn raise(&self, error: Error) {
        tracing::error!(%error, "shard stopped");
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| Arc::new(error));
            first
        });
        if first {
            (self.stop)();
        }
    }

    /// Raises the alarm if the thread that holds the answer unwinds.
    pub(super) fn guard(&self, name: &'static str) -> Guard<'_> {
        Guard { alarm: self, name }
    }
}

pub(super) struct Guard<'a> {
    alarm: &'a Alarm,
    name: &'static str,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.alarm.raise(Error::Panicked { name: self.name });
        }
    }
}
