//! Reading queues: seek and iterate, each record once, what an entry says.

use std::time::Duration;

use causeway_model::{Namespace, Offset, Position, Qos, QueueKind, Text};

use super::World;
use super::client::{Client, gateway, message, numbered, published, texts};
use crate::port::{Command, Entry, Page, QueueRef, Read, Reply};

const ALL: Position = Position(u64::MAX);

/// Two owners of one filter and overlapping filters: each queue has one entry for the record.
pub async fn a_record_is_in_a_queue_once_however_many_subscribers_overlap(world: &impl World) {
    let client = Client::new(world);
    for filter in ["a/+", "a/#", "+/b", "+/+", "+/#"] {
        for owner in 1..4 {
            client.add(filter, gateway(owner)).await;
        }
    }
    let position = client.publish("a/b", "1").await;
    for filter in ["a/b", "a/+", "a/#", "+/b", "+/+", "+/#", "#"] {
        let entries = client.entries(client.queue(filter)).await;
        assert_eq!(entries.len(), 1, "{filter}");
        assert_eq!(entries[0].stamp, position.stamp(), "{filter}");
        assert_eq!(entries[0].position, position, "{filter}");
    }
}

/// Pages of any size join to the whole, `next` is the next `after`, `more` is false only at the end.
pub async fn pages_seek_and_iterate(world: &impl World) {
    let client = Client::new(world);
    for batch in 0..10 {
        client.propose(numbered("p", batch * 10..batch * 10 + 10)).await;
        client.publish("other", "between").await;
    }
    let whole = client.entries(client.queue("p")).await;
    assert_eq!(client.fetch(&whole).await, texts(0..100));
    for limit in [1, 7, 50, 100, 101] {
        let pages = all_pages(&client, client.queue("p"), limit).await;
        assert!(pages.iter().all(|page| page.entries.len() <= limit));
        let joined: Vec<Entry> = pages.into_iter().flat_map(|page| page.entries).collect();
        assert_eq!(joined, whole, "limit {limit}");
    }
    let nothing = client.page(client.queue("p"), Position(0), ALL, 0).await;
    assert!(nothing.entries.is_empty() && nothing.more);
    assert_eq!(nothing.next, Position(0), "nothing was scanned");
}

async fn all_pages(client: &Client, queue: QueueRef, limit: usize) -> Vec<Page> {
    let (mut pages, mut after) = (Vec::new(), Position(0));
    loop {
        let page = client.page(queue.clone(), after, ALL, limit).await;
        assert!(page.next > after || !page.more, "a page that says more moves on");
        assert!(page.entries.iter().all(|e| after < e.stamp.position() && e.stamp.position() <= page.next));
        after = page.next;
        let more = page.more;
        assert!(more || page.next == page.end, "without more, all up to the end is scanned");
        pages.push(page);
        if !more {
            return pages;
        }
    }
}

/// `(after, upto]`.
pub async fn bounds_are_exclusive_below_and_inclusive_above(world: &impl World) {
    let client = Client::new(world);
    let replies = client.propose(numbered("r", 0..5)).await;
    let at: Vec<_> = replies.iter().map(published).collect();
    let page = client.page(client.queue("r"), at[1], at[3], 100).await;
    assert_eq!(page.entries.iter().map(|e| e.stamp.position()).collect::<Vec<_>>(), at[2..=3]);
    assert_eq!(page.next, at[3], "scanned up to `upto`");
    assert!(!page.more);
    let empty = client.page(client.queue("r"), at[3], at[3], 100).await;
    assert!(empty.entries.is_empty() && !empty.more);
}

/// No entries, and everything up to the end counts as scanned.
pub async fn a_queue_that_nobody_wrote_is_empty_up_to_the_end(world: &impl World) {
    let client = Client::new(world);
    client.publish("written", "1").await;
    let applied = client.broker.applied(client.shard);
    let page = client.page(client.queue("never/written"), Position(0), ALL, 100).await;
    assert!(page.entries.is_empty() && !page.more);
    assert!(page.end >= applied);
    assert_eq!(page.next, page.end);
}

/// Many reads in one call: a page each, in order.
pub async fn pages_come_in_the_order_of_the_reads(world: &impl World) {
    let client = Client::new(world);
    let mut expected = Vec::new();
    for number in 0..20 {
        expected.push(client.publish(&format!("q/{}", number % 10), "x").await);
    }
    let reads = (0..20)
        .map(|n| Read { queue: client.queue(&format!("q/{}", n % 10)), after: Position(0), upto: ALL, limit: 10 })
        .collect();
    let pages = client.broker.read(client.shard, reads).await.unwrap();
    assert_eq!(pages.len(), 20);
    for (n, page) in pages.iter().enumerate() {
        let at: Vec<_> = page.entries.iter().map(|e| e.position).collect();
        assert_eq!(at, [expected[n % 10], expected[n % 10 + 10]]);
    }
    assert_eq!(client.broker.read(client.shard, vec![]).await.unwrap(), []);
}

