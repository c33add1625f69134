//! A subscriber: receives, acknowledges, and watches time and order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use causeway_mqtt::codec::{Packet, Publish, Qos};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::connection::{Connection, Event, unexpected};
use crate::latency::Latency;
use crate::message::{Clock, Stamp};
use crate::run::Schedule;
use crate::sequence::{Counts, Sequence};

/// What a subscriber received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Messages that came while it counted.
    pub(crate) counted: u64,
    /// From send to receipt.
    pub(crate) latency: Latency,
    /// Order, repetition and loss over the whole run.
    pub(crate) order: Counts,
    /// When the last message came.
    pub(crate) last: Option<Instant>,
}

impl Received {
    /// Nothing yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { counted: 0, latency: Latency::new()?, order: Counts::default(), last: None })
    }

    /// Adds what another subscriber received.
    pub(crate) fn merge(&mut self, other: &Self) -> Result<()> {
        self.counted += other.counted;
        self.order.add(other.order);
        self.last = self.last.max(other.last);
        self.latency.merge(&other.latency)
    }
}

/// A subscriber of one publisher, at work.
#[derive(Debug)]
pub(crate) struct Subscriber {
    connection: Connection,
    backlog: Arc<Backlog>,
    schedule: Schedule,
    clock: Clock,
    sequence: Sequence,
    received: Received,
}

impl Subscriber {
    /// A subscriber on a connection that has subscribed.
    pub(crate) fn new(connection: Connection, backlog: Arc<Backlog>, schedule: Schedule, clock: Clock) -> Result<Self> {
        Ok(Self { connection, backlog, schedule, clock, sequence: Sequence::default(), received: Received::new()? })
    }

    /// Receives until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<Received> {
        loop {
            tokio::select! {
                biased;
                exchanged = self.connection.exchange() => {
                    exchanged?;
                    self.take()?;
                }
                _ = stop.changed() => break,
            }
        }
        self.connection.flush().await?;
        self.received.order = self.sequence.counts();
        Ok(self.received)
    }

    /// Takes what has come.
    fn take(&mut self) -> Result<()> {
        let now = Instant::now();
        let nanos = self.clock.nanos(now);
        let counts = self.schedule.counts(now);
        let mut arrived = 0;
        while let Some(event) = self.connection.event()? {
            match event {
                Event::Publish(publish) => {
                    arrived += 1;
                    self.note(&publish, nanos, counts)?;
                }
                Event::Released(pid) => self.connection.acknowledge(Packet::PubComp, pid)?,
                Event::Received(_) | Event::Completed(..) | Event::Other(_) => return Err(unexpected(&event)),
            }
        }
        if arrived > 0 {
            self.received.last = Some(now);
            self.backlog.arrived(arrived);
        }
        Ok(())
    }

    fn note(&mut self, publish: &Publish, nanos: u64, counts: bool) -> Result<()> {
        answer(&mut self.connection, publish)?;
        let stamp = Stamp::read(&publish.payload)
            .with_context(|| format!("a message on {} that this tool did not send", publish.topic))?;
        self.sequence.see(stamp.sequence);
        if counts {
            self.received.counted += 1;
            self.received.latency.record(Duration::from_nanos(nanos.saturating_sub(stamp.nanos)));
        }
        Ok(())
    }
}

/// Acknowledges a message as its quality of service asks.
pub(crate) fn answer(connection: &mut Connection, publish: &Publish) -> Result<()> {
    match (publish.qos, publish.pid) {
        (Qos::AtLeastOnce, Some(pid)) => connection.acknowledge(Packet::PubAck, pid),
        (Qos::ExactlyOnce, Some(pid)) => connection.acknowledge(Packet::PubRec, pid),
        // QoS 0; the decoder lets no packet id be missing above it.
        _ => Ok(()),
    }
}
