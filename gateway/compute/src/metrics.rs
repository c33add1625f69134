//! The numbers of the protocol layer. Handles are made and registered once; the registry is the caller's own, so two
//! gateways in one process (tests) do not meet. Names are `causeway_*` in base units (bytes, seconds).

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::lookup::LookupMetrics;
use crate::port::Map;
use crate::task::Kind;

/// Handles of everything counted in this crate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Listeners, by protocol.
    pub listeners: ListenersMetrics,
    /// Notify.
    pub notify: NotifyMetrics,
    /// Tasks.
    pub task: TaskMetrics,
    /// Membership.
    pub members: MembersMetrics,
    /// Who is where.
    pub lookup: LookupMetrics,
    /// Clients with a session on this gateway.
    pub clients_online: IntGauge,
    /// Wildcards that are indexed for volatile sessions.
    pub interest_filters: IntGauge,
    /// The queue cache.
    pub cache: CacheMetrics,
}

/// See [`Metrics::cache`].
#[derive(Clone, Debug)]
pub struct CacheMetrics {
    /// Messages that were there, or on their way for somebody else.
    pub hits: IntCounter,
    /// Messages that the broker was asked for and that were kept: one read each.
    pub misses: IntCounter,
    /// Messages older than the window: read for one reader and not kept.
    pub direct: IntCounter,
}

/// See [`Metrics::listeners`].
#[derive(Clone, Debug)]
pub struct ListenersMetrics {
    accepted: IntCounterVec,
    refused: IntCounterVec,
    errors: IntCounterVec,
    open: IntGaugeVec,
}

/// One protocol's listeners.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that were closed at once because the limit was reached.
    pub refused: IntCounter,
    /// `accept` failed.
    pub errors: IntCounter,
    /// Connections open now.
    pub open: IntGauge,
}

/// See [`Metrics::notify`].
#[derive(Clone, Debug)]
pub struct NotifyMetrics {
    /// Frames handed to mailboxes.
    pub frames: IntCounter,
    /// Messages that frames named.
    pub notices: IntCounter,
    /// Hints put in mailboxes.
    pub hints: IntCounter,
    /// Frames that were missed or collapsed: every subscriber of the shard reads the index.
    pub gaps: IntCounter,
    /// Mailboxes that were full and forgot their hints.
    pub overflows: IntCounter,
    /// Time to hand one frame to all its mailboxes.
    pub dispatch: Histogram,
}

/// See [`Metrics::members`].
#[derive(Clone, Debug)]
pub struct MembersMetrics {
    /// Gateways in the newest map that this process has.
    pub members: IntGauge,
    /// Beats of this gateway that were not answered with a lease.
    pub beats_failed: IntCounter,
    /// Gateways that this broker declared lost: silent ones and those that left.
    pub declared_lost: IntCounter,
}

/// See [`Metrics::task`].
#[derive(Clone, Debug)]
pub struct TaskMetrics {
    panics: IntCounterVec,
    aborted: IntCounterVec,
}

impl Metrics {
    /// Makes all handles and registers them.
    ///
    /// # Errors
    /// A name is registered already: this registry has another gateway's metrics.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            listeners: ListenersMetrics::register(registry)?,
            notify: NotifyMetrics::register(registry)?,
            task: TaskMetrics::register(registry)?,
            members: MembersMetrics::register(registry)?,
            lookup: LookupMetrics::register(registry)?,
            clients_online: gauge(registry, "clients_online", "Clients with a session on this gateway.")?,
            interest_filters: gauge(registry, "interest_filters", "Wildcards indexed for volatile sessions.")?,
            cache: CacheMetrics::register(registry)?,
        })
    }
}

impl CacheMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            hits: counter(registry, "message_cache_hits_total", "Messages there, or on their way already.")?,
            misses: counter(registry, "message_cache_misses_total", "Messages read from the broker and kept.")?,
            direct: counter(registry, "message_cache_direct_total", "Messages read for one lagging reader.")?,
        })
    }
}

impl ListenersMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let label = ["protocol"];
        let open = Opts::new("causeway_connections_open", "Connections open now.");
        let open = IntGaugeVec::new(open, &label)?;
        registry.register(Box::new(open.clone()))?;
        Ok(Self {
            accepted: counters(registry, "connections_accepted_total", "Connections accepted.", &label)?,
            refused: counters(registry, "connections_refused_total", "Connections closed at the limit.", &label)?,
            errors: counters(registry, "accept_errors_total", "Calls of accept that failed.", &label)?,
            open,
        })
    }

    /// The handles of one protocol's listeners.
    pub fn of(&self, protocol: &str) -> ListenerMetrics {
        let label = &[protocol];
        ListenerMetrics {
            accepted: self.accepted.with_label_values(label),
            refused: self.refused.with_label_values(label),
            errors: self.errors.with_label_values(label),
            open: self.open.with_label_values(label),
        }
    }
}

impl NotifyMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let name = "causeway_notify_dispatch_seconds";
        let dispatch = HistogramOpts::new(name, "Time to hand one frame to all its mailboxes.")
            .buckets(prometheus::exponential_buckets(1e-6, 4.0, 10)?);
        let dispatch = Histogram::with_opts(dispatch)?;
        registry.register(Box::new(dispatch.clone()))?;
        Ok(Self {
            frames: counter(registry, "notify_frames_total", "Frames handed to mailboxes.")?,
            notices: counter(registry, "notify_notices_total", "Messages that frames named.")?,
            hints: counter(registry, "notify_hints_total", "Hints put in mailboxes.")?,
            gaps: counter(registry, "notify_gaps_total", "Frames missed or collapsed.")?,
            overflows: counter(registry, "notify_overflows_total", "Full mailboxes that forgot their hints.")?,
            dispatch,
        })
    }
}

impl MembersMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            members: gauge(registry, "gateways", "Gateways in the newest map that this process has.")?,
            beats_failed: counter(registry, "gateway_beats_failed_total", "Beats not answered with a lease.")?,
            declared_lost: counter(registry, "gateways_lost_total", "Gateways that this broker declared lost.")?,
        })
    }

    pub(crate) fn members(&self, map: &Map) {
        self.members.set(i64::try_from(map.members.len()).unwrap_or(i64::MAX));
    }
}

impl TaskMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let label = ["kind"];
        let this = Self {
            panics: counters(registry, "task_panics_total", "Tasks that panicked.", &label)?,
            aborted: counters(registry, "tasks_aborted_total", "Tasks dropped before they ended.", &label)?,
        };
        for kind in Kind::ALL {
            this.panics(kind);
            this.aborted(kind);
        }
        Ok(this)
    }

    /// Panics of one kind of task.
    pub fn panics(&self, kind: Kind) -> IntCounter {
        self.panics.with_label_values(&[kind.name()])
    }

    /// Tasks of one kind that were dropped before they ended.
    pub fn aborted(&self, kind: Kind) -> IntCounter {
        self.aborted.with_label_values(&[kind.name()])
    }
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(format!("causeway_{name}"), help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(format!("causeway_{name}"), help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(format!("causeway_{name}"), help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}
