use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causeway_model::{Namespace, Position, Qos, QueueId, QueueKind};

use crate::record::{Limits, Message, TopicPut, encode_message};
use crate::sample::{KEY, Shard, encode, gateway, interest, message, publish};
use crate::{Effects, EntryFlags, Family, Outcome, Reason, Record};

fn id(kind: QueueKind, name: &str) -> QueueId {
    KEY.queue(kind, &Namespace::default(), name)
}

/// The queues that the frame names for each message of the last batch.
fn named(effects: &Effects) -> Vec<Vec<QueueId>> {
    let mut rest = effects.queues.as_slice();
    let each = effects.entered.iter().map(|entered| {
        let (mine, others) = rest.split_at(usize::from(entered.queues));
        rest = others;
        mine.to_vec()
    });
    let named = each.collect();
    assert!(rest.is_empty(), "every queue belongs to a message");
    named
}

#[test]
fn a_message_enters_its_light_queue_and_that_of_every_active_filter_that_matches_once() {
    let mut shard = Shard::new();
    for name in ["a/+", "+/b", "a/#", "+/+", "b/+"] {
        shard.batch(&[interest(true, name, gateway(1)), interest(true, name, gateway(2))]);
    }
    let at = shard.publish("a/b");
    let mut queues = named(&shard.effects).remove(0);
    assert_eq!(shard.stamps(QueueKind::Light, "a/b"), [at]);
    for name in ["a/+", "+/b", "a/#", "+/+"] {
        assert_eq!(shard.stamps(QueueKind::Filter, name), [at], "{name}");
    }
    assert_eq!(shard.stamps(QueueKind::Filter, "b/+"), []);
    let mut expected: Vec<_> = ["a/+", "+/b", "a/#", "+/+"].map(|name| id(QueueKind::Filter, name)).into();
    expected.extend([id(QueueKind::Light, "a/b"), id(QueueKind::All, "#")]);
    queues.sort_unstable();
    expected.sort_unstable();
    assert_eq!(queues, expected);
}

#[test]
fn an_entry_says_what_the_record_said_and_when_it_was_stored() {
    let mut shard = Shard::new();
    let mut plain = message("t");
    plain.qos = Qos::ExactlyOnce;
    plain.retain = true;
    plain.expiry = Some(Duration::from_secs(1));
    let record = Record::Message(Box::new(Message { message: plain, server_queue: None }));
    let length = encode(&record).len();
    shard.one(record);
    let entry = shard.entries(QueueKind::Light, "t")[0];
    assert_eq!(entry.flags, EntryFlags { qos: Qos::ExactlyOnce, retain: true, expires: true, referred: false });
    assert_eq!((entry.length as usize, entry.time), (length, shard.now));
    assert_eq!((entry.position, entry.offset), (entry.stamp.position(), entry.stamp.offset()));
    let entered = shard.effects.entered[0];
    assert_eq!(
        (entered.stamp, entered.position, entered.length, entered.time, entered.flags),
        (entry.stamp, entry.position, entry.length, entry.time, entry.flags)
    );
}

#[test]
fn time_never_steps_back_though_the_leaders_clock_does() {
    let mut shard = Shard::new();
    let before = shard.now;
    shard.now = causeway_model::Millis(before.0 - 500);
    shard.publish("t");
    assert_eq!(shard.entries(QueueKind::Light, "t")[0].time, before);
    assert_eq!(shard.apply.applied().time, before);
}

#[test]
fn the_queue_of_all_is_named_and_has_no_entries_and_system_topics_are_not_in_it() {
    let mut shard = Shard::new();
    shard.publish("a");
    assert!(named(&shard.effects)[0].contains(&id(QueueKind::All, "#")));
    assert_eq!(shard.stamps(QueueKind::All, "#"), []);
    shard.publish("$sys/a");
    assert_eq!(named(&shard.effects), [[id(QueueKind::Light, "$sys/a")]]);
}

