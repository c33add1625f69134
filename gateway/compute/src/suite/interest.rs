//! Wildcards: indexed from the position of their interest on, for as long as they have an owner.

use std::time::Duration;

use causeway_model::Incarnation;

use super::World;
use super::client::{Client, gateway, interest, message};
use crate::port::{Command, Owner, Rejected, Reply};

/// Entries above the reply's position, none below.
pub async fn a_wildcard_has_what_came_after_its_position(world: &impl World) {
    let client = Client::new(world);
    let before = client.publish("w/1", "before").await;
    let from = client.add("w/+", gateway(1)).await;
    assert!(from > before);
    let after = client.publish("w/2", "after").await;
    assert!(after > from);
    assert_eq!(client.bodies("w/+").await, ["after"]);
    let to = client.remove("w/+", gateway(1)).await;
    assert!(to > after);
    client.publish("w/3", "too late").await;
    assert_eq!(client.bodies("w/+").await, ["after"], "what was indexed stays readable, nothing is added");
}

/// A second add, or a remove of what is not there, is answered and has no effect.
pub async fn adding_twice_changes_nothing(world: &impl World) {
    let client = Client::new(world);
    let first = client.add("i/#", gateway(1)).await;
    client.publish("i/1", "1").await;
    let second = client.add("i/#", gateway(1)).await;
    assert!(second >= first);
    client.publish("i/2", "2").await;
    assert_eq!(client.bodies("i/#").await, ["1", "2"]);
    client.remove("i/#", gateway(1)).await;
    client.remove("i/#", gateway(1)).await;
    client.publish("i/3", "3").await;
    assert_eq!(client.bodies("i/#").await, ["1", "2"], "one remove ends it, however often it was added");
}

/// Two gateways ask for one filter: it ends with the second leaving.
pub async fn a_filter_lives_until_its_last_owner_leaves(world: &impl World) {
    let client = Client::new(world);
    client.add("s/+", gateway(1)).await;
    client.add("s/+", gateway(2)).await;
    client.remove("s/+", gateway(1)).await;
    client.publish("s/1", "kept").await;
    client.remove("s/+", gateway(2)).await;
    client.publish("s/2", "dropped").await;
    assert_eq!(client.bodies("s/+").await, ["kept"]);
}

/// A session that moved to another connection: what the old one still asks for neither adds nor ends a wildcard.
pub async fn an_old_epochs_interest_is_fenced(world: &impl World) {
    let client = Client::new(world);
    let expiry = Duration::from_mins(10);
    let old = client.open("c", false, expiry, Incarnation(1)).await;
    let old = Owner::Session { sid: old.sid, epoch: old.epoch };
    client.add("e/+", old).await;
    let new = client.open("c", false, expiry, Incarnation(2)).await;
    assert!(new.present);
    let new = Owner::Session { sid: new.sid, epoch: new.epoch };
    let fenced = Reply::Rejected(Rejected::Fenced);
    assert_eq!(client.one(interest(true, "late/+", old)).await, fenced);
    assert_eq!(client.one(interest(false, "e/+", old)).await, fenced);
    client.publish("late/1", "nobody asked").await;
    client.publish("e/1", "still asked for").await;
    assert_eq!(client.bodies("late/+").await.len(), 0);
    assert_eq!(client.bodies("e/+").await, ["still asked for"]);
    client.remove("e/+", new).await;
    client.publish("e/2", "no more").await;
    assert_eq!(client.bodies("e/+").await, ["still asked for"], "the new one ends what the old one added");
}

/// Against `Filter::matches` for names with empty levels, `$` and parents of `#`.
pub async fn wildcards_follow_the_specification(world: &impl World) {
    let client = Client::new(world);
    let filters = ["+", "+/+", "/+", "a/#", "a/+/b", "+/#", "$SYS/#", "$SYS/+", "a/+", "+/b/#"];
    let topics = ["a", "a/b", "a/x/b", "a//b", "/a", "/", "$SYS/x", "$SYS/x/y", "b", "x/b", "x/b/c"];
    for filter in filters {
        client.add(filter, gateway(1)).await;
    }
    client.propose(topics.iter().map(|topic| Command::Publish(message(topic, topic))).collect()).await;
    for text in filters {
        let filter = super::client::filter(text);
        let expected: Vec<_> =
            topics.iter().filter(|topic| filter.matches(&message(topic, "").topic)).map(ToString::to_string).collect();
        assert!(!expected.is_empty(), "{text} shows nothing");
        assert_eq!(client.bodies(text).await, expected, "{text}");
    }
}
