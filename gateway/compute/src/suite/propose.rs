//! Proposals: order, contiguity, visibility, refusal.

use causeway_model::{Kind, Position};
use futures_util::future::join_all;

use super::client::{Client, interest, message, numbered, published, texts};
use super::{World, client};
use crate::port::{Command, Reply};

/// More calls than any world under test takes while it is stalled.
const CALLS: u32 = 20_000;

/// One reply a command, of the command's own sort, in order.
pub async fn replies_come_one_a_command_in_order(world: &impl World) {
    let client = Client::new(world);
    let commands = vec![
        Command::Publish(message("a/b", "1")),
        interest(true, "a/+", client::gateway(1)),
        Command::Publish(message("a/b", "2")),
        interest(false, "a/+", client::gateway(1)),
    ];
    let replies = client.propose(commands).await;
    let positions: Vec<_> = replies
        .iter()
        .zip([true, false, true, false])
        .map(|(reply, publish)| match (reply, publish) {
            (Reply::Published { position }, true) | (Reply::Interest { position }, false) => *position,
            _ => panic!("unexpected {reply:?}"),
        })
        .collect();
    assert_eq!(positions.len(), 4);
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    assert_eq!(client.bodies("a/+").await, ["2"], "each took effect at its place in the order");
}

/// The order is fixed when `propose` returns: futures polled backwards, or never, change nothing.
pub async fn calls_of_one_caller_take_effect_in_call_order_whatever_becomes_of_their_futures(world: &impl World) {
    let client = Client::new(world);
    let mut futures = Vec::new();
    for number in 0..30 {
        let future = client.broker.propose(client.shard, numbered("o", number..number + 1));
        if number % 3 == 1 {
            drop(future);
        } else {
            futures.push(future);
        }
    }
    let mut positions = Vec::new();
    while let Some(future) = futures.pop() {
        positions.push(published(&future.await.unwrap()[0]));
    }
    assert!(positions.is_sorted_by(|a, b| a > b), "later calls are further on: {positions:?}");
    client.publish("o", "end").await;
    let mut expected = texts(0..30);
    expected.push("end".into());
    assert_eq!(client.bodies("o").await, expected);
}

/// Nothing of another caller comes between the commands of one call.
pub async fn commands_of_one_call_are_contiguous_among_many_callers(world: &impl World) {
    let client = Client::new(world);
    let calls = (0..40).map(|call| {
        let commands = (0..25).map(|n| Command::Publish(message("c", &format!("{call} {n}")))).collect();
        client.broker.propose(client.shard, commands)
    });
    for replies in join_all(calls).await {
        assert_eq!(replies.unwrap().len(), 25);
    }
    let bodies = client.bodies("c").await;
    assert_eq!(bodies.len(), 40 * 25);
    for call in bodies.chunks(25) {
        let (first, _) = call[0].split_once(' ').unwrap();
        let expected: Vec<_> = (0..25).map(|n| format!("{first} {n}")).collect();
        assert_eq!(call, expected);
    }
}

/// A reply means durable and applied: read, fetch and `applied` include it at once.
pub async fn what_is_acknowledged_is_visible_to_every_later_read(world: &impl World) {
    let client = Client::new(world);
    for number in 0..50 {
        let position = client.publish("v", &number.to_string()).await;
        let applied = client.broker.applied(client.shard);
        assert!(applied > position, "applied {applied} covers {position}");
        let page = client.page(client.queue("v"), Position(position.0 - 1), applied, 10).await;
        assert_eq!(page.entries.len(), 1);
        assert!(page.end >= applied);
        assert_eq!(page.entries[0].stamp, position.stamp());
        assert_eq!(client.fetch(&page.entries).await, [number.to_string()]);
    }
}

/// An empty call is answered with nothing and writes nothing.
pub async fn no_commands_no_effect(world: &impl World) {
    let client = Client::new(world);
    client.publish("n", "x").await;
    let before = client.broker.applied(client.shard);
    assert_eq!(client.propose(vec![]).await, []);
    assert_eq!(client.broker.applied(client.shard), before);
}

/// `TooLarge`, for the whole call; the same call without it succeeds.
pub async fn a_message_over_the_limit_is_refused_and_nothing_is_done(world: &impl World) {
    let client = Client::new(world);
    let largest = "x".repeat(world.largest_body());
    client.publish("l", &largest).await;
    let over = format!("{largest}x");
    let commands = vec![Command::Publish(message("l", "before")), Command::Publish(message("l", &over))];
    let error = client.broker.propose(client.shard, commands).await.unwrap_err();
    assert_eq!(error.kind, Kind::TooLarge);
    assert!(!error.kind.retryable());
    assert_eq!(client.bodies("l").await, [largest], "nothing of the refused call was done");
}

/// A full budget refuses; what was taken is done in order, what was refused is not done, and it passes later.
pub async fn busy_means_that_nothing_was_done(world: &impl World) {
    let client = Client::new(world);
    let stalled = world.stall(client.shard);
    let calls: Vec<_> =
        (0..CALLS).map(|number| client.broker.propose(client.shard, numbered("b", number..number + 1))).collect();
    drop(stalled);
    let (mut done, mut refused) = (Vec::new(), 0);
    for (number, call) in calls.into_iter().enumerate() {
        match call.await {
            Ok(_) => done.push(number.to_string()),
            Err(error) => {
                assert!(matches!(error.kind, Kind::Busy { .. }), "{error}");
                assert!(error.kind.retryable());
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "a world's budget is below {CALLS} calls, or this shows nothing");
    assert!(!done.is_empty());
    assert_eq!(client.bodies("b").await, done);
    client.publish("b", "later").await;
    done.push("later".into());
    assert_eq!(client.bodies("b").await, done);
}

/// Many tasks at once, each with several calls in flight: each one's messages are in its order, and none is missing.
pub async fn each_of_many_callers_keeps_its_order(world: &impl World) {
    let client = Client::new(world);
    let callers = (0..16).map(|caller| {
        let (broker, shard) = (client.broker.clone(), client.shard);
        async move {
            let topic = format!("many/{caller}");
            let calls: Vec<_> = (0..20).map(|n| broker.propose(shard, numbered(&topic, n * 5..n * 5 + 5))).collect();
            for call in calls {
                call.await.unwrap();
            }
        }
    });
    join_all(callers).await;
    for caller in 0..16 {
        assert_eq!(client.bodies(&format!("many/{caller}")).await, texts(0..100));
    }
}
