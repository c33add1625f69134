use causeway_model::{Namespace, Offset, Position, QueueId, QueueKind};

use crate::record::{MAX_SERVER_QUEUES, Message, TopicDrop, TopicPut};
use crate::sample::{KEY, Shard, message, publish};
use crate::{Entry, Outcome, Reason, Record, read};

fn put(name: &str, queues: u16) -> Record {
    Record::TopicPut(TopicPut { namespace: Namespace::default(), name: name.into(), queues })
}

fn drop(name: &str) -> Record {
    Record::TopicDrop(TopicDrop { namespace: Namespace::default(), name: name.into() })
}

fn publish_to(name: &str, queue: u16) -> Record {
    Record::Message(Box::new(Message { message: message(name), server_queue: Some(queue) }))
}

fn queue(number: u16) -> QueueId {
    KEY.server_queue(&Namespace::default(), "orders", number)
}

impl Shard {
    fn dense(&self, number: u16, from: u64, limit: usize) -> read::DensePage {
        read::dense(&self.tables, queue(number), Offset(from), self.apply.first(), limit).unwrap()
    }

    fn all(&self, number: u16) -> Vec<Entry> {
        self.dense(number, 0, usize::MAX).entries
    }
}

#[test]
fn a_message_below_a_server_topic_is_in_one_of_its_queues_and_in_its_light_queue() {
    let mut shard = Shard::new();
    assert_eq!(shard.one(put("orders", 3)), Outcome::Done);
    let mut at = Vec::new();
    for _ in 0..5 {
        at.push(shard.publish("orders/eu"));
    }
    assert_eq!(shard.stamps(QueueKind::Light, "orders/eu"), at);
    let holding: Vec<_> = (0..3).map(|number| shard.all(number)).filter(|entries| !entries.is_empty()).collect();
    let [entries] = holding.as_slice() else { panic!("one topic's messages stay in one queue") };
    assert_eq!(entries.iter().map(|e| e.stamp.position()).collect::<Vec<_>>(), at);
    assert_eq!(entries.iter().map(|e| e.offset.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(shard.effects.entered[0].queues, 3, "light, server queue, all");
    shard.publish("order");
    assert_eq!(shard.effects.entered[0].queues, 2, "the first level must be the topic's name whole");
}

#[test]
fn a_record_may_choose_the_queue_among_those_there_are() {
    let mut shard = Shard::new();
    shard.one(put("orders", 2));
    assert_eq!(shard.one(publish_to("orders", 1)), Outcome::Published);
    assert_eq!(shard.all(1).len(), 1);
    assert_eq!(shard.one(publish_to("orders", 2)), Outcome::Rejected(Reason::NotFound));
    assert_eq!(shard.one(publish_to("nothing", 0)), Outcome::Rejected(Reason::NotFound));
    assert_eq!(shard.stamps(QueueKind::Light, "nothing"), [], "rejected as a whole");
}

#[test]
fn offsets_go_on_after_a_restart_and_within_a_batch() {
    let mut shard = Shard::new();
    shard.batch(&[put("orders", 1), publish("orders/a"), publish("orders/b")]);
    shard.reopen();
    shard.batch(&[publish("orders/c"), put("orders", 2), publish_to("orders", 0)]);
    let offsets: Vec<_> = shard.all(0).iter().map(|entry| entry.offset.0).collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
}

#[test]
fn topics_grow_and_do_not_shrink() {
    let mut shard = Shard::new();
    shard.one(put("orders", 2));
    assert_eq!(shard.one(put("orders", 1)), Outcome::Rejected(Reason::Invalid));
    assert_eq!(shard.one(put("orders", 2)), Outcome::Done);
    assert_eq!(shard.one(put("orders", 4)), Outcome::Done);
    assert_eq!(shard.one(publish_to("orders", 3)), Outcome::Published);
    let topics = read::topics(&shard.tables, 10).unwrap();
    assert_eq!(topics.iter().map(|t| (&*t.name, t.queues)).collect::<Vec<_>>(), [("orders", 4)]);
}

#[test]
fn a_dropped_topic_is_empty_and_one_of_the_same_name_starts_anew() {
    let mut shard = Shard::new();
    shard.one(put("orders", 1));
    for _ in 0..3 {
        shard.publish("orders/a");
    }
    assert_eq!(shard.one(drop("orders")), Outcome::Done);
    assert_eq!(shard.one(drop("orders")), Outcome::Rejected(Reason::NotFound));
    assert_eq!(shard.all(0), []);
    shard.one(put("orders", 1));
    assert_eq!(shard.all(0), [], "old entries are beyond the new queue's end");
    let at = shard.publish("orders/a");
    let entries = shard.all(0);
    assert_eq!(entries.iter().map(|e| (e.offset.0, e.stamp.position())).collect::<Vec<_>>(), [(0, at)]);
    shard.reopen();
    shard.publish("orders/a");
    assert_eq!(shard.all(0).len(), 2);
}

#[test]
fn names_and_numbers_of_queues_are_checked() {
    let mut shard = Shard::new();
    for (name, queues) in [("", 1), ("a/b", 1), ("$a", 1), ("+", 1), ("a\0", 1), ("a", 0), ("a", MAX_SERVER_QUEUES + 1)]
    {
        assert_eq!(shard.one(put(name, queues)), Outcome::Rejected(Reason::Invalid), "{name} {queues}");
    }
}

#[test]
fn a_server_queue_is_read_in_pages_by_offset() {
    let mut shard = Shard::new();
    shard.one(put("orders", 1));
    for _ in 0..10 {
        shard.publish("orders/a");
    }
    let (mut from, mut seen) = (0, Vec::new());
    loop {
        let page = shard.dense(0, from, 3);
        assert!(page.entries.len() <= 3);
        seen.extend(page.entries.iter().map(|entry| entry.offset.0));
        from = page.next.0;
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_eq!(from, 10);
    assert_eq!(shard.dense(0, 11, 3), read::DensePage { entries: vec![], next: Offset(10), more: false });
    let none = shard.dense(0, 4, 0);
    assert!(none.entries.is_empty() && none.more && none.next == Offset(4));
    let middle = shard.all(0)[5].position;
    let first = read::dense(&shard.tables, queue(0), Offset(0), middle, 100).unwrap();
    assert_eq!(first.entries[0].offset, Offset(5), "entries that lead nowhere are left out");
    assert_eq!(shard.dense(0, 0, 100).entries[0].position, Position(shard.all(0)[0].position.0));
}
