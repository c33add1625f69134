//! Frames for readers that say what they want to hear of.

use std::sync::Arc;

use causeway_compute::port::{Broker, CHANGE, Frame, Frames, Wants};
use causeway_link::{Client, ClientSettings, ServerSettings};
use causeway_local::memory::Memory;
use causeway_model::{Namespace, Position, Qos, QueueId, QueueKind, ShardId};
use tokio::time::timeout;
use tonic::Code;

use crate::raw;
use crate::raw::{NOTIFY, Outcomes, Raw, Start};
use crate::restart::{message, up};
use crate::world::{PATIENCE, Server, client, process, server_settings};

const SHARD: ShardId = ShardId(0);

fn precise(server: &Server) -> ClientSettings {
    ClientSettings { precise: true, ..server.settings() }
}

fn queue(broker: &dyn Broker, topic: &str) -> QueueId {
    broker.cluster().key.queue(QueueKind::Light, &Namespace::default(), topic)
}

async fn want(wants: &Wants, queue: QueueId) -> Position {
    match wants.add(queue) {
        Some(from) => from,
        None => timeout(PATIENCE, wants.registered(queue)).await.unwrap(),
    }
}

async fn publish(broker: &dyn Broker, topic: &str) {
    broker.propose(SHARD, vec![message(topic, Qos::AtLeastOnce, "x")]).await.unwrap();
}

/// Frames up to what the server has applied now; each follows on the one before, unless there was a restart.
async fn until_applied(frames: &mut Frames, server: &Server) -> Vec<Arc<Frame>> {
    let (mut all, upto): (Vec<Arc<Frame>>, _) = (Vec::new(), server.local.applied(SHARD));
    while all.last().is_none_or(|last| last.to < upto) {
        let frame = timeout(PATIENCE, frames.recv()).await.unwrap().unwrap();
        assert!(all.last().is_none_or(|last| last.to <= frame.from));
        all.push(frame);
    }
    all
}

fn named(frames: &[Arc<Frame>]) -> Vec<QueueId> {
    frames.iter().flat_map(|frame| &frame.queues).copied().collect()
}

async fn reader(client: &Arc<Client>) -> (Arc<Wants>, Frames) {
    let wants = Arc::<Wants>::default();
    let frames = client.notify_of(SHARD, &wants);
    // A stream names everything until it has a list: this waits for an empty one, and one of one.
    let nothing = queue(&**client, "nothing");
    want(&wants, nothing).await;
    wants.remove(nothing);
    (wants, frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gateway_hears_of_what_it_asked_for_and_of_nothing_else() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    let one = client(precise(&server), 1, &process).await;
    let two = client(precise(&server), 2, &process).await;
    let all = client(server.settings(), 3, &process).await;
    let ((wants_one, mut frames_one), (wants_two, mut frames_two)) = (reader(&one).await, reader(&two).await);
    let mut frames_all = all.notify(SHARD);
    let (a, b, c) = (queue(&*one, "a"), queue(&*one, "b"), queue(&*one, "c"));
    for (wants, queue) in [(&wants_one, a), (&wants_two, b), (&wants_one, c), (&wants_two, c)] {
        want(wants, queue).await;
    }
    // Something that all hear of, so that what was before is not counted.
    publish(&*all, "c").await;
    for frames in [&mut frames_one, &mut frames_two, &mut frames_all] {
        until_applied(frames, &server).await;
    }
    for _ in 0..20 {
        for topic in ["a", "b", "nobody"] {
            publish(&*all, topic).await;
        }
    }
    publish(&*all, "c").await;
    let twenty_and_one = |queue| [vec![queue; 20], vec![c]].concat();
    assert_eq!(named(&until_applied(&mut frames_one, &server).await), twenty_and_one(a));
    assert_eq!(named(&until_applied(&mut frames_two, &server).await), twenty_and_one(b));
    let everything = named(&until_applied(&mut frames_all, &server).await);
    // Each message is in its own queue and in that of all.
    assert_eq!(everything.len(), 2 * 61);
    // What is no longer wanted is no longer told.
    wants_one.remove(a);
    want(&wants_one, b).await;
    publish(&*all, "a").await;
    publish(&*all, "b").await;
    assert_eq!(named(&until_applied(&mut frames_one, &server).await), [b]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_broker_the_whole_list_holds_again() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let process = process();
    let client = client(precise(&server), 1, &process).await;
    let (wants, mut frames) = reader(&client).await;
    // More than one message of the link carries.
    let many: Vec<_> = (0..CHANGE * 2 + 10).map(|n| queue(&*client, &format!("many/{n}"))).collect();
    for queue in &many {
        wants.add(*queue);
    }
    want(&wants, *many.last().unwrap()).await;
    let settings = ServerSettings { bind: server.address, ..server_settings() };
    server.stop().await;
    up(&client, false).await;
    let late = queue(&*client, "late");
    assert_eq!(wants.add(late), None);
    wants.remove(many[0]);
    let server = Server::start(&memory, &settings).await;
    timeout(PATIENCE, wants.registered(late)).await.unwrap();
    for topic in ["late", "many/0", "many/1", "other", "many/4096", "many/8200"] {
        publish(&*client, topic).await;
    }
    let expected = [late, many[1], many[4096], many[8200]];
    assert_eq!(named(&until_applied(&mut frames, &server).await), expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_makes_no_sense_ends_its_stream_and_a_second_start_too() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let start = || Start { start: Some(vec![].into()), wants: None };
    let odd = raw::Wants { number: 1, add: vec![7; 17].into() };
    for (second, says) in [(Start { start: None, wants: Some(odd) }, "17"), (start(), "once")] {
        let raw = Raw::welcome(server.address, 1).await;
        let (send, requests) = tokio::sync::mpsc::channel(2);
        send.send(start()).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut events = raw.open::<Start, Outcomes>(NOTIFY, requests).await.unwrap();
        send.send(second).await.unwrap();
        let ended = async {
            loop {
                // Before the end there may be a heartbeat.
                if let Err(status) = events.message().await {
                    return status;
                }
            }
        };
        let status = timeout(PATIENCE, ended).await.unwrap();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(says), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_has_a_few_readers_of_a_shard_and_no_more() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let raw = Raw::welcome(server.address, 1).await;
    let mut open = Vec::new();
    let refused = loop {
        let start = tokio_stream::iter([Start { start: Some(vec![].into()), wants: None }]);
        let requests = tokio_stream::StreamExt::chain(start, futures_util::stream::pending());
        match raw.open::<Start, Outcomes>(NOTIFY, requests).await {
            Ok(events) => open.push(events),
            Err(status) => break status,
        }
        assert!(open.len() < 10);
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(!open.is_empty());
}
