//! A gateway that stands still while so much is published that the broker drops its frames: what it missed it finds by
//! itself, though nobody says anything more.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use causeway_mqtt::codec::{FilterOptions, Packet, PacketId, Properties, Qos, Subscribe};
use causeway_tests::client::{Client, message, volatile};
use causeway_tests::system::System;

/// Not a measure of speed: a hang becomes a failure that says where. Less than the minute after which a broker logs
/// something of its own, whose frame would show every gap.
const PATIENCE: Duration = Duration::from_secs(30);

/// Its levels may be wildcards, or its end.
const TOPIC: &str = "a/b/c/d/e/f";

/// Messages of one frame, which has with their queues some 180 KiB: over 256 KiB it would name none of them.
const BATCH: usize = 100;

/// Messages while the gateway stands still: more than the 4 MiB that a stream and the 8 MiB that its budget hold.
const MANY: usize = 75 * BATCH;

/// Filters that all match [`TOPIC`], nearly as many as one message may match. A frame names the queue of each.
fn filters() -> Vec<String> {
    let levels: Vec<_> = TOPIC.split('/').collect();
    let filter = |length: usize, wild: usize| {
        let levels = levels.iter().take(length).enumerate();
        let levels = levels.map(|(at, level)| if wild & (1 << at) == 0 { level } else { "+" });
        levels.collect::<Vec<_>>().join("/")
    };
    let whole = (0..64).map(|wild| filter(6, wild));
    let begun = (0..32).map(|wild| filter(5, wild)).chain((0..16).map(|wild| filter(4, wild)));
    whole.chain(begun.map(|begun| begun + "/#")).collect()
}

fn subscribe(client: &mut Client) -> Result<()> {
    let filters = filters();
    let filters = filters.iter().map(|filter| (filter.as_str(), FilterOptions::at(Qos::AtLeastOnce)));
    client.send(&Packet::Subscribe(Subscribe::new(PacketId::MAX, Properties::EMPTY, filters)?))?;
    let answer = client.receive()?;
    ensure!(matches!(answer, Packet::SubAck(_)), "expected SUBACK, got {answer:?}");
    Ok(())
}

/// Publishes numbers; a batch is one write, and acknowledged before the next.
fn publish(client: &mut Client, numbers: Range<usize>) -> Result<()> {
    for begin in numbers.clone().step_by(BATCH) {
        let batch = begin..numbers.end.min(begin + BATCH);
        for (number, pid) in batch.clone().zip(1..) {
            client.queue(&Packet::Publish(message(TOPIC, number.to_string(), pid)?))?;
        }
        client.flush()?;
        for _ in batch {
            let answer = client.receive()?;
            ensure!(matches!(answer, Packet::PubAck(_)), "expected PUBACK, got {answer:?}");
        }
    }
    Ok(())
}

/// Takes numbers, in this order.
fn take(client: &mut Client, numbers: Range<usize>) -> Result<()> {
    for number in numbers {
        let payload = client.take()?.payload;
        ensure!(*payload == *number.to_string().as_bytes(), "expected {number}, got {payload:?}");
    }
    Ok(())
}

/// Frames that the one gateway misses while it stands still; the other one publishes.
fn misses(gateway: usize, delivery: &str) -> Result<()> {
    let system = System::start(2, "1m")?;
    let addresses = system.addresses();
    let (there, here) = (addresses[gateway], addresses[1 - gateway]);
    // Volatile: no progress of it is logged, so that after the last message there is no frame to show the gap.
    let (mut dash, _) = Client::connect_within(there, volatile("dash"), PATIENCE)?;
    subscribe(&mut dash)?;
    let (mut publisher, _) = Client::connect(here, volatile("pub"))?;
    let (broker, gateway) = (system.broker()?, system.gateway(gateway)?);
    let (begun, mut next) = (Instant::now(), 0);
    // On a machine so slow that the link is given up first nothing is missed on it: then once more.
    while broker.metric("causeway_link_server_frame_gaps_total")? == 0.0 {
        ensure!(begun.elapsed() < 4 * PATIENCE, "{delivery}: none is missed on a link that lives");
        gateway.signal("STOP")?;
        publish(&mut publisher, next..next + MANY)?;
        gateway.signal("CONT")?;
        take(&mut dash, next..next + MANY)?;
        // Only now there is a frame again, before which the broker sees the gap.
        publish(&mut publisher, next + MANY..next + MANY + 1)?;
        take(&mut dash, next + MANY..next + MANY + 1)?;
        next += MANY + 1;
    }
    ensure!(gateway.metric("causeway_notify_gaps_total")? > 0.0, "{delivery}: it found none");
    Ok(())
}

#[test]
fn a_gateway_that_misses_the_last_frames_delivers_their_messages_without_another_one() {
    for (gateway, delivery) in ["broadcast", "precise"].into_iter().enumerate() {
        misses(gateway, delivery).unwrap();
    }
}
