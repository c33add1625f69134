//! Over a real socket on loopback, as a probe sees it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::double::process;
use crate::task::Kind;

struct Answer {
    status: u16,
    body: String,
}

async fn request(address: SocketAddr, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, body: body.to_owned() }
}

fn serve(process: &Process, routes: Router) -> SocketAddr {
    let settings = Settings { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), token_file: None };
    let admin = Admin::bind(&settings).unwrap();
    let address = admin.address();
    admin.serve(process, routes);
    address
}

#[tokio::test]
async fn probes_follow_start_drain_and_end() {
    let process = process();
    let address = serve(&process, Router::new());
    let starting = request(address, "/readyz").await;
    assert_eq!((starting.status, starting.body.as_str()), (503, r#"{"error":"starting"}"#));
    assert_eq!(request(address, "/healthz").await.status, 200);
    process.health.started();
    assert_eq!(request(address, "/readyz").await.status, 200);
    process.drain.begin();
    let draining = request(address, "/readyz").await;
    assert_eq!((draining.status, draining.body.as_str()), (503, r#"{"error":"draining"}"#));
    assert_eq!(request(address, "/healthz").await.status, 200);
    process.finish(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_task_that_the_process_cannot_do_without_makes_it_unhealthy_with_the_cause() {
    let process = process();
    let address = serve(&process, Router::new());
    process.health.started();
    let mut failure = process.tasks.failure();
    process.tasks.spawn(Kind::Dispatch, async { panic!("table torn") });
    failure.changed().await.unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = request(address, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"error":"dispatch task panicked: table torn"}"#));
    }
}

#[tokio::test]
async fn metrics_are_those_of_the_process_and_the_hosts_routes_are_there() {
    let process = process();
    process.metrics.listeners.of("mqtt").accepted.inc_by(3);
    let routes = Router::new().route("/queues", get(async || Json(["a", "b"])));
    let address = serve(&process, routes);
    let metrics = request(address, "/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("causeway_connections_accepted_total{protocol=\"mqtt\"} 3\n"), "{}", metrics.body);
    assert!(metrics.body.contains("causeway_task_panics_total{kind=\"dispatch\"} 0\n"));
    let names = metrics.body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    assert!(names.clone().count() > 10 && names.clone().all(|name| name.starts_with("causeway_")));
    assert_eq!(request(address, "/queues").await.body, r#"["a","b"]"#);
    let missing = request(address, "/nothing").await;
    assert_eq!((missing.status, missing.body.as_str()), (404, r#"{"error":"no such path"}"#));
}

#[test]
fn it_listens_on_loopback_unless_told_otherwise() {
    assert!(Settings::default().bind.ip().is_loopback());
}
