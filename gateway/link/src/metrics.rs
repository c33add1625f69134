//! The numbers of both sides of the link.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use causeway_model::{Position, Text};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::proto as pb;

/// Of a process that asks brokers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    up: IntGauge,
    made: IntCounter,
    lost: IntCounter,
    pub(crate) refused: IntCounter,
    pub(crate) unreached: IntCounter,
    pub(crate) proposals: Waiting,
    pub(crate) queries: Waiting,
}

/// Calls that wait for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    calls: IntGauge,
    bytes: IntGauge,
}

impl ClientMetrics {
    /// Makes all handles and registers them.
    ///
    /// # Errors
    /// The process asks brokers over another link already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let failures =
            counters(registry, "dial_failures_total", "Attempts to reach a broker that failed, by cause.", "cause")?;
        let calls = gauges(registry, "waiting_calls", "Calls that wait for a broker's answer.", "kind")?;
        let bytes = gauges(registry, "waiting_bytes", "Bytes of calls that wait for a broker's answer.", "kind")?;
        let waiting =
            |kind: &str| Waiting { calls: calls.with_label_values(&[kind]), bytes: bytes.with_label_values(&[kind]) };
        Ok(Self {
            up: gauge(registry, "up", "Whether the link to a broker is up.")?,
            made: counter(registry, "made_total", "Links to brokers made.")?,
            lost: counter(registry, "lost_total", "Links to brokers lost.")?,
            refused: failures.with_label_values(&["refused"]),
            unreached: failures.with_label_values(&["unreached"]),
            proposals: waiting("proposal"),
            queries: waiting("query"),
        })
    }

    /// The link was made.
    pub(crate) fn made(&self) {
        self.made.inc();
        self.up.set(1);
    }

    /// The link was lost.
    pub(crate) fn lost(&self) {
        self.lost.inc();
        self.up.set(0);
    }

    /// There will be no link any more.
    pub(crate) fn closed(&self) {
        self.up.set(0);
    }
}

impl Waiting {
    pub(crate) fn show(&self, calls: usize, bytes: usize) {
        self.calls.set(signed(calls as u64));
        self.bytes.set(signed(bytes as u64));
    }
}

/// Of a process that others connect to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    pub(crate) connections: IntGauge,
    refusals: IntCounterVec,
    frames: IntCounter,
    gaps: IntCounter,
    live: Live,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Token,
    Version,
    Level,
    Lineage,
    TooMany,
    Other,
}

impl Refusal {
    const ALL: [Self; 6] = [Self::Token, Self::Version, Self::Level, Self::Lineage, Self::TooMany, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Version => "version",
            Self::Level => "level",
            Self::Lineage => "lineage",
            Self::TooMany => "too_many",
            Self::Other => "other",
        }
    }
}

impl ServerMetrics {
    /// Makes all handles and registers them.
    ///
    /// # Errors
    /// The process counts for others already: all addresses that it serves share these.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let live = Live::new()?;
        registry.register(Box::new(live.clone()))?;
        let this = Self {
            connections: gauge(registry, "server_connections_open", "Connections of others open now.")?,
            refusals: counters(registry, "server_refusals_total", "Others that were not let in, by cause.", "cause")?,
            frames: counter(registry, "server_frames_total", "Frames of notify sent to gateways.")?,
            gaps: counter(registry, "server_frame_gaps_total", "Times that a gateway missed frames of notify.")?,
            live,
        };
        for refusal in Refusal::ALL {
            this.refusals.with_label_values(&[refusal.name()]);
        }
        Ok(this)
    }

    pub(crate) fn refused(&self, why: Refusal) {
        self.refusals.with_label_values(&[why.name()]).inc();
    }

    /// A link of a gateway has begun.
    pub(crate) fn entered(&self, gateway: &Text) {
        *self.live.0.state.lock().links.entry(gateway.clone()).or_default() += 1;
    }

    /// The connection of a gateway's link is gone.
    pub(crate) fn left(&self, gateway: &Text) {
        let mut state = self.live.0.state.lock();
        if let Some(links) = state.links.get_mut(gateway) {
            *links -= 1;
            if *links == 0 {
                state.links.remove(gateway);
            }
        }
    }

    /// Watches a stream of frames for a gateway, for as long as the handle lives.
    pub(crate) fn follow(
        &self,
        gateway: &Text,
        applied: impl Fn() -> Position + Send + Sync + 'static,
    ) -> Arc<Follower> {
        let now = applied().0;
        let (next, told) = (AtomicU64::new(now), AtomicU64::new(now));
        let (gateway, frames, gaps) = (gateway.clone(), self.frames.clone(), self.gaps.clone());
        let follower = Arc::new(Follower { gateway, applied: Box::new(applied), next, told, frames, gaps });
        self.live.0.state.lock().followers.push(Arc::downgrade(&follower));
        follower
    }
}

/// How far one stream of frames has come.
pub(crate) struct Follower {
    gateway: Text,
    applied: Box<dyn Fn() -> Position + Send + Sync>,
    /// Where the next frame begins, if none is missed.
    next: AtomicU64,
    /// The gateway knows that the shard has come this far.
    told: AtomicU64,
    frames: IntCounter,
    gaps: IntCounter,
}

