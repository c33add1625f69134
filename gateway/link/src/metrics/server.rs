//! What a process shows of those who connect to it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use causeway_model::{Position, Text};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::{Follower, counter, counters, gauge, opts, signed};

/// Of a process that others connect to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    pub(crate) connections: IntGauge,
    refusals: IntCounterVec,
    frames: IntCounter,
    gaps: IntCounter,
    by_gateway: ByGateway,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Token,
    Version,
    Level,
    Lineage,
    TooMany,
    NoHandshake,
    Other,
}

impl Refusal {
    const ALL: [Self; 7] =
        [Self::Token, Self::Version, Self::Level, Self::Lineage, Self::TooMany, Self::NoHandshake, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Version => "version",
            Self::Level => "level",
            Self::Lineage => "lineage",
            Self::TooMany => "too_many",
            Self::NoHandshake => "no_handshake",
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
        let by_gateway = ByGateway::new()?;
        registry.register(Box::new(by_gateway.clone()))?;
        let this = Self {
            connections: gauge(registry, "server_connections_open", "Connections of others open now.")?,
            refusals: counters(registry, "server_refusals_total", "Others that were not let in, by cause.", "cause")?,
            frames: counter(registry, "server_frames_total", "Frames of notify sent to gateways.")?,
            gaps: counter(registry, "server_frame_gaps_total", "Times that a gateway missed frames of notify.")?,
            by_gateway,
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
        *self.by_gateway.0.state.lock().links.entry(gateway.clone()).or_default() += 1;
    }

    /// The connection of a gateway's link is gone.
    pub(crate) fn left(&self, gateway: &Text) {
        let mut state = self.by_gateway.0.state.lock();
        if let Some(links) = state.links.get_mut(gateway) {
            *links -= 1;
            if *links == 0 {
                state.links.remove(gateway);
            }
        }
    }

    /// Watches a stream of frames for a gateway, from a position on, for as long as the handle lives.
    pub(crate) fn follow(
        &self,
        gateway: &Text,
        from: Position,
        applied: impl Fn() -> Position + Send + Sync + 'static,
    ) -> Arc<Follower> {
        let follower = Follower::new(gateway.clone(), from, Box::new(applied), self.frames.clone(), self.gaps.clone());
        let follower = Arc::new(follower);
        let mut state = self.by_gateway.0.state.lock();
        // Whether or not somebody looks: what is gone is not kept.
        state.followers.retain(|follower| follower.strong_count() > 0);
        state.followers.push(Arc::downgrade(&follower));
        follower
    }
}

/// What is shown of each gateway while it is there, and of none longer: it is counted when somebody looks, so a stream
/// that stands still falls behind all the same.
#[derive(Clone)]
struct ByGateway(Arc<Shown>);

struct Shown {
    links: IntGaugeVec,
    behind: IntGaugeVec,
    state: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    links: BTreeMap<Text, u32>,
    followers: Vec<Weak<Follower>>,
}

impl ByGateway {
    fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(opts(name, help), &["gateway"]);
        Ok(Self(Arc::new(Shown {
            links: gauge("server_links", "Links of a gateway.")?,
            behind: gauge(
                "server_behind_bytes",
                "Bytes of log that the furthest behind of a gateway's streams of frames has not been told of.",
            )?,
            state: Mutex::default(),
        })))
    }
}

impl Collector for ByGateway {
    fn desc(&self) -> Vec<&Desc> {
        self.0.links.desc().into_iter().chain(self.0.behind.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Shown { links, behind, state } = &*self.0;
        let mut state = state.lock();
        links.reset();
        behind.reset();
        for (gateway, count) in &state.links {
            links.with_label_values(&[gateway]).set(i64::from(*count));
        }
        state.followers.retain(|follower| {
            let Some(follower) = follower.upgrade() else { return false };
            let gauge = behind.with_label_values(&[follower.gateway()]);
            gauge.set(gauge.get().max(signed(follower.behind())));
            true
        });
        links.collect().into_iter().chain(behind.collect()).collect()
    }
}

impl fmt::Debug for ByGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByGateway").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use causeway_compute::port::Frame;
    use causeway_model::ShardId;

    use super::*;

    fn shown(registry: &Registry, series: &str) -> Option<i64> {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    fn takes(follower: &Follower, frames: &[(u64, u64)]) {
        for (from, to) in frames {
            let (from, to) = (Position(*from), Position(*to));
            let (notices, queues) = (Vec::new(), Vec::new());
            follower.takes(&Frame { shard: ShardId(0), from, to, collapsed: false, notices, queues });
        }
    }

    #[test]
    fn streams_that_come_and_go_leave_nothing_behind_though_nobody_looks() {
        let metrics = ServerMetrics::register(&Registry::new()).unwrap();
        for _ in 0..100 {
            drop(metrics.follow(&"a".into(), Position(0), || Position(0)));
        }
        assert!(metrics.by_gateway.0.state.lock().followers.len() <= 1);
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
        let follow = || metrics.follow(&"a".into(), Position(10), at(&applied));
        let (slow, quick) = (follow(), follow());
        assert_eq!(shown(&registry, BEHIND), Some(0));
        applied.store(100, Ordering::Relaxed);
        takes(&quick, &[(10, 40), (40, 100)]);
        assert_eq!(shown(&registry, BEHIND), Some(90), "the furthest behind");
        takes(&slow, &[(10, 40)]);
        assert_eq!(shown(&registry, BEHIND), Some(60));
        let gaps = "causeway_link_server_frame_gaps_total";
        assert_eq!(shown(&registry, gaps), Some(0));
        slow.stands(Position(40), Some(Position(100)));
        assert_eq!(shown(&registry, BEHIND), Some(0), "a heartbeat says where the shard stands");
        takes(&slow, &[(90, 100)]);
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
