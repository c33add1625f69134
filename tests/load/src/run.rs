//! One measurement: starts publishers and subscribers, samples at the right moments, waits for the end, adds up.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::args::{Load, Server};
use crate::backlog::{Backlog, Watch};
use crate::process::Sample;
use crate::publisher::{Published, Publisher};
use crate::report::Figure;
use crate::subscriber::{Received, Subscriber};

/// How often backlogs are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// When messages count and when publishers stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    from: Instant,
    until: Option<Instant>,
}

impl Schedule {
    /// A run that starts now: for a time after a warm-up, or, if a number of messages bounds it, from start to end.
    pub(crate) fn of(load: &Load) -> Self {
        let now = Instant::now();
        if load.messages.is_some() {
            return Self::counted(now);
        }
        let from = now + load.warm_up;
        Self { from, until: Some(from + load.seconds) }
    }

    /// A run that starts at `now` and ends with its last message.
    pub(crate) fn counted(now: Instant) -> Self {
        Self { from: now, until: None }
    }

    /// Whether what happens now is measured.
    pub(crate) fn counts(&self, now: Instant) -> bool {
        now >= self.from && !self.over(now)
    }

    /// Whether publishers are to stop.
    pub(crate) fn over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// Splits `messages` over `publishers` so that they add up; publisher `number` counts from 0.
pub(crate) fn share(messages: Option<u64>, publishers: u32, number: u32) -> Option<u64> {
    let (publishers, number) = (u64::from(publishers), u64::from(number));
    messages.map(|messages| messages / publishers + u64::from(number < messages % publishers))
}

/// Messages that may be sent and not delivered: at QoS 0 the window itself; above, acknowledgements are the loop, and
/// this only keeps a server that acknowledges ahead of delivery from piling up without end.
pub(crate) fn backlog(load: &Load, copies: u32) -> Backlog {
    let window = u64::from(NonZeroU16::get(load.window));
    let messages = if load.qos.number() == 0 { window } else { window * 4 };
    Backlog::new(messages, u64::from(copies))
}

/// The tasks of a measurement.
#[derive(Debug)]
pub(crate) struct Run {
    schedule: Schedule,
    server: Server,
    publishers: JoinSet<Result<Published>>,
    subscribers: JoinSet<Result<Received>>,
    stop: watch::Sender<bool>,
    backlogs: Vec<(Arc<Backlog>, Watch)>,
    outcome: Outcome,
}

/// What a measurement found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// By all publishers.
    pub(crate) published: Published,
    /// By all subscribers.
    pub(crate) received: Received,
    /// Deliveries that never came.
    pub(crate) lost: u64,
    /// The time over which things were counted.
    pub(crate) took: Duration,
    /// What it cost.
    pub(crate) cost: Cost,
}

/// What the measured time cost the server, and this tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    before: (Option<Sample>, Sample),
    after: (Option<Sample>, Sample),
}

impl Cost {
    /// Starts to measure.
    pub(crate) fn start(server: &Server) -> Result<Self> {
        let before = Self::sample(server)?;
        Ok(Self { before, after: before })
    }

    /// Reads the cost so far.
    pub(crate) fn stop(&mut self, server: &Server) -> Result<()> {
        self.after = Self::sample(server)?;
        Ok(())
    }

    fn sample(server: &Server) -> Result<(Option<Sample>, Sample)> {
        let processes = server.pids.iter().map(|pid| Sample::of(*pid, "--pid"));
        let sum = processes.reduce(|sum, sample| Ok(sum?.plus(&sample?))).transpose()?;
        Ok((sum, Sample::of_this_tool()?))
    }

    /// KiB by which the server's resident memory has grown.
    pub(crate) fn growth(&self) -> Option<f64> {
        let (before, after) = (self.before.0?, self.after.0?);
        Some(kib(after.resident) - kib(before.resident))
    }

    /// Cores and memory, as figures.
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        let server = self.before.0.zip(self.after.0).map(|(before, after)| {
            [
                Figure::new("server", after.cores_since(&before), "cores"),
                Figure::new("resident", kib(after.resident) / 1024.0, "MiB"),
            ]
        });
        let tool = Figure::new("tool", self.after.1.cores_since(&self.before.1), "cores");
        server.into_iter().flatten().chain([tool])
    }
}

