//! `kill -9` at random moments under QoS 1 load: nothing acknowledged is lost, nothing is out of order within a topic
//! and publisher, the persistent subscriber gets each message at least once.
//!
//! Knobs: `SOAK` rounds (default 50), `SEED`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_mqtt::codec::{Ack, Packet, Qos};
use causeway_tests::client::{Client, message, persistent, volatile};
use causeway_tests::process::Broker;
use causeway_tests::seed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PUBLISHERS: usize = 4;
const WINDOW: usize = 20;

/// One publisher's memory across crashes: it sends what was not acknowledged again, in order, as MQTT asks.
#[derive(Default)]
struct Publisher {
    /// The next number that was never sent.
    next: u64,
    /// Sent and not acknowledged.
    open: VecDeque<u64>,
}

impl Publisher {
    /// Publishes until the connection breaks or `stop` is set and all is acknowledged.
    fn run(&mut self, number: usize, address: SocketAddr, stop: &AtomicBool) -> Result<()> {
        let topic = format!("t/{number}");
        let (mut client, _) = Client::connect(address, volatile(&format!("pub-{number}")))?;
        let pid = |n: u64| u16::try_from(n % 60_000 + 1).unwrap();
        for n in &self.open {
            client.queue(&Packet::Publish(message(&topic, n.to_string(), pid(*n))?))?;
        }
        loop {
            while self.open.len() < WINDOW && !stop.load(Ordering::Relaxed) {
                client.queue(&Packet::Publish(message(&topic, self.next.to_string(), pid(self.next))?))?;
                self.open.push_back(self.next);
                self.next += 1;
            }
            if self.open.is_empty() {
                return Ok(());
            }
            client.flush()?;
            match client.receive()? {
                Packet::PubAck(ack) => {
                    let expected = self.open.front().copied().context("PUBACK of nothing")?;
                    ensure!(ack.pid.get() == pid(expected), "PUBACK {} out of order, expected {expected}", ack.pid);
                    self.open.pop_front();
                }
                other => bail!("publisher got {other:?}"),
            }
        }
    }
}

/// Connects as the persistent subscriber and reports (topic, number) of every delivery until the connection breaks.
fn subscriber(address: SocketAddr, out: &SyncSender<(usize, u64)>) -> Result<()> {
    let (mut client, _) = Client::connect(address, persistent("dash"))?;
    loop {
        let Packet::Publish(publish) = client.receive()? else { bail!("the subscriber expects PUBLISH only") };
        let topic = publish.topic.trim_start_matches("t/").parse()?;
        let number = std::str::from_utf8(&publish.payload)?.parse()?;
        // Reported before it is acknowledged: a crash in between costs a second delivery, never a hole in the report.
        out.send((topic, number))?;
        let pid = publish.pid.context("QoS 1 was granted")?;
        client.send(&Packet::PubAck(Ack::success(pid)))?;
    }
}

/// What the subscriber has seen: the first delivery of each number must come in order.
#[derive(Default)]
struct Seen {
    next: [u64; PUBLISHERS],
    again: u64,
}

impl Seen {
    fn take(&mut self, (topic, number): (usize, u64)) {
        let next = &mut self.next[topic];
        assert!(number <= *next, "topic {topic}: {number} came before {next}: lost or out of order");
        if number == *next {
            *next += 1;
        } else {
            self.again += 1;
        }
    }
}

/// One life of the broker under load, ended by `kill -9` after `life`.
fn life(broker: Broker, life: Duration, publishers: &mut [Publisher], seen: &mut Seen) {
    let (address, stop) = (broker.mqtt, AtomicBool::new(false));
    let (out, deliveries) = sync_channel(1 << 16);
    thread::scope(|scope| {
        scope.spawn(move || subscriber(address, &out));
        let running = publish(scope, publishers, address, &stop);
        // Not synchronisation: the moment of death is the random variable of this test.
        let death = scope.spawn(move || {
            thread::park_timeout(life);
            broker.kill()
        });
        for delivery in &deliveries {
            seen.take(delivery);
        }
        death.join().unwrap().unwrap();
        for thread in running {
            let end = thread.join().unwrap().expect_err("publishing goes on until the broker dies");
            assert!(!end.to_string().contains("out of order"), "{end:#}");
        }
    });
}

/// The last life: what is unacknowledged is sent again, and everything arrives.
fn finish(broker: Broker, publishers: &mut [Publisher], seen: &mut Seen) {
    let (address, stop) = (broker.mqtt, AtomicBool::new(true));
    let (out, deliveries) = sync_channel(1 << 16);
    thread::scope(|scope| {
        scope.spawn(move || subscriber(address, &out));
        thread::scope(|scope| {
            for thread in publish(scope, publishers, address, &stop) {
                thread.join().unwrap().expect("everything is acknowledged in the end");
            }
        });
        let sent: Vec<u64> = publishers.iter().map(|publisher| publisher.next).collect();
        while seen.next.as_slice() != sent {
            let Ok(delivery) = deliveries.recv_timeout(Duration::from_mins(1)) else {
                panic!("stuck at {:?} of {sent:?}", seen.next);
            };
            seen.take(delivery);
        }
        // Ends the subscriber, which would wait for ever.
        broker.kill().unwrap();
    });
}

fn publish<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    publishers: &'env mut [Publisher],
    address: SocketAddr,
    stop: &'env AtomicBool,
) -> Vec<thread::ScopedJoinHandle<'scope, Result<()>>> {
    let numbered = publishers.iter_mut().enumerate();
    numbered.map(|(number, publisher)| scope.spawn(move || publisher.run(number, address, stop))).collect()
}

#[test]
fn kill_nine_under_load_loses_nothing_and_keeps_the_order() {
    let rounds = std::env::var("SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    let mut random = StdRng::seed_from_u64(seed("crash"));
    let data = tempfile::tempdir().unwrap();
    let mut publishers: Vec<Publisher> = (0..PUBLISHERS).map(|_| Publisher::default()).collect();
    let mut seen = Seen::default();

    let broker = Broker::start(data.path()).unwrap();
    let (mut dash, _) = Client::connect(broker.mqtt, persistent("dash")).unwrap();
    dash.subscribe("t/+", Qos::AtLeastOnce).unwrap();
    dash.disconnect().unwrap();
    let mut broker = Some(broker);
    for _ in 0..rounds {
        let running = broker.take().map_or_else(|| Broker::start(data.path()), Ok).unwrap();
        life(running, Duration::from_millis(random.random_range(5..600)), &mut publishers, &mut seen);
    }
    finish(Broker::start(data.path()).unwrap(), &mut publishers, &mut seen);

    let total: u64 = seen.next.iter().sum();
    assert!(total > rounds * 10, "only {total} messages in {rounds} rounds: the load did not run");
    eprintln!("crash: {rounds} kills, {total} messages, {} of them delivered again", seen.again);
}
