use std::time::Duration;

use causeway_model::{
    ClientId, Epoch, Incarnation, Namespace, Position, Qos, QueueKind, ShardId, Sid, SubscribeOptions,
};

use crate::record::{
    CloseReason, Gateway, GatewayEvent, Limits, Owner, SessionClose, SessionOpen, Subscribe, Unsubscribe,
};
use crate::sample::{Shard, filter, gateway, interest};
use crate::{Family, Outcome, Reason, Record, key, read};

impl Shard {
    fn session(&mut self, client: &str, expiry: Duration) -> (Sid, Epoch) {
        let open = SessionOpen {
            namespace: Namespace::default(),
            client: ClientId(client.into()),
            clean_start: false,
            expiry,
            owner: Incarnation(1),
            attempt: 0,
            will: None,
        };
        let Outcome::Opened(opened) = self.one(Record::SessionOpen(open)) else { panic!("not opened") };
        (opened.sid, opened.epoch)
    }
}

fn session(sid: Sid, epoch: Epoch) -> Owner {
    Owner::Session { sid, epoch }
}

fn subscribe((sid, epoch): (Sid, Epoch), name: &str, qos: Qos, from: u64) -> Record {
    let (options, from) = (SubscribeOptions::at(qos), vec![(ShardId(0), Position(from))]);
    Record::Subscribe(Subscribe { sid, epoch, filter: filter(name), options, from })
}

fn unsubscribe((sid, epoch): (Sid, Epoch), name: &str) -> Record {
    Record::Unsubscribe(Unsubscribe { sid, epoch, filter: filter(name) })
}

#[test]
fn a_filter_is_indexed_from_its_first_owners_record_to_its_last_owners() {
    let mut shard = Shard::new();
    shard.publish("a/1");
    for owner in [1, 2] {
        assert_eq!(shard.one(interest(true, "a/+", gateway(owner))), Outcome::Interest);
    }
    let both = shard.publish("a/2");
    shard.one(interest(false, "a/+", gateway(1)));
    let one = shard.publish("a/3");
    shard.one(interest(false, "a/+", gateway(2)));
    shard.publish("a/4");
    assert_eq!(shard.stamps(QueueKind::Filter, "a/+"), [both, one]);
    assert_eq!(shard.apply.active_filters(), 0);
}

#[test]
fn adding_twice_and_removing_what_is_not_there_are_answered_and_write_nothing() {
    let mut shard = Shard::new();
    shard.one(interest(true, "a/+", gateway(1)));
    let digest = shard.apply.applied().digest;
    for record in [interest(true, "a/+", gateway(1)), interest(false, "a/+", gateway(2))] {
        assert_eq!(shard.one(record), Outcome::Interest);
    }
    assert_eq!(shard.apply.applied().digest, digest);
    shard.one(interest(false, "a/+", gateway(1)));
    assert_eq!(shard.apply.active_filters(), 0, "one remove ends it, however often it was added");
}

#[test]
fn only_wildcards_other_than_all_are_indexed() {
    let mut shard = Shard::new();
    for name in ["#", "a/b"] {
        for add in [true, false] {
            assert_eq!(shard.one(interest(add, name, gateway(1))), Outcome::Rejected(Reason::Invalid), "{name}");
        }
    }
}

#[test]
fn active_filters_are_limited_over_all_namespaces_and_owners_are_not() {
    let mut shard = Shard::with(Limits { active_filters: 2, ..Limits::default() });
    shard.one(interest(true, "a/+", gateway(1)));
    let Record::Interest(mut other) = interest(true, "a/+", gateway(1)) else { unreachable!() };
    other.namespace = Namespace::new("tenant".into()).unwrap();
    assert_eq!(shard.one(Record::Interest(other)), Outcome::Interest);
    assert_eq!(shard.one(interest(true, "b/+", gateway(1))), Outcome::Rejected(Reason::Quota));
    assert_eq!(shard.one(interest(true, "a/+", gateway(2))), Outcome::Interest, "it is active already");
    shard.one(interest(false, "a/+", gateway(1)));
    shard.one(interest(false, "a/+", gateway(2)));
    assert_eq!(shard.one(interest(true, "b/+", gateway(1))), Outcome::Interest, "there is room again");
}

