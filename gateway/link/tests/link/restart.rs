//! The broker goes and comes back under its clients: a pause for them, no error, no message lost or out of order.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::listener::{Limit, Listener};
use causeway_compute::port::{Broker, Command, Frames, Member, Members, Overview, QueueRef, Read, Reply, SessionOpen};
use causeway_compute::process::Process;
use causeway_link::{Client, ClientSettings, Liveness, ServerSettings};
use causeway_local::memory::Memory;
use causeway_model::{
    ClientId, Filter, Incarnation, Kind, Message, Millis, Namespace, Position, Properties, Publisher, Qos, ShardId,
    Topic,
};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::world::{PATIENCE, Server, client, process, server_settings};

const SHARD: ShardId = ShardId(0);

pub(crate) fn message(topic: &str, qos: Qos, body: &str) -> Command {
    Command::Publish(Message {
        namespace: Namespace::default(),
        topic: Topic::new(topic.into()).unwrap(),
        qos,
        retain: false,
        expiry: None,
        born: Millis(1),
        publisher: Publisher { client: ClientId("c".into()), session: None, pid: None },
        properties: Properties::default(),
        body: body.to_owned().into(),
    })
}

fn open(client: &str, clean_start: bool, expiry: Duration) -> Command {
    Command::SessionOpen(SessionOpen {
        namespace: Namespace::default(),
        client: ClientId(client.into()),
        clean_start,
        expiry,
        owner: Incarnation(1),
        attempt: 1,
        will: None,
    })
}

pub(crate) async fn up(client: &Client, expected: bool) {
    timeout(PATIENCE, client.connected().wait_for(|up| *up == expected)).await.unwrap().unwrap();
}

