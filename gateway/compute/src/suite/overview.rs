//! What people ask: clients, gateways, shards.

use std::time::Duration;

use causeway_model::{ClientId, Incarnation, Namespace, Qos, SubscribeOptions, Text};

use super::World;
use super::client::Client;
use crate::port::{ClientSession, CloseReason, Command, GatewayEvent, GatewayState, Rejected, Reply};

const HOUR: Duration = Duration::from_hours(1);

async fn session_of(world: &impl World, client: &str) -> Option<ClientSession> {
    let name = ClientId(Text::from(client));
    world.overview().client(Namespace::default(), name).await.unwrap()
}

/// None before; connected with its owner; then disconnected, with when and why.
pub async fn a_client_has_the_session_that_it_opened_last(world: &impl World) {
    let client = Client::new(world);
    assert_eq!(session_of(world, "c").await, None);
    let first = client.open("c", false, HOUR, Incarnation(1)).await;
    let second = client.open("c", false, HOUR, Incarnation(2)).await;
    client.subscribe((second.sid, second.epoch), "a/b", SubscribeOptions::at(Qos::AtLeastOnce), 0).await;
    let found = session_of(world, "c").await.unwrap();
    assert_eq!((found.sid, found.epoch, found.owner), (first.sid, second.epoch, Incarnation(2)));
    assert!(found.connected && found.persistent && found.disconnected.is_none() && found.closed.is_none());
    assert_eq!((found.subscriptions, found.expiry), (1, second.expiry));
    let all = [
        CloseReason::Orderly,
        CloseReason::OrderlyWithWill,
        CloseReason::ConnectionLost,
        CloseReason::Server,
        CloseReason::GatewayLost,
    ];
    for reason in all {
        let epoch = client.open("c", false, HOUR, Incarnation(2)).await.epoch;
        let close = Command::SessionClose { sid: second.sid, epoch, reason, expiry: None };
        assert_eq!(client.one(close).await, Reply::Done);
        let found = session_of(world, "c").await.unwrap();
        assert!(!found.connected && found.disconnected.is_some());
        assert_eq!(found.closed, Some(reason));
        assert_eq!(found.owner, Incarnation(2), "who held it last");
    }
}

/// Joined, then lost: it may open nothing more, and a second word of it changes nothing.
pub async fn gateways_are_joined_until_they_are_lost(world: &impl World) {
    let client = Client::new(world);
    let incarnation = Incarnation(0xfeed);
    let state = async || {
        let gateways = world.overview().gateways().await.unwrap();
        gateways.into_iter().find(|(other, _)| *other == incarnation).map(|(_, state)| state)
    };
    assert_eq!(state().await, None);
    let says = |event| Command::Gateway { incarnation, event };
    assert_eq!(client.one(says(GatewayEvent::Joined)).await, Reply::Done);
    assert_eq!(state().await, Some(GatewayState::Joined));
    assert_eq!(client.one(says(GatewayEvent::Lost)).await, Reply::Done);
    assert_ne!(state().await, Some(GatewayState::Joined), "lost, or swept already");
    assert_eq!(client.one(says(GatewayEvent::Joined)).await, Reply::Rejected(Rejected::Fenced));
}

/// What is acknowledged lies below `applied`, which lies at or below `durable`.
pub async fn a_shard_says_where_it_stands(world: &impl World) {
    let client = Client::new(world);
    let at = client.publish("a", "1").await;
    let status = world.overview().status(client.shard).await.unwrap();
    assert!(status.leader && status.term > 0);
    assert!(status.first <= at && at < status.applied && status.applied <= status.durable, "{status:?}");
}
