use causeway_model::{Incarnation, Position, QueueKind, ShardId};

use crate::record::{Check, ClusterInit, FeatureLevel, Gateway, GatewayEvent, Limits, Trim};
use crate::row::GatewayState;
use crate::sample::{Shard, cluster_init, publish};
use crate::{ApplyError, Durable, Event, Family, Mutations, Outcome, Reason, Record, Tables, key, read};

const INVALID: Outcome = Outcome::Rejected(Reason::Invalid);

fn trim(first: Position) -> Record {
    Record::Trim(Trim { first })
}

fn gateway(event: GatewayEvent) -> Record {
    Record::Gateway(Gateway { incarnation: Incarnation(5), event })
}

#[test]
fn cluster_init_comes_once_and_stays() {
    let mut shard = Shard::empty();
    let good = cluster_init(Limits::default());
    let bad = [
        ClusterInit { shards: 0, ..good },
        ClusterInit { shard: ShardId(1), ..good },
        ClusterInit { level: 0, ..good },
        ClusterInit { limits: Limits { matches: 70_000, ..good.limits }, ..good },
    ];
    for record in bad {
        assert_eq!(shard.one(Record::ClusterInit(record)), INVALID, "{record:?}");
    }
    assert_eq!(shard.one(Record::ClusterInit(good)), Outcome::Done);
    let other = ClusterInit { lineage: causeway_model::Lineage(9), ..good };
    assert_eq!(shard.one(Record::ClusterInit(other)), INVALID);
    shard.reopen();
    assert_eq!(shard.apply.cluster(), Some(&good));
    assert_eq!(shard.one(Record::ClusterInit(other)), INVALID);
    assert_eq!(shard.apply.level(), 1);
}

#[test]
fn the_level_never_goes_down() {
    let mut shard = Shard::new();
    assert_eq!(shard.one(Record::FeatureLevel(FeatureLevel { level: 0 })), INVALID);
    assert_eq!(shard.one(Record::FeatureLevel(FeatureLevel { level: 1 })), Outcome::Done);
}

#[test]
fn a_gateway_joins_is_lost_and_departs_and_never_comes_back() {
    let mut shard = Shard::new();
    let state = |shard: &Shard| read::gateways(&shard.tables, 10).unwrap().first().map(|(_, state)| *state);
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Done);
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Done);
    assert_eq!(state(&shard), Some(GatewayState::Joined));
    assert_eq!(shard.one(gateway(GatewayEvent::Swept)), INVALID, "it lives");
    assert_eq!(shard.one(gateway(GatewayEvent::Lost)), Outcome::Done);
    assert_eq!(shard.effects.events, [Event::GatewayLost { incarnation: Incarnation(5) }]);
    assert_eq!(shard.one(gateway(GatewayEvent::Lost)), Outcome::Done);
    assert_eq!(shard.effects.events, [], "once");
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Rejected(Reason::Fenced));
    assert_eq!(state(&shard), Some(GatewayState::Lost));
    assert_eq!(shard.one(gateway(GatewayEvent::Swept)), Outcome::Done);
    assert_eq!(state(&shard), None, "nobody sweeps it again");
    for event in [GatewayEvent::Swept, GatewayEvent::Lost] {
        assert_eq!(shard.one(gateway(event)), Outcome::Done);
        assert_eq!(shard.effects.events, []);
    }
    shard.reopen();
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Rejected(Reason::Fenced));
    let interest = crate::sample::interest(true, "a/+", crate::sample::gateway(5));
    assert_eq!(shard.one(interest), Outcome::Rejected(Reason::Fenced), "it may not know that it was given up");
}

#[test]
fn only_a_gateway_that_was_swept_is_forgotten() {
    let mut shard = Shard::new();
    let departed = |shard: &Shard| read::departed(&shard.tables, None, 10).unwrap();
    for event in [GatewayEvent::Joined, GatewayEvent::Lost, GatewayEvent::Swept] {
        let before = shard.apply.applied().digest;
        assert_eq!(shard.one(gateway(GatewayEvent::Forgotten)), Outcome::Done);
        assert_eq!(shard.apply.applied().digest, before, "nothing is written before {event:?}");
        assert_eq!(departed(&shard), []);
        assert_eq!(shard.one(gateway(event)), Outcome::Done);
    }
    let swept = shard.apply.applied().time;
    assert_eq!(departed(&shard), [(Incarnation(5), swept)]);
    assert_eq!(read::departed(&shard.tables, Some(Incarnation(5)), 10).unwrap(), []);
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Rejected(Reason::Fenced));
    assert_eq!(shard.one(gateway(GatewayEvent::Forgotten)), Outcome::Done);
    assert_eq!(departed(&shard), []);
    assert_eq!(shard.one(gateway(GatewayEvent::Forgotten)), Outcome::Done, "twice is once");
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Done, "nobody remembers it");
}

