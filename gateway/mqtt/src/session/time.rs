//! What the passing of time asks for: CONNECT in time, keep alive (MQTT 5.0 §3.1.2.10), cursors handed to the log.

use std::time::Duration;

use super::effect::{Effect, Now, Output};
use super::end::{Cause, End};
use super::{Phase, Session};
use crate::codec::Reason;

/// A persistent session that is silent looks this often whether its stored cursor lags.
const IDLE: Duration = Duration::from_mins(1);

/// How much longer a silent client is given, once. After a pause of the whole process (a laptop's sleep, a stalled
/// machine) timers fire before the packets are seen that came meanwhile.
const DOUBT: Duration = Duration::from_millis(250);

/// A client that is silent for one and a half times its interval is gone.
#[derive(Debug, Default)]
pub(super) struct KeepAlive {
    /// Longest silence; `None`: any.
    limit: Option<Duration>,
    heard: Duration,
    /// The limit has passed, and what may wait in the socket is read first.
    doubted: bool,
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
        self.doubted = false;
    }

    /// When the silence is too long.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let doubt = if self.doubted { DOUBT } else { Duration::ZERO };
        self.limit.map(|limit| self.heard.saturating_add(limit).saturating_add(doubt))
    }

    /// Whether the client is gone.
    fn is_over(&mut self, now: Now) -> bool {
        if self.deadline().is_none_or(|deadline| now.elapsed < deadline) {
            return false;
        }
        if self.doubted {
            return true;
        }
        // The moment more counts from now: the timer itself may have been late.
        (self.doubted, self.heard) = (true, now.elapsed.saturating_sub(self.limit.unwrap_or_default()));
        false
    }
}

impl Session {
    /// When to call [`Session::tick`], if nothing happens before.
    pub fn deadline(&self) -> Option<Duration> {
        if matches!(self.phase, Phase::Fresh) {
            return Some(self.ticked.saturating_add(self.shared.settings.connect_timeout));
        }
        if self.is_entering() {
            return Some(self.entry_due());
        }
        if !self.is_online() {
            return None;
        }
        let progress = self.progress_due().then(|| self.progressed.saturating_add(self.interval()));
        let idle = self.is_persistent().then(|| self.ticked.saturating_add(IDLE));
        [self.alive.deadline(), progress, idle, self.outbound.paused()].into_iter().flatten().min()
    }

    /// Nothing is read from the client: it is not the client that is silent.
    pub fn not_listening(&mut self, now: Now) {
        self.alive.heard(now);
    }

    /// When CONNECT is answered, whether the brokers have or not: as long after it as it itself may take.
    fn entry_due(&self) -> Duration {
        self.alive.heard.saturating_add(self.shared.settings.connect_timeout)
    }

    fn interval(&self) -> Duration {
        self.shared.settings.progress_interval
    }

    fn is_persistent(&self) -> bool {
        self.identity.is_some_and(|identity| identity.persistent)
    }

    fn progress_due(&self) -> bool {
        self.moved && self.is_persistent()
    }

    /// Time passed. `lag`: with so many bytes of log between its stored and its real cursor an idle lane is stored too.
    pub fn tick(&mut self, now: Now, lag: u64, out: &mut Output) {
        if matches!(self.phase, Phase::Fresh) && self.deadline().is_some_and(|deadline| now.elapsed >= deadline) {
            return self.ended(Cause::ConnectTimeout, out);
        }
        if self.is_entering() && now.elapsed >= self.entry_due() {
            // Better an answer than none: the client may find another gateway, whose brokers are not away.
            return self.end(End::refused(Reason::ServerUnavailable, "the brokers do not answer"), out);
        }
        if !self.is_online() {
            return;
        }
        self.ticked = now.elapsed;
        if !self.takes_packets() {
            self.not_listening(now);
        }
        if self.alive.is_over(now) {
            return self.end(End::silent(), out);
        }
        let Some(identity) = self.identity.filter(|identity| identity.persistent) else { return };
        let due = self.progress_due() && now.elapsed >= self.progressed.saturating_add(self.interval());
        for lane in &mut self.outbound.lanes {
            let behind = lane.cursor().0.saturating_sub(lane.handed().0) > lag;
            if !(due || behind) {
                continue;
            }
            if let Some(progress) = lane.progress(identity.sid, identity.epoch) {
                out.effect(Effect::Progress(lane.shard, progress));
            }
        }
        if due {
            self.progressed = now.elapsed;
            self.moved = false;
        }
    }
}
