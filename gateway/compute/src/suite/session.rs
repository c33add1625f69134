//! Sessions: opening, resuming, taking over, fencing, subscriptions, progress.

use std::num::NonZeroU16;
use std::time::Duration;

use causeway_model::{
    ClientId, Epoch, Incarnation, Namespace, PacketId, Position, Qos, RetainHandling, ShardId, Sid, SubscribeOptions,
};

use super::World;
use super::client::{Client, filter};
use crate::port::{
    CloseReason, Command, FlightState, InFlight, Lane, LaneProgress, Opened, Rejected, Reply, Session, SessionOpen,
    Subscription,
};

const HOUR: Duration = Duration::from_hours(1);
const ONE: Incarnation = Incarnation(1);
const TWO: Incarnation = Incarnation(2);

fn close(opened: &Opened) -> Command {
    Command::SessionClose { sid: opened.sid, epoch: opened.epoch, reason: CloseReason::ConnectionLost, expiry: None }
}

fn plain() -> SubscribeOptions {
    SubscribeOptions::at(Qos::AtLeastOnce)
}

fn pid(number: u16) -> PacketId {
    NonZeroU16::new(number).unwrap()
}

fn lane(opened: &Opened, cursor: Option<u64>, flights: Vec<InFlight>) -> LaneProgress {
    LaneProgress { sid: opened.sid, epoch: opened.epoch, cursor: cursor.map(Position), flights }
}

fn flight(at: Position, number: u16, state: FlightState) -> InFlight {
    InFlight { stamp: at.stamp(), position: at, qos: Qos::AtLeastOnce, pid: Some(pid(number)), state }
}

/// First present: false; after a close or without one, the same session again: true, same sid, newer epoch.
pub async fn a_new_session_is_not_present_and_a_resumed_one_is(world: &impl World) {
    let client = Client::new(world);
    let first = client.open("c", false, HOUR, ONE).await;
    assert!(!first.present && first.persistent);
    assert_eq!(first.old_owner, None);
    assert_eq!(first.sid.home, client.shard);
    assert_eq!(first.epoch.0, first.sid.position, "the first epoch is the creating record");
    assert!(first.expiry <= HOUR && first.expiry > Duration::ZERO);
    assert_eq!(client.one(close(&first)).await, Reply::Done);
    let second = client.open("c", false, HOUR, ONE).await;
    assert!(second.present);
    assert_eq!(second.old_owner, None, "it was closed");
    assert_eq!(second.sid, first.sid);
    assert!(second.epoch > first.epoch);
    let other = client.open("d", false, HOUR, ONE).await;
    assert!(!other.present);
    assert_ne!(other.sid, first.sid);
}

/// Whoever was not told what came of an opening closes what it led to, and nothing else.
pub async fn an_opening_is_abandoned_by_its_name(world: &impl World) {
    let client = Client::new(world);
    let (namespace, name) = (Namespace::default(), ClientId("c".into()));
    let open = SessionOpen {
        namespace: namespace.clone(),
        client: name.clone(),
        clean_start: false,
        expiry: HOUR,
        owner: ONE,
        attempt: 3,
        will: None,
    };
    let abandon =
        |attempt| Command::SessionAbandon { namespace: namespace.clone(), client: name.clone(), owner: ONE, attempt };
    assert_eq!(client.one(abandon(3)).await, Reply::Done, "it was never made");
    client.one(Command::SessionOpen(open.clone())).await;
    let connected =
        || async { world.overview().client(namespace.clone(), name.clone()).await.unwrap().unwrap().connected };
    assert_eq!(client.one(abandon(4)).await, Reply::Done);
    assert!(connected().await);
    assert_eq!(client.one(abandon(3)).await, Reply::Done);
    assert!(!connected().await);
    client.one(Command::SessionOpen(SessionOpen { attempt: 5, ..open })).await;
    assert_eq!(client.one(abandon(3)).await, Reply::Done);
    assert!(connected().await, "a later opening is another one");
}

