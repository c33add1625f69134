//! Takeover in every order.

use std::net::Ipv4Addr;

use causeway_model::{HashKey, Lineage, Position, ShardId};
use futures_util::poll;

use super::*;

fn registry() -> Arc<Registry> {
    let cluster = Cluster { lineage: Lineage(1), key: HashKey([5; 16]), level: 1, shards: 1 };
    Registry::new(cluster, IntGauge::new("online", "test").unwrap())
}

fn enter(registry: &Arc<Registry>, client: &str) -> (Presence, Option<Handle>) {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    registry.enter(&Namespace::default(), &ClientId(client.into()), peer, Millis(0))
}

fn find(registry: &Registry, client: &str) -> Option<Handle> {
    registry.get(&Namespace::default(), &ClientId(client.into()))
}

#[tokio::test]
async fn a_newcomer_kicks_whom_it_finds_and_waits_for_its_end() {
    let registry = registry();
    let (old, none) = enter(&registry, "c");
    assert!(none.is_none());
    let (new, found) = enter(&registry, "c");
    let found = found.unwrap();
    {
        let mut kicked = std::pin::pin!(old.kicked());
        assert!(poll!(kicked.as_mut()).is_pending());
        found.kick(Kick::TakenOver);
        found.kick(Kick::Drain);
        assert_eq!(kicked.await, Kick::TakenOver);
    }
    // Whoever asks again hears it again.
    assert_eq!(old.kicked().await, Kick::TakenOver);
    let mut ended = std::pin::pin!(found.ended());
    assert!(poll!(ended.as_mut()).is_pending());
    drop(old);
    ended.await;
    assert_eq!(registry.len(), 1);
    drop(new);
    assert!(registry.is_empty());
    assert_eq!(registry.online.get(), 0);
}

#[tokio::test]
async fn the_end_of_a_successor_does_not_hide_a_predecessor_that_is_still_there() {
    let registry = registry();
    let (first, _) = enter(&registry, "c");
    let (second, _) = enter(&registry, "c");
    // The second gives up while it waits for the first: the third must wait for the first.
    drop(second);
    let (third, found) = enter(&registry, "c");
    let found = found.unwrap();
    let mut ended = std::pin::pin!(found.ended());
    assert!(poll!(ended.as_mut()).is_pending());
    drop(first);
    ended.await;
    drop(third);
    assert!(find(&registry, "c").is_none());
}

#[tokio::test]
async fn a_queue_of_newcomers_ends_in_order_whoever_gives_up() {
    for gives_up in [[1, 2], [2, 1]] {
        let registry = registry();
        let mut presences: Vec<_> = (0..4).map(|_| Some(enter(&registry, "c"))).collect();
        let last = presences[3].as_ref().unwrap().1.clone().unwrap();
        let mut ended = std::pin::pin!(last.ended());
        for index in gives_up {
            presences[index] = None;
            assert!(poll!(ended.as_mut()).is_pending(), "{gives_up:?}");
        }
        presences[0] = None;
        ended.await;
        assert_eq!(registry.len(), 1);
    }
}

#[tokio::test]
async fn a_chain_of_reconnects_behind_a_stuck_connection_stays_short() {
    let registry = registry();
    let (stuck, _) = enter(&registry, "c");
    let mut last = enter(&registry, "c");
    for _ in 0..100_000 {
        // Each enters before the one in front of it has gone.
        last = enter(&registry, "c");
    }
    let mut length = 0;
    let mut next = last.0.connection.state.lock().previous.clone();
    while let Some(connection) = next {
        length += 1;
        next = connection.state.lock().previous.clone();
    }
    assert!(length <= 3, "{length}");
    drop(stuck);
    last.1.unwrap().ended().await;
}

#[tokio::test]
async fn a_late_leaver_does_not_remove_its_successor() {
    let registry = registry();
    let (old, _) = enter(&registry, "c");
    let (new, _) = enter(&registry, "c");
    new.opened(Sid { home: ShardId(0), position: Position(9) }, Epoch(Position(12)));
    drop(old);
    let session = find(&registry, "c").unwrap().online().session;
    assert_eq!(session, Some((Sid { home: ShardId(0), position: Position(9) }, Epoch(Position(12)))));
}

#[tokio::test]
async fn pages_go_through_everybody_once_in_the_order_of_ids() {
    let registry = registry();
    let entered: Vec<_> = (0..500).map(|number| enter(&registry, &format!("client-{number}"))).collect();
    let mut seen = Vec::new();
    loop {
        let page = registry.page(seen.last().map(|online: &Online| online.id), 7);
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 7);
        seen.extend(page);
    }
    assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!((seen.len(), registry.len()), (500, 500));
    assert_eq!(registry.online.get(), 500);
    drop(entered);
    assert!(registry.page(None, 7).is_empty());
}

#[test]
fn pages_are_asked_to_go_in_the_order_of_ids_each_connection_once() {
    let registry = registry();
    let entered: Vec<_> = (0..50).map(|number| enter(&registry, &format!("client-{number}")).0).collect();
    let asked = || registry.page(None, 50).iter().map(|online| is_kicked(&registry, online)).collect::<Vec<_>>();
    let mut after = None;
    for done in [7, 14, 21, 28, 35, 42, 49, 50] {
        let (count, last) = registry.kick_page(after, 7, Kick::Drain);
        assert_eq!(count, if done == 50 { 1 } else { 7 });
        let expected: Vec<_> = (0..50).map(|number| number < done).collect();
        assert_eq!(asked(), expected);
        after = last;
    }
    assert_eq!(registry.kick_page(after, 7, Kick::Drain), (0, None));
    drop(entered);
}

fn is_kicked(registry: &Arc<Registry>, online: &Online) -> bool {
    let handle = registry.get(&online.namespace, &online.client).unwrap();
    handle.0.state.lock().kick == Some(Kick::Drain)
}

#[test]
fn who_has_no_session_yet_is_asked_apart_from_those_who_have() {
    let registry = registry();
    let (open, opening) = (enter(&registry, "open").0, enter(&registry, "opening").0);
    open.opened(Sid { home: ShardId(0), position: Position(1) }, Epoch(Position(1)));
    registry.kick_entering(Kick::Drain);
    let asked: Vec<_> = [&open, &opening].map(|presence| is_kicked(&registry, &presence.handle().online())).into();
    assert_eq!(asked, [false, true]);
}

#[test]
fn names_are_copied_out_of_the_buffer_they_were_read_into() {
    let registry = registry();
    let buffer = bytes::Bytes::from(vec![b'c'; 4096]);
    let client = ClientId(Text::try_from(buffer.slice(..3)).unwrap());
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let (presence, _) = registry.enter(&Namespace::default(), &client, peer, Millis(0));
    drop(client);
    assert!(buffer.is_unique());
    assert_eq!(&*presence.connection.client.0, "ccc");
}

#[test]
fn an_entry_is_small() {
    // The connection with its two counters, its share of a B-tree's nodes (at least half full), and the handle.
    let bytes = size_of::<Connection>() + 16 + 2 * (size_of::<QueueId>() + 8) + size_of::<Presence>();
    assert!(bytes <= 400, "{bytes}");
}
