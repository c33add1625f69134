//! The document against what is served, over a real socket on loopback, in a process that is starting. What a running
//! one answers is tested on the real binaries (`tests/tests/api.rs`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_compute::admin::{Admin, Settings};
use causeway_compute::port;
use causeway_model::{Kind, ShardId};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use axum::response::IntoResponse;

use super::*;

struct Bench {
    process: Process,
    admin: SocketAddr,
}

fn starting() -> Bench {
    let process = Process::new(prometheus::Registry::new()).unwrap();
    let settings = Settings { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Settings::default() };
    let admin = Admin::bind(&settings).unwrap();
    let bench = Bench { process: process.clone(), admin: admin.address() };
    let api = Api::new(Host { kind: ProcessKind::Gateway, version: "1.2.3", process, listing: None });
    admin.serve(&bench.process, api.routes());
    bench
}

impl Bench {
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the document in the sources, not data")]
fn openapi_json_in_docs_is_the_document_of_these_handlers() {
    let file = root().join("docs/openapi.json");
    let made = format!("{}\n", document().to_pretty_json().unwrap());
    if std::env::var_os("CAUSEWAY_WRITE_OPENAPI").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == made,
        "docs/openapi.json is not what the handlers say. Write it anew, look at the difference and commit it:\n  \
         CAUSEWAY_WRITE_OPENAPI=1 cargo test -p causeway-gateway openapi && git diff docs/openapi.json"
    );
}

#[tokio::test]
async fn every_path_and_method_of_the_document_is_routed_and_no_other_method_is() {
    let document: Value = serde_json::to_value(document()).unwrap();
    let bench = starting();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let at = path.replace("{client}", "dev");
        for method in ["get", "post", "put", "delete", "patch"] {
            let documented = item.get(method).is_some();
            // It would end what the others are asked of.
            if (path.as_str(), method) == ("/api/v1/drain", "post") {
                assert!(documented);
                continue;
            }
            let (status, body) = bench.ask(&method.to_uppercase(), &at).await;
            assert_eq!(status == 405, !documented, "{method} {path}: {status} {body}");
            assert_ne!(status, 404, "{method} {path}: {body}");
            if status >= 400 {
                let error: Value = serde_json::from_str(&body).unwrap();
                assert!(error["error"].is_string() && error.as_object().unwrap().len() == 1, "{method} {path}: {body}");
            }
            asked += usize::from(documented);
        }
    }
    assert!(asked >= 12, "the document has {asked} operations only");
    for path in ["/", "/api", "/api/v1", "/api/v1/", "/api/v2/cluster", "/api/v1/clients/a/b", "/api/v1/cluster/"] {
        assert_eq!(bench.ask("GET", path).await.0, 404, "{path}");
    }
    bench.process.finish(Duration::from_secs(20)).await;
}

/// Every route of a process is in the document because nothing is routed but by it: the only paths that a source names
/// itself are those that `document::beside` adds.
#[test]
fn nothing_is_routed_beside_the_document() {
    let mut found = Vec::new();
    let mut todo = vec![root().join("gateway"), root().join("broker")];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_name().is_some_and(|name| name == "tests.rs" || name == "tests");
            if path.is_dir() && !is_test {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                let text = std::fs::read_to_string(&path).unwrap();
                let served = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let routed = served
                    .split(".route")
                    .skip(1)
                    .filter(|rest| ["(", "_service("].iter().any(|call| rest.starts_with(call)));
                let named = |rest: &str| rest.split(['(', ',']).nth(1).unwrap_or_default().trim().to_owned();
                found.extend(routed.map(named));
            }
        }
    }
    found.sort();
    assert_eq!(found, ["\"/healthz\"", "\"/metrics\"", "\"/readyz\"", "PLACE"]);
    let document: Value = serde_json::to_value(document()).unwrap();
    for path in ["/healthz", "/metrics", "/readyz", "/api/v1/openapi.json"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
}

#[tokio::test]
async fn a_process_that_starts_says_so_and_can_be_drained() {
    let bench = starting();
    for path in ["cluster", "gateways", "shards", "queue?filter=a", "clients", "clients/a", "sessions/a"] {
        let (status, body) = bench.ask("GET", &format!("/api/v1/{path}")).await;
        assert_eq!((status, body.as_str()), (503, r#"{"error":"starting"}"#), "{path}");
    }
    assert_eq!(bench.ask("DELETE", "/api/v1/clients/a").await.0, 503);
    assert_eq!(bench.ask("GET", "/api/v1/queues").await.0, 501);
    let state = bench.ask("GET", "/api/v1/drain").await;
    assert!(state.1.contains(r#""state":"starting""#), "{state:?}");
    assert!(!bench.process.drain.has_begun());
    let state = bench.ask("POST", "/api/v1/drain").await;
    assert!(state.0 == 202 && state.1.contains(r#""state":"draining""#), "{state:?}");
    assert!(bench.process.drain.has_begun());
    bench.process.finish(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn what_a_question_gets_wrong_is_named_before_anything_is_asked() {
    let bench = starting();
    let long = "x".repeat(300);
    for (path, names) in [
        ("queue".to_owned(), "filter"),
        ("queue?filter=a/%23/b".to_owned(), "filter"),
        ("queue?filter=a&limit=0".to_owned(), "limit"),
        ("queue?filter=a&limit=1001".to_owned(), "limit"),
        ("queue?filter=a&limit=-1".to_owned(), "limit"),
        ("queue?filter=a&after=x".to_owned(), "after"),
        ("queue?filter=a&filter=b".to_owned(), "filter"),
        ("queue?filter=a&page=2".to_owned(), "page"),
        ("queue?filter=a&namespace=a%00b".to_owned(), "namespace"),
        ("queues?scan=99999999999".to_owned(), "scan"),
        ("clients?after=1".to_owned(), "after"),
        ("clients?limit=0".to_owned(), "limit"),
        (format!("clients?sort={long}"), "sort"),
        ("clients/a?after=1".to_owned(), "after"),
        ("clients/%FF".to_owned(), "client"),
        ("clients/a%00b".to_owned(), "client"),
        ("sessions/a%00b".to_owned(), "client"),
        ("sessions/a?namespace=a%00b".to_owned(), "namespace"),
    ] {
        let (status, body) = bench.ask("GET", &format!("/api/v1/{path}")).await;
        let error: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 400, "{path}: {body}");
        assert!(error["error"].as_str().unwrap().contains(names), "{path}: {body}");
    }
    bench.process.finish(Duration::from_secs(20)).await;
}

#[test]
fn an_error_of_the_brokers_has_a_status_and_says_when_to_come_back() {
    let answer = |kind| Refused::from(port::Error { operation: "read", shard: ShardId(3), kind }).into_response();
    for (kind, status) in [
        (Kind::Invalid, 400),
        (Kind::NotFound, 404),
        (Kind::Corrupt, 500),
        (Kind::Unsupported, 501),
        (Kind::Unavailable, 503),
        (Kind::NotLeader { hint: None }, 503),
    ] {
        assert_eq!(answer(kind.clone()).status().as_u16(), status, "{kind}");
    }
    let busy = answer(Kind::Busy { retry_after: Duration::from_millis(1200) });
    assert_eq!((busy.status().as_u16(), &busy.headers()["retry-after"]), (503, &"2".parse().unwrap()));
}