fn kib(resident: u64) -> f64 {
    // Exact up to 4 TiB.
    u32::try_from(resident).map_or(f64::INFINITY, f64::from)
}

impl Run {
    /// A measurement on `schedule`, so far without tasks.
    pub(crate) fn new(schedule: Schedule, server: Server) -> Result<Self> {
        let (stop, _) = watch::channel(false);
        let outcome = Outcome {
            published: Published::new()?,
            received: Received::new()?,
            lost: 0,
            took: Duration::ZERO,
            cost: Cost::start(&server)?,
        };
        let (publishers, subscribers) = (JoinSet::new(), JoinSet::new());
        Ok(Self { schedule, server, publishers, subscribers, stop, backlogs: Vec::new(), outcome })
    }

    /// Starts a subscriber.
    pub(crate) fn subscriber(&mut self, subscriber: Subscriber) {
        self.subscribers.spawn(subscriber.run(self.stop.subscribe()));
    }

    /// Watches a backlog, whose publisher [`Run::publisher`] then starts.
    pub(crate) fn backlog(&mut self, backlog: Arc<Backlog>) {
        self.backlogs.push((backlog, Watch::new(Instant::now())));
    }

    /// Starts a publisher.
    pub(crate) fn publisher(&mut self, publisher: Publisher) {
        self.publishers.spawn(publisher.run());
    }

    /// Waits for the end of the schedule and of all tasks. The first error of any of them ends it.
    pub(crate) async fn finish(mut self) -> Result<Outcome> {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut started, mut ended) = (false, false);
        while !(self.publishers.is_empty() && ended) {
            tokio::select! {
                Some(done) = self.publishers.join_next() => {
                    self.outcome.published.merge(&done.context("a publisher died")??)?;
                    if self.publishers.is_empty() && self.schedule.until.is_none() {
                        self.outcome.cost.stop(&self.server)?;
                        ended = true;
                    }
                }
                Some(done) = self.subscribers.join_next() => {
                    done.context("a subscriber died")??;
                    bail!("a subscriber stopped before its time");
                }
                () = sleep_until(self.schedule.from), if !started => {
                    self.outcome.cost = Cost::start(&self.server)?;
                    started = true;
                }
                () = until(self.schedule.until), if started && !ended => {
                    self.outcome.cost.stop(&self.server)?;
                    ended = true;
                }
                _ = looks.tick() => self.look(),
            }
        }
        self.settle().await;
        self.collect().await
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.backlogs.iter_mut().for_each(|(backlog, watch)| watch.look(backlog, now));
    }

    /// Waits for deliveries that are still on their way, until they have come or are written off.
    async fn settle(&mut self) {
        while self.backlogs.iter().any(|(backlog, _)| backlog.outstanding() > 0) {
            sleep(LOOK / 10).await;
            self.look();
        }
    }

    async fn collect(mut self) -> Result<Outcome> {
        // No receiver left means no subscriber left.
        let _ = self.stop.send(true);
        while let Some(done) = self.subscribers.join_next().await {
            self.outcome.received.merge(&done.context("a subscriber died")??)?;
        }
        self.outcome.lost = self.backlogs.iter().map(|(backlog, _)| backlog.lost()).sum();
        let last = self.outcome.published.last.max(self.outcome.received.last).unwrap_or(self.schedule.from);
        let end = self.schedule.until.unwrap_or(last);
        self.outcome.took = end.saturating_duration_since(self.schedule.from);
        Ok(self.outcome)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole() {
        for (messages, publishers) in [(10, 3), (2, 3), (0, 3), (9, 9), (1_000_001, 7)] {
            let shares: Vec<_> = (0..publishers).filter_map(|n| share(Some(messages), publishers, n)).collect();
            assert_eq!(shares.iter().sum::<u64>(), messages);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
        }
        assert_eq!(share(None, 3, 0), None);
    }

    #[test]
    fn only_the_time_between_warm_up_and_end_counts() {
        let from = Instant::now();
        let until = from + Duration::from_secs(5);
        let timed = Schedule { from, until: Some(until) };
        let step = Duration::from_millis(1);
        assert!(!timed.counts(from - step));
        assert!(timed.counts(from) && timed.counts(until - step));
        assert!(!timed.counts(until) && timed.over(until));
        let counted = Schedule::counted(from);
        assert!(counted.counts(from + Duration::from_hours(1)) && !counted.over(until));
    }
}
