//! The numbers of MQTT.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use crate::codec::{Packet, Reason, Version};
use crate::session::{Tally, Write};

/// Handles of everything counted here; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    connects: [IntCounter; 3],
    published: [IntCounter; 3],
    delivered: [IntCounter; 3],
    acknowledged: IntCounter,
    dropped: IntCounter,
    refused: IntCounter,
    skipped: [IntCounter; 3],
    lagged: IntCounter,
    pub(super) gaps: IntCounter,
    pub(super) gap_bytes: IntCounter,
    pub(super) received_bytes: IntCounter,
    pub(super) sent_bytes: IntCounter,
    pub(super) malformed: IntCounter,
    reasons: IntCounterVec,
}

impl Metrics {
    /// Makes all handles and registers them.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let one = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("causeway_mqtt_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let three = |name: &str, help: &str, label: &str, values: [&str; 3]| {
            let counters = vector(registry, name, help, label)?;
            Ok::<_, prometheus::Error>(values.map(|value| counters.with_label_values(&[value])))
        };
        let qos = ["0", "1", "2"];
        Ok(Self {
            connects: three("connects_total", "Sessions opened.", "version", ["3.1", "3.1.1", "5.0"])?,
            published: three("publishes_total", "Publishes logged.", "qos", qos)?,
            delivered: three("deliveries_total", "Deliveries written.", "qos", qos)?,
            acknowledged: one("acknowledgements_total", "Deliveries that clients acknowledged.")?,
            dropped: one("publishes_dropped_total", "QoS 0 publishes that could not be logged.")?,
            refused: one("publishes_refused_total", "QoS 1 publishes answered with an error.")?,
            skipped: three(
                "deliveries_skipped_total",
                "Deliveries that were not made.",
                "cause",
                ["expired", "oversized", "trimmed"],
            )?,
            lagged: one("lanes_lagged_total", "Times a session read the index since hints were dropped.")?,
            gaps: one("resume_gaps_total", "Lanes resumed below what the log still holds.")?,
            gap_bytes: one("resume_gap_bytes_total", "Bytes of log that were skipped so.")?,
            received_bytes: one("received_bytes_total", "Bytes read from clients.")?,
            sent_bytes: one("sent_bytes_total", "Bytes written to clients.")?,
            malformed: one("malformed_packets_total", "Connections ended by bytes that are no packet.")?,
            reasons: vector(registry, "errors_total", "Failures told to clients, by reason code.", "code")?,
        })
    }

    pub(super) fn connected(&self, version: Version) {
        let [v31, v311, v5] = &self.connects;
        match version {
            Version::V31 => v31.inc(),
            Version::V311 => v311.inc(),
            Version::V5 => v5.inc(),
        }
    }

    /// Adds what one step did.
    pub(super) fn add(&self, tally: &Tally) {
        if *tally == Tally::default() {
            return;
        }
        let skipped = [tally.expired, tally.oversized, tally.trimmed];
        let threes = [(&self.published, tally.published), (&self.delivered, tally.delivered), (&self.skipped, skipped)];
        for (counters, counts) in threes {
            for (counter, count) in counters.iter().zip(counts).filter(|(_, count)| *count > 0) {
                counter.inc_by(count);
            }
        }
        let singles = [
            (&self.acknowledged, tally.acknowledged),
            (&self.dropped, tally.dropped),
            (&self.refused, tally.refused),
            (&self.lagged, tally.lagged),
        ];
        for (counter, count) in singles.into_iter().filter(|(_, count)| *count > 0) {
            counter.inc_by(count);
        }
    }

    /// Counts failures by the code that the client is told.
    pub(super) fn told(&self, write: &Write) {
        let reason = match write {
            Write::PubAck(_, reason) => *reason,
            Write::Packet(Packet::ConnAck(connack)) => connack.reason,
            Write::Packet(Packet::Disconnect(disconnect)) => disconnect.reason,
            Write::Packet(_) | Write::Publish(_) => Reason::Success,
        };
        if reason.is_failure() {
            self.reasons.with_label_values(&[&format!("{:#04x}", reason.code())]).inc();
        }
    }
}

fn vector(registry: &Registry, name: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(format!("causeway_mqtt_{name}"), help), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}