#[test]
fn a_gateway_that_never_joined_can_be_lost_too() {
    let mut shard = Shard::new();
    assert_eq!(shard.one(gateway(GatewayEvent::Swept)), INVALID);
    assert_eq!(shard.one(gateway(GatewayEvent::Lost)), Outcome::Done);
    assert_eq!(shard.one(gateway(GatewayEvent::Joined)), Outcome::Rejected(Reason::Fenced));
}

#[test]
fn a_trim_goes_forward_and_not_past_itself() {
    let mut shard = Shard::new();
    let at: Vec<_> = (0..3).map(|_| shard.publish("t")).collect();
    assert_eq!(shard.one(trim(at[1])), Outcome::Done);
    assert_eq!(shard.effects.events, [Event::Trimmed { first: at[1] }]);
    assert_eq!(shard.apply.first(), at[1]);
    assert_eq!(shard.one(trim(at[0])), INVALID);
    assert_eq!(shard.one(trim(at[1])), Outcome::Done);
    assert_eq!(shard.effects.events, [], "nothing moved");
    let beyond = shard.log.next().plus(1);
    assert_eq!(shard.one(trim(beyond)), INVALID);
    let itself = shard.log.next();
    assert_eq!(shard.one(trim(itself)), Outcome::Done);
    shard.reopen();
    assert_eq!(shard.apply.first(), itself);
}

#[test]
fn what_was_trimmed_is_not_read_whether_its_rows_are_gone_or_not() {
    let mut shard = Shard::new();
    let at: Vec<_> = (0..4).map(|_| shard.publish("t")).collect();
    shard.one(trim(at[2]));
    assert_eq!(shard.stamps(QueueKind::Light, "t"), at[2..]);
    let rows = |shard: &Shard| shard.tables.dump().iter().filter(|(family, ..)| *family == Family::Entry).count();
    assert_eq!(rows(&shard), 4);
    shard.tables.set_floor(at[2]);
    assert_eq!(rows(&shard), 2, "a compaction filter may drop them");
    assert_eq!(shard.stamps(QueueKind::Light, "t"), at[2..]);
}

#[test]
fn a_trim_stops_at_a_pin() {
    let mut shard = Shard::new();
    let at: Vec<_> = (0..3).map(|_| shard.publish("t")).collect();
    let mut pin = Mutations::new();
    pin.put(Family::Pin, &key::pin(at[1], 1, b"who"), &[]);
    shard.tables.write(&pin).unwrap();
    assert_eq!(shard.one(trim(at[2])), Outcome::Rejected(Reason::Pinned));
    assert_eq!(shard.one(trim(at[1])), Outcome::Done, "what is pinned stays");
}

#[test]
fn a_check_passes_where_digests_agree_and_stops_a_replica_that_forked() {
    let mut shard = Shard::new();
    shard.publish("t");
    let mark = shard.apply.applied().clone();
    let check = |digest| Record::Check(Check { position: mark.position, digest });
    shard.publish("t");
    assert_eq!(shard.one(check(mark.digest)), Outcome::Done);
    let elsewhere = Record::Check(Check { position: Position(3), digest: 1 });
    assert_eq!(shard.one(elsewhere), Outcome::Done, "nothing is known of there");
    let error = shard.try_batch(vec![crate::sample::encode(&check(mark.digest ^ 1))]).unwrap_err();
    let ApplyError::Forked { position, ours, theirs } = error else { panic!("{error}") };
    assert_eq!((position, ours, theirs), (mark.position, mark.digest, mark.digest ^ 1));
}

#[test]
fn a_check_of_the_mark_itself_works_after_a_restart() {
    let mut shard = Shard::new();
    shard.publish("t");
    let mark = shard.apply.applied().clone();
    shard.reopen();
    let wrong = Record::Check(Check { position: mark.position, digest: !mark.digest });
    let batch = vec![crate::sample::encode(&publish("u")), crate::sample::encode(&wrong)];
    assert!(matches!(shard.try_batch(batch), Err(ApplyError::Forked { .. })));
}
