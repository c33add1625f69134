//! What people see of a link's two sides.

use std::time::Duration;

use causeway_compute::listener::Listener;
use causeway_compute::port::Broker;
use causeway_compute::process::Process;
use causeway_link::{ClientMetrics, ClientSettings, ServerSettings, connect};
use causeway_local::memory::Memory;
use causeway_model::{Lineage, Qos, ShardId};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::raw::{Hello, Raw};
use crate::restart::{message, up};
use crate::world::{PATIENCE, Server, client, identity, process, server_settings};

const SHARD: ShardId = ShardId(0);

/// A series of a process, as it is scraped.
pub(crate) fn shown(process: &Process, series: &str) -> Option<i64> {
    let text = prometheus::TextEncoder::new().encode_to_string(&process.registry.gather()).unwrap();
    let name = format!("causeway_link_{series} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
}

/// Waits for what other tasks have yet to show.
pub(crate) async fn until(what: &str, shows: impl Fn() -> bool) {
    let polls = async {
        while !shows() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(timeout(PATIENCE, polls).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_its_link_what_waits_for_it_and_why_it_could_not_be_made() {
    let memory = Memory::new(1);
    let guarded = ServerSettings { token: Some("secret".into()), ..server_settings() };
    let server = Server::start(&memory, &guarded).await;
    let process = process();
    let metrics = Some(ClientMetrics::register(&process.registry).unwrap());
    let shows = |series: &str| shown(&process, series).unwrap();
    let wrong = ClientSettings { token: Some("guess".into()), metrics: metrics.clone(), ..server.settings() };
    timeout(PATIENCE, connect(wrong, identity(1), &process.tasks)).await.unwrap().unwrap_err();
    assert_eq!(shows("dial_failures_total{cause=\"refused\"}"), 1);
    // Nobody listens there any more.
    let nobody = Listener::bind(server_settings().bind).unwrap().address().to_string();
    let brokers = vec![nobody, server.address.to_string()];
    let settings = ClientSettings { brokers, token: Some("secret".into()), metrics, ..ClientSettings::default() };
    let client = client(settings, 1, &process).await;
    up(&client, true).await;
    assert_eq!(shows("dial_failures_total{cause=\"unreached\"}"), 1);
    assert_eq!((shows("up"), shows("made_total"), shows("lost_total")), (1, 1, 0));
    let address = server.address;
    server.stop().await;
    up(&client, false).await;
    until("the link is lost", || (shows("up"), shows("lost_total")) == (0, 1)).await;
    let waits = client.propose(SHARD, vec![message("a", Qos::AtLeastOnce, "x")]);
    assert_eq!(shows("waiting_calls{kind=\"proposal\"}"), 1);
    assert!(shows("waiting_bytes{kind=\"proposal\"}") > 0);
    let asks = client.session(SHARD, causeway_model::Sid { home: SHARD, position: causeway_model::Position(1) });
    assert_eq!(shows("waiting_calls{kind=\"query\"}"), 1);
    let _server = Server::start(&memory, &ServerSettings { bind: address, ..guarded }).await;
    timeout(PATIENCE, waits).await.unwrap().unwrap();
    let _ = timeout(PATIENCE, asks).await.unwrap();
    for series in ["waiting_calls", "waiting_bytes"] {
        for kind in ["proposal", "query"] {
            assert_eq!(shows(&format!("{series}{{kind={kind:?}}}")), 0, "{series} {kind}");
        }
    }
    assert_eq!((shows("up"), shows("made_total"), shows("lost_total")), (1, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_shows_who_is_there_how_far_they_are_and_whom_it_refused() {
    let settings = ServerSettings { max_connections: 2, ..server_settings() };
    let server = Server::start(&Memory::new(1), &settings).await;
    let shows = |series: &str| shown(&server.process, series);
    let process = process();
    let wrong = ClientSettings { lineage: Some(Lineage(2)), ..server.settings() };
    timeout(PATIENCE, connect(wrong, identity(9), &process.tasks)).await.unwrap().unwrap_err();
    {
        let raw = Raw::connect(server.address).await;
        raw.hello(Hello { version: 3, ..Hello::good(1) }).await.unwrap_err();
        raw.hello(Hello { level: 0, ..Hello::good(1) }).await.unwrap_err();
        raw.hello(Hello { incarnation: vec![1; 3].into(), ..Hello::good(1) }).await.unwrap_err();
    }
    for (cause, count) in [("token", 0), ("version", 1), ("level", 1), ("lineage", 1), ("too_many", 0), ("other", 1)] {
        assert_eq!(shows(&format!("server_refusals_total{{cause={cause:?}}}")), Some(count), "{cause}");
    }
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&[0xff; 100]).await.unwrap();
    }
    until("who speaks another protocol is counted, and who was refused is not again", || {
        shows("server_refusals_total{cause=\"no_handshake\"}") == Some(1)
    })
    .await;
    until("strangers are gone", || shows("server_connections_open") == Some(0)).await;

    let client = client(server.settings(), 1, &process).await;
    let mut frames = client.notify(SHARD);
    client.propose(SHARD, vec![message("a", Qos::AtLeastOnce, "x")]).await.unwrap();
    timeout(PATIENCE, frames.recv()).await.unwrap().unwrap();
    let links = "server_links{gateway=\"gateway 1\"}";
    let behind = "server_behind_bytes{gateway=\"gateway 1\"}";
    assert_eq!((shows(links), shows("server_connections_open")), (Some(1), Some(1)));
    assert!(shows("server_frames_total") > Some(0));
    until("nothing is left to be said", || shows(behind) == Some(0)).await;

    let _second = TcpStream::connect(server.address).await.unwrap();
    let third = TcpStream::connect(server.address).await.unwrap();
    until("one too many", || shows("server_refusals_total{cause=\"too_many\"}") >= Some(1)).await;
    drop((client, frames, third));
    until("it is gone", || (shows(links), shows(behind)) == (None, None)).await;
}
