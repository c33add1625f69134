//! Keep alive (MQTT 5.0 §3.1.2.10): a client that is silent for one and a half times its interval is gone.

use std::time::Duration;

use super::effect::Now;

#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    /// Longest silence; `None`: any.
    limit: Option<Duration>,
    heard: Duration,
}

impl KeepAlive {
    /// The interval of CONNECT in seconds; 0 turns it off.
    pub(super) fn start(&mut self, seconds: u16, now: Now) {
        self.limit = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1500));
        self.heard = now.elapsed;
    }

    /// A packet came.
    pub(super) fn heard(&mut self, now: Now) {
        self.heard = now.elapsed;
    }

    /// When the silence is too long.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.limit.map(|limit| self.heard.saturating_add(limit))
    }
}