/// Quality of service, RETAIN, expiry, length, time: without reading the message.
pub async fn an_entry_says_what_a_reader_needs_before_fetching(world: &impl World) {
    let client = Client::new(world);
    client.add("e/+", gateway(1)).await;
    let mut plain = message("e/1", "body");
    plain.qos = Qos::AtMostOnce;
    let mut rich = message("e/1", &"x".repeat(5000));
    rich.qos = Qos::AtLeastOnce;
    rich.retain = true;
    rich.expiry = Some(Duration::from_secs(100));
    client.propose(vec![Command::Publish(plain), Command::Publish(rich)]).await;
    for filter in ["e/1", "e/+", "#"] {
        let entries = client.entries(client.queue(filter)).await;
        let [plain, rich] = entries.as_slice() else { panic!("{filter}: {entries:?}") };
        assert_eq!((plain.flags.qos, plain.flags.retain, plain.flags.expires), (Qos::AtMostOnce, false, false));
        assert_eq!((rich.flags.qos, rich.flags.retain, rich.flags.expires), (Qos::AtLeastOnce, true, true));
        assert!(!plain.flags.referred && !rich.flags.referred);
        assert!(plain.length > 4 && plain.length < 5000, "{filter}: {}", plain.length);
        assert!(rich.length > 5000 && rich.length < 6000, "{filter}: {}", rich.length);
        assert!(plain.time.0 > 0);
        assert_eq!(plain.offset, plain.stamp.offset(), "in a sparse queue the offset is the stamp");
    }
}

/// `#` has every message but those to `$` topics, and costs no entries.
pub async fn the_queue_of_all_is_the_namespace_without_system_topics(world: &impl World) {
    let client = Client::new(world);
    client.publish("a", "1").await;
    client.publish("$SYS/x", "hidden").await;
    client.add("+/b", gateway(1)).await;
    client.publish("/a//b", "2").await;
    client.open("somebody", true, Duration::from_mins(1), causeway_model::Incarnation(1)).await;
    client.publish("c/d/e", "3").await;
    assert_eq!(client.bodies("#").await, ["1", "2", "3"]);
    assert_eq!(client.bodies("$SYS/x").await, ["hidden"]);
}

/// The same paging as any queue.
pub async fn the_queue_of_all_is_read_in_pages(world: &impl World) {
    let client = Client::new(world);
    for batch in 0..6 {
        client.propose(numbered(&format!("t/{batch}"), batch * 5..batch * 5 + 5)).await;
        client.publish("$hidden", "no").await;
    }
    for limit in [1, 4, 30, 31] {
        let pages = all_pages(&client, client.queue("#"), limit).await;
        let mut bodies = Vec::new();
        for page in pages {
            assert!(page.entries.len() <= limit);
            bodies.extend(client.fetch(&page.entries).await);
        }
        assert_eq!(bodies, texts(0..30), "limit {limit}");
    }
}

/// The same topic in two namespaces: two queues, also for wildcards and `#`.
pub async fn namespaces_share_nothing(world: &impl World) {
    let client = Client::new(world);
    let tenant = Namespace::new(Text::from_static("tenant")).unwrap();
    client.add("n/+", gateway(1)).await;
    let mut theirs = message("n/x", "theirs");
    theirs.namespace = tenant.clone();
    client.propose(vec![Command::Publish(theirs), Command::Publish(message("n/x", "ours"))]).await;
    for filter in ["n/x", "n/+", "#"] {
        assert_eq!(client.bodies(filter).await, ["ours"], "{filter}");
    }
    let key = client.broker.cluster().key;
    for queue in [QueueRef::Sparse(key.queue(QueueKind::Light, &tenant, "n/x")), QueueRef::All(tenant.clone())] {
        let entries = client.entries(queue).await;
        assert_eq!(client.fetch(&entries).await, ["theirs"]);
    }
}

/// Messages below a server topic are in exactly one of its queues, numbered without holes, and in their light queue.
pub async fn a_server_topic_has_dense_queues_beside_the_light_one(world: &impl World) {
    let client = Client::new(world);
    let (namespace, name) = (Namespace::default(), Text::from_static("orders"));
    let put = Command::TopicPut { namespace: namespace.clone(), name: name.clone(), queues: 3 };
    assert_eq!(client.one(put).await, Reply::Done);
    client.propose(numbered("orders/eu", 0..40)).await;
    client.propose(numbered("unrelated", 0..5)).await;
    assert_eq!(client.bodies("orders/eu").await, texts(0..40));

    let key = client.broker.cluster().key;
    let mut seen = Vec::new();
    for number in 0..3 {
        let id = key.server_queue(&namespace, "orders", number);
        let page = client.page(QueueRef::Dense(id, Offset(0)), Position(0), ALL, 1000).await;
        let offsets: Vec<_> = page.entries.iter().map(|e| e.offset.0).collect();
        assert_eq!(offsets, (0..page.entries.len() as u64).collect::<Vec<_>>());
        assert!(page.entries.is_sorted_by_key(|e| e.stamp));
        if let Some(last) = page.entries.last() {
            let tail = client.page(QueueRef::Dense(id, last.offset), Position(0), ALL, 1000).await;
            assert_eq!(tail.entries, [*last], "an offset is where reading starts");
        }
        seen.extend(client.fetch(&page.entries).await);
    }
    seen.sort_by_key(|body| body.parse::<u32>().unwrap());
    assert_eq!(seen, texts(0..40), "each message is in one queue");
}