/// Everything in a topic's queue, by position.
async fn bodies(broker: &dyn Broker, topic: &str) -> Vec<(Position, String)> {
    let filter = Filter::new(topic.into()).unwrap();
    let id = broker.cluster().key.filter_queue(&Namespace::default(), &filter);
    let (mut after, mut all) = (Position(0), Vec::new());
    loop {
        let upto = broker.applied(SHARD);
        let read = Read { queue: QueueRef::Sparse(id), after, upto, limit: 1000 };
        let page = broker.read(SHARD, vec![read]).await.unwrap().remove(0);
        let positions: Vec<_> = page.entries.iter().map(|entry| entry.position).collect();
        let messages = broker.fetch(SHARD, positions.clone()).await.unwrap();
        let texts = messages.into_iter().map(|message| String::from_utf8(message.unwrap().body.to_vec()).unwrap());
        all.extend(positions.into_iter().zip(texts));
        if !page.more {
            return all;
        }
        after = page.next;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_under_way_when_the_broker_restarts_finish_in_order_without_an_error() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let process = process();
    let client = client(server.settings(), 1, &process).await;
    let settings = ServerSettings { bind: server.address, ..server_settings() };
    let callers = (0..4).map(|caller| {
        let client = Arc::clone(&client);
        async move {
            // Several calls under way at once, their futures polled in order.
            let topic = format!("t/{caller}");
            for round in 0..60 {
                let calls: Vec<_> = (0..5)
                    .map(|n| {
                        client.propose(SHARD, vec![message(&topic, Qos::AtLeastOnce, &(round * 5 + n).to_string())])
                    })
                    .collect();
                for call in calls {
                    let replies = timeout(PATIENCE, call).await.unwrap().unwrap();
                    assert!(matches!(replies[..], [Reply::Published { .. }]));
                }
            }
        }
    });
    let restarts = async {
        let mut server = server;
        for _ in 0..3 {
            server.stop().await;
            up(&client, false).await;
            server = Server::start(&memory, &settings).await;
            up(&client, true).await;
        }
        server
    };
    let (server, _) = futures_util::join!(restarts, join_all(callers));
    for caller in 0..4 {
        let found = bodies(&*client, &format!("t/{caller}")).await;
        // At least once: each is there, and the first of each in order.
        let mut first = BTreeMap::new();
        for (at, body) in found {
            first.entry(body.parse::<u32>().unwrap()).or_insert(at);
        }
        assert_eq!(first.len(), 300);
        assert!(first.values().is_sorted(), "in the order of the calls");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_while_the_broker_is_away_is_answered_when_it_is_back() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let process = process();
    let client = client(ClientSettings { in_flight_bytes: 4096, ..server.settings() }, 1, &process).await;
    client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "1")]).await.unwrap();
    let settings = ServerSettings { bind: server.address, ..server_settings() };
    server.stop().await;
    up(&client, false).await;
    let status = client.status(SHARD);
    let second = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "2")]);
    // Its client has gone and may have sent it again at another gateway by the time the broker is back.
    drop(client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "gone")]));
    let more = (0..20).map(|_| client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "x")]));
    let refused: Vec<_> = more.filter_map(FutureExt::now_or_never).map(Result::unwrap_err).collect();
    assert!(!refused.is_empty() && refused.len() < 20, "the budget is used up at some time");
    assert!(refused.iter().all(|error| matches!(error.kind, Kind::Busy { .. })));
    let server = Server::start(&memory, &settings).await;
    assert!(timeout(PATIENCE, second).await.unwrap().is_ok());
    assert!(timeout(PATIENCE, status).await.unwrap().unwrap().leader);
    client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "last")]).await.unwrap();
    let found: Vec<_> = bodies(&*client, "t").await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(found, ["1", "2", "last"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_done_twice_is_not_sent_again() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let process = process();
    let client = client(server.settings(), 1, &process).await;
    let stalled = server.clock.stall();
    let (once, twice) = (Qos::AtMostOnce, Qos::AtLeastOnce);
    let mixed = vec![message("m", once, "0"), message("m", twice, "1"), message("m", once, "2")];
    let mixed = client.propose(SHARD, mixed);
    let lost = client.propose(SHARD, vec![message("m", once, "3"), message("m", once, "4")]);
    let resumes = client.propose(SHARD, vec![open("a", false, Duration::from_mins(1))]);
    let clean = client.propose(SHARD, vec![open("b", true, Duration::from_mins(1))]);
    let volatile = client.propose(SHARD, vec![open("c", false, Duration::ZERO)]);
    server.proposals(5).await;
    let settings = ServerSettings { bind: server.address, ..server_settings() };
    server.process.drain.close();
    up(&client, false).await;
    assert_eq!(timeout(PATIENCE, lost).await.unwrap().unwrap(), [Reply::Done, Reply::Done]);
    // A client may open its session elsewhere meanwhile: a second opening here would take that one over.
    for opening in [resumes, clean, volatile] {
        assert_eq!(timeout(PATIENCE, opening).await.unwrap().unwrap_err().kind, Kind::Unknown);
    }
    drop(stalled);
    server.stop().await;
    let server = Server::start(&memory, &settings).await;
    let replies = timeout(PATIENCE, mixed).await.unwrap().unwrap();
    assert!(matches!(replies[..], [Reply::Done, Reply::Published { .. }, Reply::Done]), "{replies:?}");
    server.stop().await;
}

/// Reads frames until everything up to `upto` was in one. How often one did not begin where the one before had ended.
async fn follow(frames: &mut Frames, last: &mut Option<Position>, upto: Position) -> u32 {
    let mut gaps = 0;
    while last.is_none_or(|last| last < upto) {
        let frame = timeout(PATIENCE, frames.recv()).await.unwrap().unwrap();
        assert!(last.is_none_or(|last| frame.from >= last), "never out of order");
        gaps += u32::from(last.is_some_and(|last| frame.from > last));
        *last = Some(frame.to);
    }
    gaps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_go_on_after_a_restart_and_show_what_was_missed() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let process = process();
    let client = client(server.settings(), 1, &process).await;
    let mut frames = client.notify(SHARD);
    client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "1")]).await.unwrap();
    let mut last = None;
    assert_eq!(follow(&mut frames, &mut last, client.applied(SHARD)).await, 0);
    let settings = ServerSettings { bind: server.address, ..server_settings() };
    server.stop().await;
    up(&client, false).await;
    let server = Server::start(&memory, &settings).await;
    server.local.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "2")]).await.unwrap();
    let applied = server.local.applied(SHARD);
    // Without another message, the heartbeat alone says that there is more than was heard of.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.applied(SHARD) < applied {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "3")]).await.unwrap();
    assert!(
        follow(&mut frames, &mut last, client.applied(SHARD)).await > 0,
        "the restart wrote a batch that is in no frame"
    );
    server.stop().await;
}

