//! Reading messages by position.

use std::time::Duration;

use causeway_model::{Position, PropertiesBuilder, Property, Qos};

use super::World;
use super::client::{Client, message, numbered, published, texts};
use crate::port::Command;

/// Every field survives, and the answers come in the order asked, repeats included.
pub async fn messages_come_back_as_they_were_published_in_the_order_asked(world: &impl World) {
    let client = Client::new(world);
    let mut properties = PropertiesBuilder::default();
    properties.push(&Property::User("k".into(), "v".into())).unwrap();
    properties.push(&Property::ContentType("text/plain".into())).unwrap();
    let mut rich = message("f/Grüße", "körper");
    rich.qos = Qos::AtMostOnce;
    rich.retain = true;
    rich.expiry = Some(Duration::from_hours(2));
    rich.properties = properties.finish();
    let empty = message("f/empty", "");
    let published: Vec<Position> = client
        .propose(vec![Command::Publish(rich.clone()), Command::Publish(empty.clone())])
        .await
        .iter()
        .map(published)
        .collect();
    let [at_rich, at_empty] = published.try_into().unwrap();
    let back = client.broker.fetch(client.shard, vec![at_empty, at_rich, at_empty]).await.unwrap();
    let back: Vec<_> = back.into_iter().map(|message| (*message.unwrap()).clone()).collect();
    assert_eq!(back, [empty.clone(), rich, empty]);
    assert_eq!(client.broker.fetch(client.shard, vec![]).await.unwrap(), []);
}

/// Below the first position there is nothing; from it on everything is as before.
pub async fn what_was_trimmed_is_none_and_reads_begin_at_the_first_position(world: &impl World) {
    let client = Client::new(world);
    let mut positions = Vec::new();
    for batch in 0..10 {
        let replies = client.propose(numbered("t", batch * 10..batch * 10 + 10)).await;
        positions.extend(replies.iter().map(published));
    }
    let first = positions[50];
    world.trim(client.shard, first).await;
    assert_eq!(client.broker.first(client.shard), first);
    let fetched = client.broker.fetch(client.shard, positions.clone()).await.unwrap();
    assert!(fetched[..50].iter().all(Option::is_none));
    let rest: Vec<_> = fetched[50..].iter().map(|m| m.as_ref().unwrap().body.clone()).collect();
    assert_eq!(rest, texts(50..100));
    for filter in ["t", "#"] {
        let entries = client.entries(client.queue(filter)).await;
        assert_eq!(client.fetch(&entries).await, texts(50..100), "{filter}: no entry points to what is gone");
    }
    client.publish("t", "100").await;
    assert_eq!(client.bodies("t").await, texts(50..101));
}