#[test]
fn over_the_limit_of_matches_it_enters_the_overflow_queue_and_no_filter_queue() {
    let mut shard = Shard::with(Limits { matches: 2, ..Limits::default() });
    for name in ["+/b", "a/+"] {
        shard.one(interest(true, name, gateway(1)));
    }
    let within = shard.publish("a/b");
    shard.one(interest(true, "a/#", gateway(1)));
    let over = shard.publish("a/b");
    assert_eq!(named(&shard.effects)[0].len(), 3, "light, overflow, all");
    assert_eq!(shard.stamps(QueueKind::Light, "a/b"), [within, over]);
    assert_eq!(shard.stamps(QueueKind::Overflow, ""), [over]);
    for name in ["+/b", "a/+"] {
        assert_eq!(shard.stamps(QueueKind::Filter, name), [within], "{name}");
    }
    shard.one(interest(false, "a/#", gateway(1)));
    let again = shard.publish("a/b");
    assert_eq!(shard.stamps(QueueKind::Filter, "a/+"), [within, again]);
}

#[test]
fn what_is_addressed_to_one_client_enters_its_queue_and_nothing_else_whatever_is_wanted() {
    let filters = ["$p2p/#", "$p2p/+", "$p2p/+/#", "+/+", "+/#", "$p2p/phone/#"];
    for matches in [0, Limits::default().matches] {
        let mut shard = Shard::with(Limits { matches, ..Limits::default() });
        shard.one(Record::TopicPut(TopicPut { namespace: Namespace::default(), name: "phone".into(), queues: 2 }));
        shard.batch(&filters.map(|name| interest(true, name, gateway(1))));
        let at = shard.publish("$p2p/phone");
        assert_eq!(named(&shard.effects), [[id(QueueKind::Client, "phone")]]);
        let rows = shard.effects.mutations.iter().filter(|mutation| mutation.family != Family::Meta).count();
        assert_eq!(rows, 1, "one entry, beside the applied mark");
        assert_eq!(shard.stamps(QueueKind::Client, "phone"), [at]);
        shard.publish("$p2p/phone/7");
        assert_eq!(named(&shard.effects), [[id(QueueKind::Client, "phone/7")]]);
    }
}

#[test]
fn nobody_is_addressed_by_p2p_alone_and_no_server_queue_is_the_clients() {
    let mut shard = Shard::new();
    let numbered = Message { message: message("$p2p/phone"), server_queue: Some(0) };
    assert_eq!(shard.one(Record::Message(Box::new(numbered))), Outcome::Rejected(Reason::NotFound));
    // A valid record cannot be made without a client: its topic is replaced by hand, and so is the length before it.
    let whole = encode(&publish("$p2p/x"));
    let at = whole.windows(6).position(|bytes| bytes == b"$p2p/x").unwrap();
    let with = |topic: &str| {
        let length = [u8::try_from(topic.len()).unwrap()];
        Bytes::from([&whole[..at - 1], &length, topic.as_bytes(), &whole[at + 6..]].concat())
    };
    let outcomes = shard.try_batch(["$p2p/", "$p2p", "$p2q"].map(with).into()).unwrap();
    let invalid = Outcome::Rejected(Reason::Invalid);
    assert_eq!(outcomes, [invalid.clone(), invalid, Outcome::Published]);
    assert_eq!(named(&shard.effects), [[id(QueueKind::Light, "$p2q")]]);
}

#[test]
fn namespaces_share_no_queue_and_no_filter() {
    let mut shard = Shard::new();
    shard.one(interest(true, "a/+", gateway(1)));
    let tenant = Namespace::new("tenant".into()).unwrap();
    let mut theirs = message("a/b");
    theirs.namespace = tenant.clone();
    shard.one(Record::Message(Box::new(Message { message: theirs, server_queue: None })));
    assert_eq!(shard.stamps(QueueKind::Light, "a/b"), []);
    assert_eq!(shard.stamps(QueueKind::Filter, "a/+"), []);
    let light = KEY.queue(QueueKind::Light, &tenant, "a/b");
    assert_eq!(named(&shard.effects), [[light, KEY.queue(QueueKind::All, &tenant, "#")]]);
    assert_eq!(shard.page(light).len(), 1);
}