/// A new sid without the old one's subscriptions.
pub async fn clean_start_forgets_what_was_before(world: &impl World) {
    let client = Client::new(world);
    let first = client.open("c", false, HOUR, ONE).await;
    client.subscribe((first.sid, first.epoch), "a/b", plain(), 0).await;
    let clean = client.open("c", true, HOUR, ONE).await;
    assert!(!clean.present);
    assert_ne!(clean.sid, first.sid);
    assert_eq!(client.session(clean.sid).await.subscriptions, []);
    let resumed = client.open("c", false, HOUR, ONE).await;
    assert!(resumed.present);
    assert_eq!(resumed.sid, clean.sid);
}

/// The new owner learns of the old one; whatever the old one still logs has no effect.
pub async fn a_takeover_names_the_old_owner_and_fences_it(world: &impl World) {
    let client = Client::new(world);
    let old = client.open("c", false, HOUR, ONE).await;
    let new = client.open("c", false, HOUR, TWO).await;
    assert_eq!(new.old_owner, Some(ONE));
    assert_eq!(new.sid, old.sid);
    let fenced = Reply::Rejected(Rejected::Fenced);
    assert_eq!(client.subscribe((old.sid, old.epoch), "late", plain(), 0).await, fenced);
    let unsubscribe = Command::Unsubscribe { sid: old.sid, epoch: old.epoch, filter: filter("late") };
    assert_eq!(client.one(unsubscribe).await, fenced);
    assert_eq!(client.one(close(&old)).await, fenced);
    assert_eq!(client.session(new.sid).await.subscriptions, []);
    let subscribed = client.subscribe((new.sid, new.epoch), "on time", plain(), 0).await;
    assert!(matches!(subscribed, Reply::Subscribed { existed: false, .. }), "{subscribed:?}");
    let third = client.open("c", false, HOUR, ONE).await;
    assert_eq!(third.old_owner, Some(TWO), "the fenced close closed nothing");
}

/// Expiry zero: gone with its connection, and no session is present for the next.
pub async fn a_volatile_session_leaves_nothing_behind(world: &impl World) {
    let client = Client::new(world);
    let volatile = client.open("v", true, Duration::ZERO, ONE).await;
    assert!(!volatile.present && !volatile.persistent);
    assert_eq!(volatile.expiry, Duration::ZERO);
    assert_eq!(client.one(close(&volatile)).await, Reply::Done);
    let next = client.open("v", false, HOUR, ONE).await;
    assert!(!next.present);
    assert_eq!(next.old_owner, None);
    assert_ne!(next.sid, volatile.sid);
}

/// `from` of the first subscribe is kept, the options are the latest.
pub async fn subscriptions_are_kept_with_where_they_start(world: &impl World) {
    let client = Client::new(world);
    let opened = client.open("c", false, HOUR, ONE).await;
    let session = (opened.sid, opened.epoch);
    let at = |position: u64| vec![(client.shard, Position(position))];
    let first = client.subscribe(session, "a/+", plain(), 700).await;
    assert_eq!(first, Reply::Subscribed { existed: false, from: at(700) });
    let options = SubscribeOptions {
        qos: Qos::AtMostOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::Skip,
        id: Some(268_435_455),
    };
    let again = client.subscribe(session, "a/+", options, 900).await;
    assert_eq!(again, Reply::Subscribed { existed: true, from: at(700) });
    client.subscribe(session, "b", plain(), 800).await;
    client.one(close(&opened)).await;
    let resumed = client.open("c", false, HOUR, TWO).await;
    let mut subscriptions = client.session(resumed.sid).await.subscriptions;
    subscriptions.sort_by(|a, b| a.filter.cmp(&b.filter));
    let expected = [
        Subscription { filter: filter("a/+"), options, from: at(700) },
        Subscription { filter: filter("b"), options: plain(), from: at(800) },
    ];
    assert_eq!(subscriptions, expected);
}

/// Existed once, then no more; a subscription made afterwards starts anew.
pub async fn unsubscribing_says_whether_there_was_one(world: &impl World) {
    let client = Client::new(world);
    let opened = client.open("c", false, HOUR, ONE).await;
    let session = (opened.sid, opened.epoch);
    client.subscribe(session, "a", plain(), 5).await;
    let unsubscribe = || Command::Unsubscribe { sid: opened.sid, epoch: opened.epoch, filter: filter("a") };
    assert_eq!(client.one(unsubscribe()).await, Reply::Unsubscribed { existed: true });
    assert_eq!(client.one(unsubscribe()).await, Reply::Unsubscribed { existed: false });
    assert_eq!(client.session(opened.sid).await.subscriptions, []);
    let again = client.subscribe(session, "a", plain(), 9).await;
    assert_eq!(again, Reply::Subscribed { existed: false, from: vec![(client.shard, Position(9))] });
}

