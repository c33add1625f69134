//! A publisher: sends the next message when one completes.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use causeway_mqtt::codec::{Packet, PacketId, Qos, Reason};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::backlog::Backlog;
use crate::connection::{Connection, Event, unexpected};
use crate::latency::Latency;
use crate::message::{Clock, Stamp, Template};
use crate::run::Schedule;
use crate::window::Window;

/// Bytes that wait for the socket at most; more would only be latency.
const OUTPUT: usize = 64 << 10;

/// For how long a server may answer nothing while messages are in flight.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a publisher did.
#[derive(Debug)]
pub(crate) struct Published {
    /// Messages sent.
    pub(crate) sent: u64,
    /// Messages completed while it counted: acknowledged, at QoS 0 written.
    pub(crate) counted: u64,
    /// Messages that the server refused (5.0).
    pub(crate) refused: u64,
    /// Messages still in flight when patience ran out.
    pub(crate) unanswered: u64,
    /// From send to acknowledgement.
    pub(crate) latency: Latency,
    /// When the last message completed.
    pub(crate) last: Option<Instant>,
}

impl Published {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { sent: 0, counted: 0, refused: 0, unanswered: 0, latency: Latency::new()?, last: None })
    }

    /// Adds what another publisher did.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.sent += other.sent;
        self.counted += other.counted;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.last = self.last.max(other.last);
        self.latency.merge(&other.latency)
    }
}

/// What a publisher sends, and to where.
#[derive(Debug)]
pub(crate) struct Task {
    /// The message.
    pub(crate) template: Template,
    /// Its quality of service.
    pub(crate) qos: Qos,
    /// Messages in flight at most.
    pub(crate) window: NonZeroU16,
    /// The first topic's number.
    pub(crate) first_topic: u32,
    /// Topics, taken in turn.
    pub(crate) topics: u32,
    /// Messages to send; `None` is until the schedule is over.
    pub(crate) messages: Option<u64>,
    /// What bounds it beside acknowledgements.
    pub(crate) backlog: Option<Arc<Backlog>>,
}

/// A publisher at work.
#[derive(Debug)]
pub(crate) struct Publisher {
    connection: Connection,
    task: Task,
    window: Window,
    schedule: Schedule,
    clock: Clock,
    done: Published,
    progress: Instant,
}

impl Publisher {
    /// A publisher on an open connection. In 5.0 the window shrinks to what the server takes.
    pub(crate) fn new(connection: Connection, task: Task, schedule: Schedule, clock: Clock) -> Result<Self> {
        let size = NonZeroU16::new(connection.receive_maximum).map_or(task.window, |most| most.min(task.window));
        let window = Window::new(size);
        Ok(Self { connection, task, window, schedule, clock, done: Published::new()?, progress: Instant::now() })
    }

    /// Publishes until the schedule or the task is over and everything is acknowledged.
    pub(crate) async fn run(mut self) -> Result<Published> {
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let backlog = self.task.backlog.clone();
        loop {
            let now = Instant::now();
            let wants_room = self.fill(now);
            if self.finished(now)? {
                break;
            }
            tokio::select! {
                biased;
                exchanged = self.connection.exchange() => {
                    exchanged?;
                    self.take()?;
                }
                () = room(backlog.as_deref()), if wants_room => self.progress = Instant::now(),
                _ = tick.tick() => {}
            }
        }
        self.done.unanswered = self.window.in_flight() as u64;
        self.connection.close().await?;
        Ok(self.done)
    }

    /// Sends what may be sent. `true`: it is the backlog that has no room.
    fn fill(&mut self, now: Instant) -> bool {
        let nanos = self.clock.nanos(now);
        while self.connection.output.len() < OUTPUT && self.has_more(now) {
            let Some(pid) = self.pid(now) else { return false };
            if self.task.backlog.as_deref().is_some_and(|backlog| !backlog.owe()) {
                self.window.complete(pid);
                return true;
            }
            let sequence = self.done.sent;
            let turn = u32::try_from(sequence % u64::from(self.task.topics)).unwrap_or(0);
            let topic = self.task.first_topic + turn;
            self.task.template.put(&mut self.connection.output, topic, pid, Stamp { nanos, sequence });
            self.done.sent += 1;
            if self.task.qos == Qos::AtMostOnce {
                self.completed(now);
            }
        }
        false
    }

    /// A packet id for the next message; any number at QoS 0, where none is used.
    fn pid(&mut self, now: Instant) -> Option<u16> {
        if self.task.qos == Qos::AtMostOnce { Some(0) } else { self.window.take(now) }
    }

    fn has_more(&self, now: Instant) -> bool {
        self.task.messages.is_none_or(|messages| self.done.sent < messages) && !self.schedule.over(now)
    }

    fn finished(&self, now: Instant) -> Result<bool> {
        let waiting = self.window.in_flight();
        if !self.has_more(now) && waiting == 0 && self.connection.output.is_empty() {
            return Ok(true);
        }
        if now.duration_since(self.progress) < PATIENCE {
            return Ok(false);
        }
        if !self.has_more(now) {
            return Ok(true);
        }
        bail!("the server answered nothing for {PATIENCE:?}; {waiting} messages are in flight")
    }

    /// Takes the acknowledgements that have come.
    fn take(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(event) = self.connection.event()? {
            match event {
                Event::Completed(pid, reason) => self.acknowledged(pid, reason, now)?,
                Event::Received(pid) => self.connection.acknowledge(Packet::PubRel, pid)?,
                Event::Publish(_) | Event::Released(_) | Event::Other(_) => return Err(unexpected(&event)),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, pid: PacketId, reason: Reason, now: Instant) -> Result<()> {
        let Some(sent) = self.window.complete(pid.get()) else {
            bail!("the server acknowledged packet id {pid}, which is not in flight");
        };
        if reason.code() >= 0x80 {
            self.done.refused += 1;
            self.progress = now;
            return Ok(());
        }
        if self.schedule.counts(now) {
            self.done.latency.record(now.duration_since(sent));
        }
        self.completed(now);
        Ok(())
    }

    fn completed(&mut self, now: Instant) {
        self.progress = now;
        self.done.last = Some(now);
        if self.schedule.counts(now) {
            self.done.counted += 1;
        }
    }
}

async fn room(backlog: Option<&Backlog>) {
    match backlog {
        Some(backlog) => backlog.room().await,
        None => std::future::pending().await,
    }
}