#[test]
fn a_stream_of_new_namespaces_leaves_those_with_filters_as_they_are() {
    let mut shard = Shard::new();
    shard.one(interest(true, "a/+", gateway(1)));
    let mut records = Vec::new();
    for number in 0..10_000 {
        let mut theirs = message("a/b");
        theirs.namespace = Namespace::new(format!("tenant{number}").into()).unwrap();
        records.push(Record::Message(Box::new(Message { message: theirs, server_queue: None })));
    }
    assert!(shard.batch(&records).iter().all(|outcome| *outcome == Outcome::Published));
    let at = shard.publish("a/b");
    assert_eq!(shard.stamps(QueueKind::Filter, "a/+"), [at]);
}

/// A message whose topic no client may use, behind a header that is fine.
#[test]
fn a_message_that_breaks_a_rule_is_rejected_and_writes_nothing() {
    let mut shard = Shard::new();
    let good = encode(&publish("a/b"));
    let mut wildcard = good.to_vec();
    let at = wildcard.iter().position(|byte| *byte == b'b').unwrap();
    wildcard[at] = b'+';
    let cut = good.slice(..10);
    let mut reserved = good.to_vec();
    reserved[3] |= 0x80;
    let batch = vec![Bytes::from(wildcard), cut, reserved.into(), good];
    let outcomes = shard.try_batch(batch).unwrap();
    let invalid = Outcome::Rejected(Reason::Invalid);
    assert_eq!(outcomes, [invalid.clone(), invalid.clone(), invalid, Outcome::Published]);
    assert_eq!(shard.effects.entered.len(), 1);
    let entries = shard.effects.mutations.iter().filter(|m| m.family == Family::Entry).count();
    assert_eq!(entries, 1);
}

#[test]
fn replay_writes_the_same_rows_and_tells_nobody() {
    let (mut live, mut replayed) = (Shard::new(), Shard::empty());
    replayed.effects = Effects::for_replay();
    replayed.try_batch(vec![encode(&Record::ClusterInit(crate::sample::cluster_init(Limits::default())))]).unwrap();
    live.publish("a/b");
    replayed.try_batch(vec![encode(&publish("a/b"))]).unwrap();
    assert_eq!(live.effects.mutations.bytes(), replayed.effects.mutations.bytes());
    let effects = &replayed.effects;
    assert!(effects.outcomes.is_empty() && effects.entered.is_empty() && effects.queues.is_empty());
    assert_eq!(live.effects.entered.len(), 1);
}

#[test]
fn before_cluster_init_nothing_means_anything() {
    let mut shard = Shard::empty();
    let outcomes = shard.batch(&[publish("a"), interest(true, "+", gateway(1))]);
    assert_eq!(outcomes, [Outcome::Rejected(Reason::Invalid), Outcome::Rejected(Reason::Invalid)]);
    assert_eq!(shard.apply.applied().digest, 0);
}

#[test]
fn sixteen_levels_are_a_topic_and_seventeen_are_none() {
    let mut shard = Shard::new();
    shard.publish(&"/".repeat(15));
    let mut long = message("x");
    let mut buf = BytesMut::new();
    long.body = Bytes::new();
    encode_message(&long, None, &mut buf);
    // The topic's length is the byte before `x`: a valid record cannot be made by hand with a longer one.
    let at = buf.iter().rposition(|byte| *byte == b'x').unwrap();
    let mut bytes = buf[..at - 1].to_vec();
    bytes.push(16);
    bytes.extend([b'/'; 16]);
    bytes.extend_from_slice(&buf[at + 1..]);
    assert_eq!(shard.try_batch(vec![bytes.into()]).unwrap(), [Outcome::Rejected(Reason::Invalid)]);
}

#[test]
fn positions_of_records_in_one_batch_are_their_own() {
    let mut shard = Shard::new();
    shard.batch(&[publish("a"), publish("a"), publish("b"), publish("a")]);
    let stamps = shard.stamps(QueueKind::Light, "a");
    assert_eq!(stamps.len(), 3);
    assert!(stamps.is_sorted() && stamps.iter().all(|at| *at < Position(shard.apply.applied().position.0)));
}