#[test]
fn filters_are_active_again_after_a_restart() {
    let mut shard = Shard::with(Limits { active_filters: 2, ..Limits::default() });
    shard.batch(&[interest(true, "a/+", gateway(1)), interest(true, "a/+", gateway(2))]);
    shard.one(interest(true, "b/#", gateway(1)));
    shard.reopen();
    assert_eq!(shard.apply.active_filters(), 2);
    let at = shard.publish("a/1");
    assert_eq!(shard.stamps(QueueKind::Filter, "a/+"), [at]);
    assert_eq!(shard.one(interest(true, "c/+", gateway(1))), Outcome::Rejected(Reason::Quota));
    shard.one(interest(false, "a/+", gateway(1)));
    assert_eq!(shard.apply.active_filters(), 2, "its second owner is known too");
    shard.one(interest(false, "a/+", gateway(2)));
    assert_eq!(shard.apply.active_filters(), 1);
}

#[test]
fn a_session_may_have_interest_while_its_connection_holds_it() {
    let mut shard = Shard::new();
    let (sid, epoch) = shard.session("c", Duration::from_mins(1));
    let (volatile, later) = shard.session("v", Duration::ZERO);
    assert_eq!(shard.one(interest(true, "a/+", session(sid, epoch))), Outcome::Interest);
    assert_eq!(shard.one(interest(true, "a/+", session(volatile, later))), Outcome::Rejected(Reason::Invalid));
    let nobody = Sid { home: ShardId(0), position: Position(3) };
    assert_eq!(shard.one(interest(true, "a/+", session(nobody, epoch))), Outcome::Rejected(Reason::NotFound));
    let elsewhere = Sid { home: ShardId(1), position: Position(3) };
    assert_eq!(shard.one(interest(true, "b/+", session(elsewhere, epoch))), Outcome::Interest, "unknown here");
    let close = SessionClose { sid, epoch, reason: CloseReason::Orderly, expiry: None };
    shard.one(Record::SessionClose(close));
    assert_eq!(shard.one(interest(true, "c/+", session(sid, epoch))), Outcome::Rejected(Reason::Fenced));
    assert_eq!(shard.one(interest(false, "a/+", session(sid, epoch))), Outcome::Interest, "ending it is always right");
    assert_eq!(shard.one(interest(false, "a/+", session(nobody, epoch))), Outcome::Interest);
}

#[test]
fn an_old_owner_neither_adds_nor_ends_what_is_the_new_ones() {
    let mut shard = Shard::new();
    let (sid, old) = shard.session("c", Duration::from_mins(1));
    shard.one(interest(true, "a/+", session(sid, old)));
    let (same, new) = shard.session("c", Duration::from_mins(1));
    assert!(same == sid && new > old);
    let before = shard.tables.dump();
    assert_eq!(shard.one(interest(true, "b/+", session(sid, old))), Outcome::Rejected(Reason::Fenced));
    assert_eq!(shard.one(interest(false, "a/+", session(sid, old))), Outcome::Rejected(Reason::Fenced));
    let rows = |dump: Vec<(Family, _, _)>| {
        dump.into_iter().filter(|(family, ..)| *family == Family::Filter).collect::<Vec<_>>()
    };
    assert_eq!(rows(shard.tables.dump()), rows(before));
    assert_eq!(shard.one(interest(true, "b/+", session(sid, new))), Outcome::Interest);
    assert_eq!(shard.one(interest(false, "a/+", session(sid, new))), Outcome::Interest, "added in another epoch");
    let owners = |filter| read::owners(&shard.tables, &Namespace::default(), filter, 10).unwrap();
    let owned = owners("b/+").into_iter().map(|row| row.owner).collect::<Vec<_>>();
    assert_eq!((owned, owners("a/+").len()), (vec![key::Owner::Session(sid)], 0));
}