/// Forwards bytes between a client and a broker until it is told to be silent: connections stay open and nothing moves.
fn forward(to: SocketAddr, silent: &watch::Sender<bool>, process: &Process) -> SocketAddr {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.address();
    let metrics = process.metrics.listeners.of("forward");
    let silent = silent.clone();
    listener.serve(Limit::new(100), metrics, &process.tasks, move |mut from, _| {
        let mut silent = silent.subscribe();
        async move {
            let mut onto = TcpStream::connect(to).await.unwrap();
            let until = async {
                let _ = silent.wait_for(|silent| *silent).await;
            };
            tokio::select! {
                // Either side may end it.
                _ = tokio::io::copy_bidirectional(&mut from, &mut onto) => return,
                () = until => {}
            }
            let _ = silent.wait_for(|silent| !silent).await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_falls_silent_is_given_up_and_what_it_had_is_asked_again() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    let silent = watch::Sender::new(false);
    let brokers = vec![forward(server.address, &silent, &process).to_string()];
    let liveness = Liveness { interval: Duration::from_millis(200), timeout: Duration::from_millis(400) };
    let client = client(ClientSettings { brokers, liveness, ..ClientSettings::default() }, 1, &process).await;
    let mut frames = client.notify(SHARD);
    client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "1")]).await.unwrap();
    silent.send_replace(true);
    let second = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "2")]);
    let status = client.status(SHARD);
    up(&client, false).await;
    silent.send_replace(false);
    assert!(matches!(timeout(PATIENCE, second).await.unwrap().unwrap()[..], [Reply::Published { .. }]));
    assert!(timeout(PATIENCE, status).await.unwrap().is_ok());
    // The reader hears of what was asked again: its own stream is made anew before.
    follow(&mut frames, &mut None, client.applied(SHARD)).await;
    let found: Vec<_> = bodies(&*client, "t").await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(found, ["1", "2"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_given_and_ended_over_the_link() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    let client = client(server.settings(), 1, &process).await;
    let member = Member { incarnation: Incarnation(1), name: "a".into(), address: Some("127.0.0.1:1".into()) };
    let lease = client.join(member.clone()).await.unwrap();
    assert_eq!(lease.length, Duration::from_secs(30));
    assert_eq!(lease.map.member(Incarnation(1)), Some(&member));
    assert_eq!(client.beat(Incarnation(1)).await.unwrap().map, lease.map);
    client.leave(Incarnation(1)).await.unwrap();
    assert_eq!(client.beat(Incarnation(1)).await.unwrap_err().kind, Kind::Fenced);
    let other = crate::world::client(server.settings(), 2, &process).await;
    assert_eq!(other.beat(Incarnation(2)).await.unwrap_err().kind, Kind::NotFound);
    // A gateway speaks for itself alone: the leases are not asked.
    assert_eq!(client.beat(Incarnation(2)).await.unwrap_err().kind, Kind::Unavailable);
    server.stop().await;
    up(&client, false).await;
    assert_eq!(client.beat(Incarnation(1)).await.unwrap_err().kind, Kind::Unavailable, "not queued");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_process_ends_waiting_calls_are_told_what_may_have_been_done() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    let client = client(server.settings(), 1, &process).await;
    let mut frames = client.notify(SHARD);
    let stalled = server.clock.stall();
    let sent = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "1")]);
    server.proposals(1).await;
    process.drain.close();
    assert_eq!(timeout(PATIENCE, sent).await.unwrap().unwrap_err().kind, Kind::Unknown);
    let late = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "2")]);
    assert_eq!(timeout(PATIENCE, late).await.unwrap().unwrap_err().kind, Kind::Unavailable);
    assert_eq!(client.status(SHARD).await.unwrap_err().kind, Kind::Unavailable);
    while timeout(PATIENCE, frames.recv()).await.unwrap().is_some() {}
    drop(stalled);
    timeout(PATIENCE, process.tasks.ended(causeway_compute::task::Wave::Back)).await.unwrap();
    assert_eq!(*process.tasks.failure().borrow(), None);
    server.stop().await;
}
