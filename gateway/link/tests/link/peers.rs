//! Peers that are wrong: each is told so, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::port::{Broker, Cluster, Overview, Reply};
use causeway_link::{Backoff, ClientMetrics, ClientSettings, Error, ServerSettings, Services, connect, serve};
use causeway_local::memory::Memory;
use causeway_model::{Lineage, Qos, ShardId};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::metrics::{shown, until};
use crate::raw::{ASK, Hello, INVALID, JOIN, Many, NOTIFY, Outcomes, PEER_ASK, PROPOSE, Raw, Start, fetch, group};
use crate::restart::{message, up};
use crate::world::{PATIENCE, Server, client, identity, process, server_settings};

const SHARD: ShardId = ShardId(0);

async fn refusal(settings: ClientSettings) -> Error {
    let process = process();
    timeout(PATIENCE, connect(settings, identity(9), &process.tasks)).await.unwrap().unwrap_err()
}

/// Others are served as ever.
async fn serves(server: &Server) {
    let process = process();
    let mut settings = server.settings();
    settings.token = Some("secret".into());
    let client = client(settings, 1000, &process).await;
    let replies = timeout(PATIENCE, client.propose(SHARD, vec![message("ok", Qos::AtLeastOnce, "x")])).await;
    assert!(matches!(replies.unwrap().unwrap()[..], [Reply::Published { .. }]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_refused_at_once_and_a_right_one_is_not() {
    let settings = ServerSettings { token: Some("secret".into()), ..server_settings() };
    let server = Server::start(&Memory::new(1), &settings).await;
    for token in [None, Some(""), Some("secret "), Some("secreT")] {
        let error = refusal(ClientSettings { token: token.map(str::to_owned), ..server.settings() }).await;
        assert!(matches!(&error, Error::Refused { cause, .. } if cause == "wrong token"), "{error}");
    }
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_final_before_the_first_link_and_passed_over_after_it() {
    let memory = Memory::new(1);
    let server = Server::start(&memory, &server_settings()).await;
    let guarded = ServerSettings { token: Some("secret".into()), ..server_settings() };
    let guarded = Server::start(&Memory::new(2), &guarded).await;
    let (another, listener) = (process(), Listener::bind(server_settings().bind).unwrap());
    let another_at = listener.address();
    let cluster = Cluster { lineage: Lineage(2), ..server.local.cluster() };
    serve(listener, Services::default(), &server_settings(), cluster, &another.tasks).unwrap();
    let brokers = [server.address, guarded.address, another_at].map(|address| address.to_string());

    let strangers_first = brokers.iter().rev().cloned().collect();
    let error = refusal(ClientSettings { brokers: strangers_first, ..ClientSettings::default() }).await;
    assert!(matches!(&error, Error::Refused { address, .. } if *address == brokers[2]), "{error}");

    let process = process();
    let metrics = Some(ClientMetrics::register(&process.registry).unwrap());
    let backoff = Backoff { first: Duration::from_millis(1), most: Duration::from_millis(10) };
    let settings = ClientSettings { brokers: brokers.to_vec(), metrics, backoff, ..ClientSettings::default() };
    let client = client(settings, 1, &process).await;
    let again = ServerSettings { bind: server.address, ..server_settings() };
    server.stop().await;
    up(&client, false).await;
    let waits = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, "x")]);
    // Each of the two more than once.
    until("strangers refuse", || shown(&process, "dial_failures_total{cause=\"refused\"}") >= Some(4)).await;
    let _server = Server::start(&memory, &again).await;
    assert!(matches!(timeout(PATIENCE, waits).await.unwrap().unwrap()[..], [Reply::Published { .. }]));
    assert_eq!(*process.tasks.failure().borrow(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_or_version_is_named_on_both_sides() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let error = refusal(ClientSettings { lineage: Some(Lineage(2)), ..server.settings() }).await;
    let words = format!("this is lineage {}, the client expects {}", Lineage(1), Lineage(2));
    assert!(matches!(&error, Error::Refused { cause, .. } if *cause == words), "{error}");
    let raw = Raw::connect(server.address).await;
    let newer = raw.hello(Hello { version: 3, ..Hello::good(1) }).await.unwrap_err();
    assert_eq!(newer.code(), Code::FailedPrecondition);
    assert_eq!(newer.message(), "this side speaks version 2 of the link, the client 3");
    let older = raw.hello(Hello { level: 0, ..Hello::good(1) }).await.unwrap_err();
    assert_eq!(older.message(), "the cluster is at feature level 1, the client knows up to 0");
    let short = raw.hello(Hello { incarnation: vec![1; 3].into(), ..Hello::good(1) }).await.unwrap_err();
    assert_eq!(short.message(), "incarnation has 3 bytes");
    let long = raw.hello(Hello { name: "x".repeat(100_000), ..Hello::good(1) }).await.unwrap_err();
    assert_eq!(long.code(), Code::OutOfRange, "a stranger's message has a small cap");
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_handshake_nothing_is_served() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let raw = Raw::connect(server.address).await;
    for method in [PROPOSE, ASK, NOTIFY] {
        let refused = raw.stream::<Many, Outcomes>(method).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "no handshake on this connection"));
    }
    assert_eq!(*server.proposed.borrow(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_allowed_is_refused_before_its_body_is_there() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let raw = Raw::connect(server.address).await;
    // Larger than the window of a stream, and never whole: an answer to all of it would never come.
    let endless = || {
        let large = Many { ids: Vec::new(), bodies: vec![vec![0; 8 << 20].into()] };
        stream::iter([large]).chain(stream::pending())
    };
    let refused = async |method| {
        let refused = timeout(PATIENCE, raw.open::<Many, Outcomes>(method, endless())).await.unwrap().unwrap_err();
        (refused.code(), refused.message().to_owned())
    };
    for method in [PROPOSE, ASK, NOTIFY, JOIN, PEER_ASK].repeat(3) {
        let words = "no handshake on this connection".to_owned();
        assert_eq!(refused(method).await, (Code::Unauthenticated, words), "{method}");
    }
    // Nothing of them is left on the connection: whoever is known then is welcome, for what its link is for.
    raw.hello(Hello::good(1)).await.unwrap();
    assert_eq!(refused(PEER_ASK).await, (Code::PermissionDenied, "the link is not for this".to_owned()));
    let (send, mut outcomes) = raw.stream::<Many, Outcomes>(PROPOSE).await.unwrap();
    send.send(Many { ids: vec![0], bodies: vec![group("a", &["1"])] }).await.unwrap();
    assert_eq!(timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap().unwrap().outcomes.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_is_cut_off() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    for words in [&b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x00\x00"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 10_000]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        // It may be reset where not everything was read.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    }
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_makes_no_sense_is_answered_alone() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let raw = Raw::welcome(server.address, 1).await;
    let (send, mut outcomes) = raw.stream::<Many, Outcomes>(PROPOSE).await.unwrap();
    let bodies = vec![group("a", &["1"]), vec![0xff; 20].into(), group("a/+", &["2"]), group("a", &["3"])];
    send.send(Many { ids: vec![0, 1, 2, 3], bodies }).await.unwrap();
    let mut all = Vec::new();
    while all.len() < 4 {
        all.extend(timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap().unwrap().outcomes);
    }
    all.sort_by_key(|outcome| outcome.id);
    let stored: Vec<_> = all.iter().map(|outcome| outcome.published.len()).collect();
    assert_eq!(stored, [1, 0, 0, 1]);
    for wrong in &all[1..3] {
        assert_eq!(wrong.failure.as_ref().unwrap().kind, INVALID);
    }
    send.send(Many { ids: vec![4, 5], bodies: vec![group("a", &["4"])] }).await.unwrap();
    let ended = timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::InvalidArgument, "which body is whose cannot be known: {ended}");
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_cap_ends_its_stream_before_it_is_read() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let raw = Raw::welcome(server.address, 1).await;
    let (send, mut outcomes) = raw.stream::<Many, Outcomes>(PROPOSE).await.unwrap();
    send.send(Many { ids: vec![0], bodies: vec![vec![0; 67 << 20].into()] }).await.unwrap();
    let ended = timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::InvalidArgument);
    assert!(ended.message().contains("too large"), "{ended}");
    serves(&server).await;
    // A client of ours does not send it at all.
    let process = process();
    let client = client(server.settings(), 2, &process).await;
    let large = "x".repeat(66 << 20);
    let error = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, &large)]).await.unwrap_err();
    assert_eq!(error.kind, causeway_model::Kind::TooLarge);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_answers_is_asked_no_further_and_others_are_served() {
    const QUERIES: u64 = 3000;
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let large = "x".repeat(1 << 20);
    let replies = server.local.propose(SHARD, vec![message("t", Qos::AtLeastOnce, &large)]).await.unwrap();
    let [Reply::Published { position }] = replies[..] else { unreachable!() };
    let raw = Raw::welcome(server.address, 1).await;
    // Three gibibytes of answers, none of which is read.
    let queries = (0..QUERIES).map(move |id| Many { ids: vec![id], bodies: vec![fetch(position.0)] });
    let _answers = raw.open::<Many, Outcomes>(ASK, stream::iter(queries)).await.unwrap();
    // So are frames.
    let start = stream::iter([Start { start: Some(bytes::Bytes::new()), wants: None }]);
    let _events = raw.open::<Start, Outcomes>(NOTIFY, start).await.unwrap();
    timeout(PATIENCE, server.fetched.clone().wait_for(|count| *count > 0)).await.unwrap().unwrap();
    let process = process();
    let client = client(server.settings(), 2, &process).await;
    for n in 0..300 {
        let replies = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, &n.to_string())]);
        timeout(PATIENCE, replies).await.unwrap().unwrap();
    }
    assert!(timeout(PATIENCE, client.status(SHARD)).await.unwrap().is_ok());
    let asked = *server.fetched.borrow();
    assert!(asked < 400, "{asked} of {QUERIES} answers were made for nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_link_of_an_incarnation_ends_the_older_before_it_is_answered() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let old = Raw::welcome(server.address, 7).await;
    let (send, mut outcomes) = old.stream::<Many, Outcomes>(PROPOSE).await.unwrap();
    send.send(Many { ids: vec![0], bodies: vec![group("a", &["1"])] }).await.unwrap();
    assert_eq!(timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap().unwrap().outcomes.len(), 1);
    let other = Raw::welcome(server.address, 8).await;
    let _new = Raw::welcome(server.address, 7).await;
    // Whether or not it still gets out, it is not done.
    let _ = send.send(Many { ids: vec![1], bodies: vec![group("a", &["late"])] }).await;
    let ended = timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Aborted);
    let (send, mut outcomes) = other.stream::<Many, Outcomes>(PROPOSE).await.unwrap();
    send.send(Many { ids: vec![0], bodies: vec![group("a", &["2"])] }).await.unwrap();
    assert_eq!(timeout(PATIENCE, outcomes.message()).await.unwrap().unwrap().unwrap().outcomes.len(), 1);
    assert_eq!(*server.proposed.borrow(), 2, "the late one never came to the broker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_limit_of_connections_a_newcomer_is_closed_unread() {
    let server = Server::start(&Memory::new(1), &ServerSettings { max_connections: 1, ..server_settings() }).await;
    let first = Raw::welcome(server.address, 1).await;
    let mut second = TcpStream::connect(server.address).await.unwrap();
    let end = timeout(PATIENCE, second.read(&mut [0; 10])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    drop(first);
    // There is room again once the server has seen that the first is gone.
    serves(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nobody_listens_a_client_goes_on_trying_until_the_process_ends() {
    let unused = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], 1))).await;
    assert!(unused.is_err(), "nothing listens there");
    let process = process();
    let settings = ClientSettings { brokers: vec!["127.0.0.1:1".into()], ..ClientSettings::default() };
    let drain = process.drain.clone();
    let connecting = connect(settings, identity(1), &process.tasks);
    let (outcome, ()) = futures_util::join!(connecting, async {
        tokio::task::yield_now().await;
        drain.begin();
    });
    assert!(matches!(outcome.unwrap_err(), Error::Draining));
    let none = connect(ClientSettings::default(), identity(1), &process.tasks).await.unwrap_err();
    assert_eq!(none.to_string(), "link settings: link.brokers: at least one is needed");
}