impl Follower {
    /// What its gateway is about to be sent.
    pub(crate) fn sends(&self, event: &pb::NotifyEvent) {
        self.frames.inc_by(event.frames.len() as u64);
        for frame in &event.frames {
            if frame.from > self.next.swap(frame.to, Ordering::Relaxed) {
                self.gaps.inc();
            }
        }
        // Without frames it says only where the shard stands: of what it has missed the gateway hears so.
        let stands = if event.frames.is_empty() { event.standing.map_or(0, |standing| standing.applied) } else { 0 };
        self.told.fetch_max(stands.max(self.next.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    fn behind(&self) -> u64 {
        (self.applied)().0.saturating_sub(self.told.load(Ordering::Relaxed))
    }
}

/// What is shown of each gateway while it is there, and of none longer: it is counted when somebody looks, so a stream
/// that stands still falls behind all the same.
#[derive(Clone)]
struct Live(Arc<Inner>);

struct Inner {
    links: IntGaugeVec,
    behind: IntGaugeVec,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    links: BTreeMap<Text, u32>,
    followers: Vec<Weak<Follower>>,
}

impl Live {
    fn new() -> Result<Self, prometheus::Error> {
        let by_gateway = |name: &str, help: &str| IntGaugeVec::new(opts(name, help), &["gateway"]);
        Ok(Self(Arc::new(Inner {
            links: by_gateway("server_links", "Links of a gateway.")?,
            behind: by_gateway(
                "server_behind_bytes",
                "Bytes of log that the furthest behind of a gateway's streams of frames has not been told of.",
            )?,
            state: Mutex::default(),
        })))
    }
}

impl Collector for Live {
    fn desc(&self) -> Vec<&Desc> {
        self.0.links.desc().into_iter().chain(self.0.behind.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Inner { links, behind, state } = &*self.0;
        let mut state = state.lock();
        links.reset();
        behind.reset();
        for (gateway, count) in &state.links {
            links.with_label_values(&[gateway]).set(i64::from(*count));
        }
        state.followers.retain(|follower| {
            let Some(follower) = follower.upgrade() else { return false };
            let gauge = behind.with_label_values(&[&follower.gateway]);
            gauge.set(gauge.get().max(signed(follower.behind())));
            true
        });
        links.collect().into_iter().chain(behind.collect()).collect()
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("causeway_link_{name}"), help)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(opts(name, help), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(opts(name, help), &[label])?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(registry: &Registry, series: &str) -> Option<i64> {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    fn event(frames: &[(u64, u64)], applied: u64) -> pb::NotifyEvent {
        let frames = frames.iter().map(|(from, to)| pb::Frame { from: *from, to: *to, ..Default::default() });
        let standing = Some(pb::Standing { applied, ..Default::default() });
        pb::NotifyEvent { frames: frames.collect(), standing, wanted: None }
    }

    #[test]
    fn a_stream_that_stands_still_falls_behind_and_one_that_is_gone_is_not_shown() {
        const BEHIND: &str = "causeway_link_server_behind_bytes{gateway=\"a\"}";
        let registry = Registry::new();
        let metrics = ServerMetrics::register(&registry).unwrap();
        let applied = Arc::new(AtomicU64::new(10));
        let at = |applied: &Arc<AtomicU64>| {
            let applied = Arc::clone(applied);
            move || Position(applied.load(Ordering::Relaxed))
        };
        let (slow, quick) = (metrics.follow(&"a".into(), at(&applied)), metrics.follow(&"a".into(), at(&applied)));
        assert_eq!(shown(&registry, BEHIND), Some(0));
        applied.store(100, Ordering::Relaxed);
        quick.sends(&event(&[(10, 40), (40, 100)], 100));
        assert_eq!(shown(&registry, BEHIND), Some(90), "the furthest behind");
        slow.sends(&event(&[(10, 40)], 100));
        assert_eq!(shown(&registry, BEHIND), Some(60));
        let gaps = "causeway_link_server_frame_gaps_total";
        assert_eq!((shown(&registry, gaps), shown(&registry, "causeway_link_server_frames_total")), (Some(0), Some(3)));
        slow.sends(&event(&[], 100));
        assert_eq!(shown(&registry, BEHIND), Some(0), "a heartbeat says where the shard stands");
        slow.sends(&event(&[(90, 100)], 100));
        assert_eq!(shown(&registry, gaps), Some(1), "and hides no gap");
        drop((slow, quick));
        assert_eq!(shown(&registry, BEHIND), None);
    }

    #[test]
    fn a_gateway_is_shown_while_it_has_a_link() {
        const LINKS: &str = "causeway_link_server_links{gateway=\"a\"}";
        let registry = Registry::new();
        let metrics = ServerMetrics::register(&registry).unwrap();
        let (comes, goes) = (ServerMetrics::entered, ServerMetrics::left);
        let steps: [fn(&ServerMetrics, &Text); 4] = [comes, comes, goes, goes];
        let shown = steps.map(|step| {
            step(&metrics, &"a".into());
            shown(&registry, LINKS)
        });
        assert_eq!(shown, [Some(1), Some(2), Some(1), None]);
    }
}
