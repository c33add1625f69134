//! Two gateways before a broker under QoS 1 load, while one of the three is killed or paused again and again: nothing
//! acknowledged is lost, nothing is out of order within a topic and publisher, and the persistent subscriber, which
//! comes back at whichever gateway lets it in, gets each message at least once. A volatile subscriber of a wildcard has
//! no hole in what it gets for as long as its connection lasts.
//!
//! Knobs: `SOAK` rounds (default 30), `SEED`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use causeway_mqtt::codec::{Ack, FilterOptions, Packet, PacketId, Properties, Publish, Qos, Reason, Subscribe};
use causeway_tests::client::{Client, message, persistent, volatile};
use causeway_tests::seed;
use causeway_tests::system::System;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PUBLISHERS: usize = 4;
const WINDOW: usize = 20;
/// Long against a beat, short against the longest pause: some pauses end with a gateway that was declared lost.
const LEASE: &str = "1s";
/// How long a client hears nothing before it takes its server for gone. Servers are paused for up to twice as long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Several leases.
const LONG: Duration = Duration::from_secs(4);
/// New messages that must come through between two faults: the load runs, whatever the last one was.
const PROGRESS: u64 = 200;

/// One publisher's memory across connections: it sends what was not acknowledged again, in order, as MQTT asks.
#[derive(Default)]
struct Publisher {
    /// The next number that was never sent.
    next: u64,
    /// Sent and not acknowledged.
    open: VecDeque<u64>,
    connections: u64,
}

