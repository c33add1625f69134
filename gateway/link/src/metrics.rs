//! The numbers of both sides of the link.

mod follower;
mod server;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

pub(crate) use self::follower::Follower;
pub(crate) use self::server::Refusal;
pub use self::server::ServerMetrics;

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