#[test]
fn a_lost_gateway_gets_no_interest_and_its_own_is_found_page_by_page() {
    let mut shard = Shard::new();
    for number in 0..30 {
        shard.one(interest(true, &format!("t{number:02}/+"), gateway(1 + number % 3)));
    }
    shard.one(Record::Gateway(Gateway { incarnation: Incarnation(1), event: GatewayEvent::Lost }));
    assert_eq!(shard.one(interest(true, "late/+", gateway(1))), Outcome::Rejected(Reason::Fenced));
    let (mut found, mut from) = (Vec::new(), Some(Vec::new()));
    while let Some(start) = from {
        let page = read::interest_of(&shard.tables, Incarnation(1), &start, 7).unwrap();
        assert!(page.rows.len() <= 7);
        found.extend(page.rows);
        from = page.next;
    }
    assert_eq!(found.len(), 10);
    let removes: Vec<_> = found.iter().map(|row| interest(false, row.filter.as_str(), gateway(1))).collect();
    shard.batch(&removes);
    assert_eq!(shard.apply.active_filters(), 20);
    assert_eq!(read::interest_of(&shard.tables, Incarnation(1), &[], 100).unwrap().rows, []);
}

#[test]
fn owners_of_a_filter_are_listed_with_where_it_starts() {
    let mut shard = Shard::new();
    let at = shard.log.next();
    shard.one(interest(true, "a/+", gateway(1)));
    shard.one(interest(true, "a/+/b", gateway(1)));
    let owners = read::owners(&shard.tables, &Namespace::default(), "a/+", 10).unwrap();
    assert_eq!(owners.iter().map(|row| (row.owner, row.position)).collect::<Vec<_>>(), [(gateway(1).into(), at)]);
    let all = read::interest(&shard.tables, &[], 10).unwrap();
    assert_eq!(all.rows.iter().map(|row| row.filter.as_str()).collect::<Vec<_>>(), ["a/+", "a/+/b"]);
}

#[test]
fn subscribing_again_replaces_the_options_and_keeps_the_start() {
    let mut shard = Shard::new();
    let session = shard.session("c", Duration::from_mins(1));
    let from = vec![(ShardId(0), Position(7))];
    let first = shard.one(subscribe(session, "a/+", Qos::AtMostOnce, 7));
    assert_eq!(first, Outcome::Subscribed { existed: false, from: from.clone() });
    let again = shard.one(subscribe(session, "a/+", Qos::ExactlyOnce, 9));
    assert_eq!(again, Outcome::Subscribed { existed: true, from: from.clone() });
    let rows = read::subscriptions(&shard.tables, session.0).unwrap();
    let expected = read::Subscription { filter: filter("a/+"), options: SubscribeOptions::at(Qos::ExactlyOnce), from };
    assert_eq!(rows, [expected]);
}

#[test]
fn a_sessions_filters_are_limited_and_unsubscribing_makes_room() {
    let mut shard = Shard::with(Limits { session_filters: 2, ..Limits::default() });
    let session = shard.session("c", Duration::from_mins(1));
    for name in ["a", "b"] {
        shard.one(subscribe(session, name, Qos::AtLeastOnce, 1));
    }
    assert_eq!(shard.one(subscribe(session, "c", Qos::AtLeastOnce, 1)), Outcome::Rejected(Reason::Quota));
    let again = shard.one(subscribe(session, "a", Qos::AtLeastOnce, 1));
    assert!(matches!(again, Outcome::Subscribed { existed: true, .. }), "replacing needs no room");
    assert_eq!(shard.one(unsubscribe(session, "a")), Outcome::Unsubscribed { existed: true });
    assert_eq!(shard.one(unsubscribe(session, "a")), Outcome::Unsubscribed { existed: false });
    let third = shard.one(subscribe(session, "c", Qos::AtLeastOnce, 1));
    assert!(matches!(third, Outcome::Subscribed { existed: false, .. }));
}

#[test]
fn a_subscription_names_no_more_starts_than_there_are_shards() {
    let mut shard = Shard::new();
    let session = shard.session("c", Duration::from_mins(1));
    let Record::Subscribe(mut record) = subscribe(session, "a", Qos::AtLeastOnce, 1) else { unreachable!() };
    record.from.push((ShardId(1), Position(1)));
    assert_eq!(shard.one(Record::Subscribe(record)), Outcome::Rejected(Reason::Invalid));
}