impl Publisher {
    /// Publishes, at one gateway after the other, until `stop` is set and all is acknowledged; says how many.
    fn run(&mut self, number: usize, gateways: &[SocketAddr], stop: &AtomicBool) -> Result<u64> {
        for address in gateways.iter().cycle().skip(number) {
            self.connections += 1;
            match self.connection(number, *address, stop) {
                Ok(()) => return Ok(self.next),
                Err(error) if error.is::<Wrong>() => return Err(error),
                // Where nobody listens, the next attempt is for the other one; both may be away for a moment.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        bail!("no gateways")
    }

    fn connection(&mut self, number: usize, address: SocketAddr, stop: &AtomicBool) -> Result<()> {
        let topic = format!("t/{number}");
        let (mut client, _) = Client::connect_within(address, volatile(&format!("pub-{number}")), PATIENCE)?;
        let pid = |n: u64| u16::try_from(n % 60_000 + 1).unwrap();
        for n in &self.open {
            client.queue(&Packet::Publish(message(&topic, payload(*n), pid(*n))?))?;
        }
        loop {
            while self.open.len() < WINDOW && !stop.load(Ordering::Relaxed) {
                client.queue(&Packet::Publish(message(&topic, payload(self.next), pid(self.next))?))?;
                self.open.push_back(self.next);
                self.next += 1;
            }
            let Some(expected) = self.open.front().copied() else { return Ok(()) };
            client.flush()?;
            let Packet::PubAck(ack) = client.receive()? else { bail!("disconnected") };
            ensure!(ack.pid.get() == pid(expected), Wrong(format!("PUBACK {} and not of {expected}", ack.pid)));
            self.open.pop_front();
        }
    }
}

/// The number of a message, in up to 4 KiB and now and then in 200: caches and frames see all sizes.
fn payload(number: u64) -> String {
    let length = if number.is_multiple_of(97) { 200 << 10 } else { number * 31 % (4 << 10) };
    let mut text = number.to_string();
    text.extend(std::iter::repeat_n(' ', usize::try_from(length).unwrap()));
    text
}

/// Topic and number of a message.
fn numbers(publish: &Publish) -> Result<(usize, u64)> {
    let number = std::str::from_utf8(&publish.payload)?.trim_end();
    Ok((publish.topic.trim_start_matches("t/").parse()?, number.parse()?))
}

/// What no fault excuses.
#[derive(Debug)]
struct Wrong(String);

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// What the subscriber reports.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// It looks for a gateway.
    Connecting,
    /// Topic and number.
    Delivery(usize, u64),
    /// It was subscribed before the first fault, and now has no session.
    SessionGone,
}

/// The persistent subscriber: reports every delivery, at one gateway after the other, until nobody listens to it.
fn subscriber(gateways: &[SocketAddr], out: &SyncSender<Event>, connections: &Mutex<u64>) {
    for address in gateways.iter().cycle() {
        if out.send(Event::Connecting).is_err() {
            return;
        }
        *connections.lock().unwrap() += 1;
        let Err(error) = subscribed(*address, out);
        if error.is::<Unheard>() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Nobody wants to know of deliveries any more.
#[derive(Debug)]
struct Unheard;

impl std::fmt::Display for Unheard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the test is over")
    }
}

impl std::error::Error for Unheard {}

fn subscribed(address: SocketAddr, out: &SyncSender<Event>) -> Result<std::convert::Infallible> {
    let (mut client, ack) = Client::connect_within(address, persistent("dash"), PATIENCE)?;
    ensure!(ack.reason == Reason::Success, "refused: {:?}", ack.reason);
    if !ack.session_present {
        out.send(Event::SessionGone).map_err(|_| Unheard)?;
    }
    loop {
        let Packet::Publish(publish) = client.receive()? else { bail!("disconnected") };
        let (topic, number) = numbers(&publish)?;
        // Reported before it is acknowledged: a crash in between costs a second delivery, never a hole in the report.
        out.send(Event::Delivery(topic, number)).map_err(|_| Unheard)?;
        let pid = publish.pid.context("QoS 1 was granted")?;
        client.send(&Packet::PubAck(Ack::success(pid)))?;
    }
}

/// The volatile subscriber, at one gateway after the other until `stop` is set: how many messages it had. On one
/// connection, what a topic brings begins somewhere and then goes on without a hole; what its publisher sent again may
/// come again.
fn light(gateways: &[SocketAddr], stop: &AtomicBool) -> Result<u64> {
    let mut total = 0;
    for address in gateways.iter().cycle() {
        let ended = light_connection(*address, stop, &mut total);
        match ended {
            Err(error) if error.is::<Wrong>() => return Err(error),
            _ if stop.load(Ordering::Relaxed) => return Ok(total),
            _ => thread::sleep(Duration::from_millis(5)),
        }
    }
    bail!("no gateways")
}

fn light_connection(address: SocketAddr, stop: &AtomicBool, total: &mut u64) -> Result<()> {
    let (mut client, _) = Client::connect_within(address, volatile("light"), PATIENCE)?;
    // Messages may come before SUBACK: its packet is one of many here.
    let subscribe = Subscribe::new(PacketId::MAX, Properties::EMPTY, [("+/+", FilterOptions::at(Qos::AtLeastOnce))])?;
    client.send(&Packet::Subscribe(subscribe))?;
    let mut next = [None; PUBLISHERS];
    while !stop.load(Ordering::Relaxed) {
        let publish = match client.receive()? {
            Packet::SubAck(_) => continue,
            Packet::Publish(publish) => publish,
            other => bail!("{other:?}"),
        };
        let (topic, number) = numbers(&publish)?;
        let expected = *next[topic].get_or_insert(number);
        let hole = format!("light: topic {topic}: {number} came where {expected} was due");
        ensure!(number <= expected, Wrong(hole));
        next[topic] = Some(expected.max(number + 1));
        *total += 1;
        client.send(&Packet::PubAck(Ack::success(publish.pid.context("QoS 1 was granted")?)))?;
    }
    Ok(())
}

/// What the subscriber has seen: the first delivery of each number must come in order.
#[derive(Default)]
struct Seen {
    next: [u64; PUBLISHERS],
    again: u64,
}

impl Seen {
    fn take(&mut self, event: Event) {
        let (topic, number) = match event {
            Event::Delivery(topic, number) => (topic, number),
            Event::Connecting => return,
            Event::SessionGone => panic!("the persistent session is gone"),
        };
        let next = &mut self.next[topic];
        assert!(number <= *next, "topic {topic}: {number} came before {next}: lost or out of order");
        if number == *next {
            *next += 1;
        } else {
            self.again += 1;
        }
    }

    fn total(&self) -> u64 {
        self.next.iter().sum()
    }

    /// Waits until so many new messages have come.
    fn until(&mut self, total: u64, deliveries: &Receiver<Event>, system: &System) {
        while self.total() < total {
            let Ok(delivery) = deliveries.recv_timeout(Duration::from_mins(1)) else {
                panic!("stuck at {:?}, {total} wanted\n{}", self.next, logs(system));
            };
            self.take(delivery);
        }
    }
}

fn logs(system: &System) -> String {
    let log = |name: &str, daemon: Result<&causeway_tests::daemon::Daemon>| match daemon {
        Ok(daemon) => format!("── {name}\n{}", daemon.log()),
        Err(error) => format!("── {name}: {error}\n"),
    };
    log("broker", system.broker()) + &log("gw-a", system.gateway(0)) + &log("gw-b", system.gateway(1))
}

/// What happens to one of the three.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Pause(Duration),
}