/// A cursor below the stored one is ignored.
pub async fn progress_moves_the_cursor_forward_only(world: &impl World) {
    let client = Client::new(world);
    let opened = client.open("c", false, HOUR, ONE).await;
    let end = client.broker.applied(client.shard).0;
    assert_eq!(client.progress(lane(&opened, Some(end), vec![])).await, Reply::Done);
    assert_eq!(client.session(opened.sid).await.lane, Lane { cursor: Position(end), flights: vec![] });
    assert_eq!(client.progress(lane(&opened, Some(end - 1), vec![])).await, Reply::Done);
    assert_eq!(client.session(opened.sid).await.lane.cursor, Position(end));
    assert_eq!(client.progress(lane(&opened, None, vec![])).await, Reply::Done);
    assert_eq!(client.session(opened.sid).await.lane.cursor, Position(end));
}

/// `Done`, and no effect; the new owner's in the same record takes effect.
pub async fn progress_of_an_old_epoch_is_skipped(world: &impl World) {
    let client = Client::new(world);
    let at = client.publish("p", "1").await;
    let old = client.open("c", false, HOUR, ONE).await;
    let other = client.open("d", false, HOUR, ONE).await;
    let new = client.open("c", false, HOUR, TWO).await;
    assert_eq!(new.sid, old.sid);
    let before = client.session(new.sid).await.lane;
    let end = client.broker.applied(client.shard).0;
    let late = lane(&old, Some(end), vec![flight(at, 1, FlightState::Sent)]);
    let mixed = Command::Progress(vec![late, lane(&other, Some(end), vec![])]);
    assert_eq!(client.one(mixed).await, Reply::Done);
    assert_eq!(client.session(new.sid).await.lane, before);
    assert_eq!(client.session(other.sid).await.lane.cursor, Position(end));
}

/// In stamp order, with packet ids, across a resume; those the cursor passes are gone.
pub async fn flights_above_the_cursor_survive_and_finished_ones_go(world: &impl World) {
    let client = Client::new(world);
    let opened = client.open("c", false, HOUR, ONE).await;
    let mut at = Vec::new();
    for n in 0..4 {
        at.push(client.publish("f", &n.to_string()).await);
    }
    let flights = vec![
        flight(at[2], 3, FlightState::Sent),
        flight(at[0], 1, FlightState::Sent),
        flight(at[1], 2, FlightState::Done),
        flight(at[3], 4, FlightState::Sent),
    ];
    client.progress(lane(&opened, Some(at[0].0 - 1), flights)).await;
    let resumed = client.open("c", false, HOUR, TWO).await;
    let expected = [
        flight(at[0], 1, FlightState::Sent),
        flight(at[1], 2, FlightState::Done),
        flight(at[2], 3, FlightState::Sent),
        flight(at[3], 4, FlightState::Sent),
    ];
    assert_eq!(client.session(resumed.sid).await.lane.flights, expected);
    client.progress(lane(&resumed, Some(at[1].0), vec![flight(at[3], 4, FlightState::Done)])).await;
    let kept = client.session(resumed.sid).await.lane;
    assert_eq!(kept.cursor, at[1]);
    assert_eq!(kept.flights, [flight(at[2], 3, FlightState::Sent), flight(at[3], 4, FlightState::Done)]);
}

/// Asking for it is no error: on a shard where it has no lane yet, a session looks just so.
pub async fn a_session_that_nobody_opened_has_no_rows(world: &impl World) {
    let client = Client::new(world);
    let nobody = Sid { home: ShardId(0), position: Position(u64::MAX) };
    assert_eq!(client.session(nobody).await, Session::default());
    let epoch = Epoch(nobody.position);
    let reply = client.subscribe((nobody, epoch), "x", plain(), 0).await;
    assert_eq!(reply, Reply::Rejected(Rejected::NotFound));
}
