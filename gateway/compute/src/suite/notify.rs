//! Frames: contiguous hints, and what a reader does about a gap.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_model::{Namespace, Position, QueueId, QueueKind};

use super::World;
use super::client::{Client, filter, gateway, message, numbered, published, texts};
use crate::port::{Command, Frame, Frames, Wants};

/// Reads frames until everything up to `upto` was in one; each must follow on the one before.
async fn until(frames: &mut Frames, upto: Position) -> Vec<Arc<Frame>> {
    let mut got: Vec<Arc<Frame>> = Vec::new();
    loop {
        let frame = frames.recv().await.unwrap();
        if let Some(last) = got.last() {
            assert_eq!(frame.from, last.to, "no gap and no overlap");
        }
        assert!(frame.from < frame.to);
        let end = frame.to;
        got.push(frame);
        if end >= upto {
            return got;
        }
    }
}

/// Each notice names each queue that its record entered, once; `from` of the first is where frames begin.
pub async fn frames_are_contiguous_and_name_every_queue(world: &impl World) {
    let client = Client::new(world);
    client.add("n/+", gateway(1)).await;
    client.add("n/+", gateway(2)).await;
    let before = client.publish("n/0", "before").await;
    let mut frames = client.broker.notify(client.shard);
    let mut expected = BTreeMap::new();
    for n in 1..20 {
        expected.insert(client.publish(&format!("n/{n}"), "x").await, format!("n/{n}"));
        client.add(&format!("other/{n}/+"), gateway(1)).await;
    }
    let frames = until(&mut frames, client.broker.applied(client.shard)).await;
    assert!(frames[0].from > before, "nothing of what was applied before");
    let all = client.broker.cluster().key.queue(QueueKind::All, &Namespace::default(), "#");
    let mut seen = BTreeMap::new();
    for frame in &frames {
        assert_eq!(frame.shard, client.shard);
        assert!(!frame.collapsed);
        for (notice, queues) in frame.iter() {
            let at = notice.stamp.position();
            assert!(frame.from < at && at < frame.to);
            assert_eq!(notice.position, at);
            seen.insert(at, queues.to_vec());
        }
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (at, mut queues) in seen {
        let mut wanted: Vec<QueueId> = vec![client.id(&filter(&expected[&at])), client.id(&filter("n/+")), all];
        queues.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(queues, wanted);
    }
}

/// A message that nobody asked for is in a frame too: somebody may ask while it is on its way.
pub async fn frames_name_messages_without_subscribers(world: &impl World) {
    let client = Client::new(world);
    let mut frames = client.broker.notify(client.shard);
    let at = client.publish("nobody/asked", "x").await;
    let frames = until(&mut frames, Position(at.0 + 1)).await;
    let notices: Vec<_> = frames.iter().flat_map(|frame| frame.iter()).collect();
    let [(notice, queues)] = notices.as_slice() else { panic!("{notices:?}") };
    assert_eq!(notice.stamp, at.stamp());
    assert!(queues.contains(&client.id(&filter("nobody/asked"))));
}

/// What is addressed to one client is in that client's queue alone, and its frame tells nobody else.
pub async fn a_message_to_one_client_is_in_its_queue_only(world: &impl World) {
    let client = Client::new(world);
    for wildcard in ["$p2p/#", "$p2p/+", "+/+"] {
        client.add(wildcard, gateway(1)).await;
    }
    let mut frames = client.broker.notify(client.shard);
    let at = client.publish("$p2p/phone/7", "for you").await;
    let frames = until(&mut frames, Position(at.0 + 1)).await;
    let named: Vec<_> = frames.iter().flat_map(|frame| frame.iter()).map(|(_, queues)| queues.to_vec()).collect();
    let own = client.broker.cluster().key.queue(QueueKind::Client, &Namespace::default(), "phone/7");
    assert_eq!(named, [[own]]);
    assert_eq!(client.bodies("$p2p/phone/7").await, ["for you"]);
    for filter in ["$p2p/#", "$p2p/+", "+/+", "#", "$p2p/phone"] {
        assert_eq!(client.bodies(filter).await, [""; 0], "{filter}");
    }
}

/// The commands of one call are never split over frames.
pub async fn one_call_is_in_one_frame_in_stamp_order(world: &impl World) {
    let client = Client::new(world);
    let mut frames = client.broker.notify(client.shard);
    let replies = client.propose(numbered("one", 0..50)).await;
    let expected: Vec<_> = replies.iter().map(|reply| published(reply).stamp()).collect();
    let frames = until(&mut frames, client.broker.applied(client.shard)).await;
    let holding: Vec<_> = frames.iter().filter(|frame| !frame.notices.is_empty()).collect();
    assert_eq!(holding.len(), 1);
    assert_eq!(holding[0].iter().map(|(notice, _)| notice.stamp).collect::<Vec<_>>(), expected);
}

/// Nobody waits for a slow reader: it misses whole frames, sees that by the positions, and the index has the rest.
pub async fn a_reader_that_falls_behind_finds_a_gap_and_reads_the_rest(world: &impl World) {
    let client = Client::new(world);
    let mut slow = client.broker.notify(client.shard);
    let start = client.broker.applied(client.shard);
    let capacity = u32::try_from(slow.max_capacity()).unwrap();
    let count = capacity * 2;
    for n in 0..count {
        client.publish("g", &n.to_string()).await;
    }
    let mut bodies = Vec::new();
    let (mut at, mut gaps) = (start, 0);
    let end = client.broker.applied(client.shard);
    while at < end {
        let frame = if let Some(frame) = slow.try_recv() {
            frame
        } else {
            // It has drained what fitted; the next frame shows where it stands.
            client.publish("wake", "up").await;
            slow.recv().await.unwrap()
        };
        assert!(frame.from >= at, "never out of order");
        if frame.from > at {
            gaps += 1;
            let page = client.page(client.queue("g"), at, frame.from, usize::MAX).await;
            bodies.extend(client.fetch(&page.entries).await);
        }
        let queue = client.id(&filter("g"));
        for (notice, queues) in frame.iter() {
            if queues.contains(&queue) {
                let message = client.broker.fetch(client.shard, vec![notice.position]).await.unwrap();
                bodies.push(String::from_utf8(message[0].as_ref().unwrap().body.to_vec()).unwrap());
            }
        }
        at = frame.to;
    }
    assert!(gaps > 0, "{count} frames fit a channel of {capacity}: nothing was shown");
    assert_eq!(bodies, texts(0..count));
}

/// Over 256 KiB of notices: the frame says so, stays contiguous, and the index has the content.
pub async fn a_large_batch_is_collapsed_and_readable(world: &impl World) {
    let client = Client::new(world);
    let mut frames = client.broker.notify(client.shard);
    let many = 12_000;
    let commands = (0..many).map(|n| Command::Publish(message("big/batch", &n.to_string()))).collect();
    client.propose(commands).await;
    let frames = until(&mut frames, client.broker.applied(client.shard)).await;
    let [collapsed] = frames.iter().filter(|frame| frame.collapsed).collect::<Vec<_>>()[..] else {
        panic!("{frames:?}")
    };
    assert!(collapsed.notices.is_empty() && collapsed.queues.is_empty());
    let page = client.page(client.queue("big/batch"), collapsed.from, collapsed.to, usize::MAX).await;
    assert_eq!(client.fetch(&page.entries).await, texts(0..many));
}

/// Dropping one receiver, or never reading it, leaves the others contiguous.
pub async fn a_reader_that_leaves_disturbs_nobody(world: &impl World) {
    let client = Client::new(world);
    let leaves = client.broker.notify(client.shard);
    let _idle = client.broker.notify(client.shard);
    let mut reads = client.broker.notify(client.shard);
    client.publish("d", "1").await;
    drop(leaves);
    client.publish("d", "2").await;
    client.publish("d", "3").await;
    let frames = until(&mut reads, client.broker.applied(client.shard)).await;
    let notices = frames.iter().flat_map(|frame| frame.iter()).count();
    assert_eq!(notices, 3);
}

/// Who says which queues it wants to hear of misses nothing of them, and its frames are contiguous, whatever else they
/// name.
pub async fn a_reader_of_some_queues_hears_of_them(world: &impl World) {
    let client = Client::new(world);
    client.add("some/+", gateway(1)).await;
    let wants = Arc::new(Wants::default());
    let mut frames = client.broker.notify_of(client.shard, &wants);
    let queues = [client.id(&filter("some/+")), client.id(&filter("one"))];
    let mut expected: BTreeMap<QueueId, Vec<Position>> = BTreeMap::new();
    for queue in queues {
        let from = match wants.add(queue) {
            Some(from) => from,
            None => wants.registered(queue).await,
        };
        assert!(from <= client.broker.applied(client.shard));
        for n in 0..10 {
            client.publish("none", &n.to_string()).await;
            let at = client.publish(&format!("some/{n}"), "x").await;
            expected.entry(queues[0]).or_default().push(at);
            let at = client.publish("one", "x").await;
            expected.entry(queues[1]).or_default().push(at);
        }
    }
    // The second queue was asked for later.
    expected.entry(queues[1]).or_default().drain(..10);
    let frames = until(&mut frames, client.broker.applied(client.shard)).await;
    for (queue, expected) in expected {
        let named = frames.iter().flat_map(|frame| frame.iter()).filter(|(_, queues)| queues.contains(&queue));
        let named: Vec<_> = named.map(|(notice, _)| notice.position).filter(|at| *at >= expected[0]).collect();
        assert_eq!(named, expected);
    }
}