/// Kills or pauses the broker (0) or a gateway, and has it back.
fn strike(system: &mut System, victim: usize, fault: Fault) -> Result<()> {
    match (victim, fault) {
        (0, Fault::Kill) => {
            system.take_broker()?.kill()?;
            system.start_broker()
        }
        (gateway, Fault::Kill) => {
            system.take_gateway(gateway - 1)?.kill()?;
            system.start_gateway(gateway - 1)
        }
        (_, Fault::Pause(time)) => {
            let daemon = if victim == 0 { system.broker()? } else { system.gateway(victim - 1)? };
            daemon.signal("STOP")?;
            // Not synchronisation: the length of the pause is a random variable of this test.
            thread::park_timeout(time);
            daemon.signal("CONT")
        }
    }
}

#[test]
fn whatever_is_killed_or_paused_nothing_acknowledged_is_lost_and_the_order_is_kept() {
    let rounds: u64 = std::env::var("SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let mut random = StdRng::seed_from_u64(seed("chaos"));
    let mut system = System::start(2, LEASE).unwrap();
    let gateways = system.addresses();
    let (mut dash, _) = Client::connect(gateways[0], persistent("dash")).unwrap();
    dash.subscribe("t/+", Qos::AtLeastOnce).unwrap();
    dash.disconnect().unwrap();

    let mut publishers: Vec<Publisher> = (0..PUBLISHERS).map(|_| Publisher::default()).collect();
    let (mut seen, stop, connections) = (Seen::default(), AtomicBool::new(false), Mutex::new(0));
    let (mut fenced, mut had) = (0, 0);
    thread::scope(|scope| {
        let (out, deliveries) = sync_channel(1 << 10);
        let (gateways, connections, stop) = (&gateways, &connections, &stop);
        scope.spawn(move || subscriber(gateways, &out, connections));
        let light = scope.spawn(move || light(gateways, stop));
        let publishing: Vec<_> = publishers
            .iter_mut()
            .enumerate()
            .map(|(number, publisher)| scope.spawn(move || publisher.run(number, gateways, stop)))
            .collect();
        for round in 0..rounds {
            seen.until(seen.total() + PROGRESS, &deliveries, &system);
            let victim = random.random_range(0..3);
            let pause =
                Duration::from_millis(random.random_range(10..2 * u64::try_from(PATIENCE.as_millis()).unwrap()));
            let fault = if random.random_bool(0.5) { Fault::Kill } else { Fault::Pause(pause) };
            eprintln!("chaos: round {round}, {} messages: {fault:?} of {victim}", seen.total());
            strike(&mut system, victim, fault).unwrap_or_else(|error| panic!("{error:#}\n{}", logs(&system)));
        }
        // Whatever was drawn: once, a gateway is away for so long that it must find itself lost and begin anew.
        strike(&mut system, 1, Fault::Pause(LONG)).unwrap();
        system.gateway(0).unwrap().ready_again().unwrap();
        seen.until(seen.total() + PROGRESS, &deliveries, &system);
        stop.store(true, Ordering::Relaxed);
        // The subscriber must go on while publishers finish: its channel is short.
        while !publishing.iter().all(thread::ScopedJoinHandle::is_finished) {
            if let Ok(delivery) = deliveries.recv_timeout(Duration::from_millis(20)) {
                seen.take(delivery);
            }
        }
        let sent: u64 = publishing.into_iter().map(|thread| thread.join().unwrap().expect("all is acknowledged")).sum();
        seen.until(sent, &deliveries, &system);
        had = light.join().unwrap().expect("no hole");
        fenced = (0..2).map(|gateway| system.gateway(gateway).unwrap().log().matches("declared lost").count()).sum();
        // Ends the subscriber, with its next delivery or the end of its server.
        drop(deliveries);
        drop(system);
    });
    let sent: Vec<u64> = publishers.iter().map(|publisher| publisher.next).collect();
    assert_eq!(seen.next.as_slice(), sent);
    assert!(had > 0, "the volatile subscriber had something");
    eprintln!(
        "chaos: {rounds} faults, {} messages, {} of them delivered again; {} subscriber connections, {} of publishers, {fenced} fenced runs; {had} to the volatile subscriber",
        seen.total(),
        seen.again,
        connections.lock().unwrap(),
        publishers.iter().map(|publisher| publisher.connections).sum::<u64>(),
    );
}
