//! The management API of a real broker, as scripts, people and strangers meet it.

#[path = "api/http.rs"]
mod http;
#[path = "api/schema.rs"]
mod schema;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use causeway_mqtt::codec::{Qos, Reason};
use causeway_tests::client::{Client, persistent, volatile};
use causeway_tests::process::{self, Broker};
use causeway_tests::system::System;
use http::{Answer, ask, get};
use serde_json::{Value, json};

/// Long enough for any machine: only a broken build waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

fn broker() -> (tempfile::TempDir, Broker) {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    (data, broker)
}

/// A broker that wants a token, and the file that holds it.
fn guarded(data: &Path) -> (Broker, std::path::PathBuf) {
    let (file, settings) = (data.join("token"), data.join("broker.toml"));
    std::fs::write(&file, "a-token-of-many-letters\n").unwrap();
    std::fs::write(&settings, format!("[admin]\ntoken_file = '{}'\n", file.display())).unwrap();
    (Broker::start_with(data, &["--config", settings.to_str().unwrap()]).unwrap(), file)
}

fn publish(client: &mut Client, topic: &str, bodies: &[&'static str]) {
    for body in bodies {
        assert_eq!(client.publish(topic, *body, 1).unwrap(), Reason::Success);
    }
}

/// Asks until it is so.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not so after a minute");
        std::thread::yield_now();
    }
}

/// Asks everything that the document describes of a process, and holds the answers against it.
fn ask_everything(admin: SocketAddr, mqtt: SocketAddr, lists_queues: bool) {
    let (mut dash, _) = Client::connect(mqtt, persistent("dash")).unwrap();
    dash.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();
    dash.subscribe("plant/7/temp", Qos::AtMostOnce).unwrap();
    let (mut sensor, _) = Client::connect(mqtt, volatile("sen/sor é")).unwrap();
    publish(&mut sensor, "plant/7/temp", &["21.5", "21.6", "21.7"]);

    let served: Value = get(admin, "/api/v1/openapi.json").json(200);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    assert_eq!(served, serde_json::from_slice::<Value>(&std::fs::read(committed).unwrap()).unwrap());

    let document = schema::Document::new(served);
    let mut left: BTreeSet<(String, String)> = document.operations();
    let calls = [
        ("GET", "/healthz", "/healthz", 200),
        ("GET", "/readyz", "/readyz", 200),
        ("GET", "/metrics", "/metrics", 200),
        ("GET", "/api/v1/openapi.json", "/api/v1/openapi.json", 200),
        ("GET", "/api/v1/cluster", "/api/v1/cluster", 200),
        ("GET", "/api/v1/gateways", "/api/v1/gateways", 200),
        ("GET", "/api/v1/shards", "/api/v1/shards", 200),
        ("GET", "/api/v1/queue", "/api/v1/queue?filter=plant/7/temp", 200),
        ("GET", "/api/v1/queue", "/api/v1/queue?filter=plant/%2B/temp&limit=1&after=0&namespace=", 200),
        ("GET", "/api/v1/queue", "/api/v1/queue?filter=%23", 200),
        ("GET", "/api/v1/queues", "/api/v1/queues", if lists_queues { 200 } else { 501 }),
        ("GET", "/api/v1/clients", "/api/v1/clients?limit=1", 200),
        ("GET", "/api/v1/clients/{client}", "/api/v1/clients/dash", 200),
        ("GET", "/api/v1/clients/{client}", "/api/v1/clients/nobody", 200),
        ("GET", "/api/v1/clients/{client}", "/api/v1/clients/sen%2Fsor%20%C3%A9", 200),
        ("GET", "/api/v1/sessions/{client}", "/api/v1/sessions/dash", 200),
        ("GET", "/api/v1/sessions/{client}", "/api/v1/sessions/sen%2Fsor%20%C3%A9", 200),
        ("GET", "/api/v1/sessions/{client}", "/api/v1/sessions/nobody", 404),
        ("GET", "/api/v1/sessions/{client}", "/api/v1/sessions/dash?namespace=other", 404),
        ("DELETE", "/api/v1/clients/{client}", "/api/v1/clients/nobody", 404),
        ("DELETE", "/api/v1/clients/{client}", "/api/v1/clients/dash?namespace=other", 404),
        ("DELETE", "/api/v1/clients/{client}", "/api/v1/clients/dash", 202),
        ("GET", "/api/v1/drain", "/api/v1/drain", 200),
        ("POST", "/api/v1/drain", "/api/v1/drain", 202),
    ];
    for (method, template, path, status) in calls {
        let answer = ask(admin, method, path, &[], b"");
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        document.check(method, template, &answer);
        left.remove(&(method.to_lowercase(), template.to_owned()));
    }
    assert!(left.is_empty(), "not asked: {left:?}");
}

#[test]
fn every_operation_of_the_document_answers_on_a_broker_as_its_schema_says() {
    let (_data, broker) = broker();
    ask_everything(broker.admin, broker.mqtt, true);
}

#[test]
fn every_operation_of_the_document_answers_on_a_gateway_as_its_schema_says() {
    let system = System::start(1, "10s").unwrap();
    let gateway = system.gateway(0).unwrap();
    ask_everything(gateway.admin().unwrap(), gateway.mqtt().unwrap(), false);
}

/// Design §7: asked of any gateway or broker.
#[test]
fn a_client_is_found_and_kicked_from_everywhere() {
    let system = System::start(2, "10s").unwrap();
    let at = system.gateway(1).unwrap();
    let everybody = [system.broker().unwrap(), system.gateway(0).unwrap(), at].map(|process| process.admin().unwrap());
    let names = |admin| {
        let all = get(admin, "/api/v1/gateways").json(200)["gateways"].as_array().unwrap().clone();
        let members = all.into_iter().filter(|gateway| gateway["member"] == json!(true));
        members.map(|gateway| gateway["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    for admin in everybody {
        eventually("all gateways are in the map", || {
            names(admin).is_superset(&BTreeSet::from(["gw-a".into(), "gw-b".into()]))
        });
        let (mut dash, _) = Client::connect(at.mqtt().unwrap(), persistent("dash")).unwrap();
        let mut found = Value::Null;
        // A map that has just changed may not have come everywhere.
        eventually("the client is found", || {
            found = get(admin, "/api/v1/clients/dash").json(200);
            found["state"] == "online"
        });
        assert_eq!(
            (&found["gateway"]["name"], &found["connection"]["client"]),
            (&json!("gw-b"), &json!("dash")),
            "{found}"
        );
        assert_eq!(ask(admin, "DELETE", "/api/v1/clients/dash", &[], b"").json(202)["gateway"]["name"], json!("gw-b"));
        assert!(dash.incoming().unwrap().is_none(), "its connection is closed");
        eventually("the client is offline", || get(admin, "/api/v1/clients/dash").json(200)["state"] == "offline");
        assert_eq!(get(admin, "/api/v1/clients/nobody").json(200), json!({"state": "offline"}));
    }
}

#[test]
fn a_broker_tells_of_itself_its_shards_and_its_queues() {
    let (_data, broker) = broker();
    let (mut sensor, _) = Client::connect(broker.mqtt, volatile("sensor")).unwrap();
    publish(&mut sensor, "plant/7/temp", &["21.5", "21.6", "21.7"]);

    let cluster = get(broker.admin, "/api/v1/cluster").json(200);
    assert_eq!((&cluster["shards"], &cluster["process"]["kind"]), (&json!(1), &json!("broker")));
    let me = &cluster["process"]["incarnation"];
    let gateways = get(broker.admin, "/api/v1/gateways").json(200);
    let this: Vec<_> = gateways["gateways"].as_array().unwrap().iter().filter(|g| g["this"] == json!(true)).collect();
    assert_eq!(this.len(), 1, "{gateways}");
    assert_eq!((&this[0]["incarnation"], &this[0]["log"]), (me, &json!("joined")), "{gateways}");

    let shards = get(broker.admin, "/api/v1/shards").json(200);
    let shard = &shards["shards"][0];
    assert_eq!((&shard["shard"], &shard["leader"]), (&json!(0), &json!(true)), "{shards}");
    assert!(
        shard["applied"].as_u64() <= shard["durable"].as_u64() && shard["first"].as_u64() < shard["applied"].as_u64()
    );

    // Three pages of one, each after the last, then none.
    let (mut texts, mut after) = (Vec::new(), 0);
    loop {
        let page = get(broker.admin, &format!("/api/v1/queue?filter=plant/7/temp&limit=1&after={after}")).json(200);
        let shard = &page["shards"][0];
        for entry in shard["entries"].as_array().unwrap() {
            texts.push(entry["message"]["text"].as_str().unwrap().to_owned());
        }
        match shard["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(texts, ["21.5", "21.6", "21.7"]);
    let queues = get(broker.admin, "/api/v1/queues?scan=1000000").json(200);
    assert_eq!(queues["light"][0]["topic"], json!("plant/7/temp"), "{queues}");
    assert_eq!(queues["light"][0]["messages"], json!(3), "{queues}");
}

#[test]
fn a_client_is_found_kicked_and_its_session_outlives_it() {
    let (_data, broker) = broker();
    let (mut dash, _) = Client::connect(broker.mqtt, persistent("dash")).unwrap();
    dash.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();

    let found = get(broker.admin, "/api/v1/clients/dash").json(200);
    assert_eq!((&found["state"], &found["connection"]["client"]), (&json!("online"), &json!("dash")), "{found}");
    let cluster = get(broker.admin, "/api/v1/cluster").json(200);
    assert_eq!(found["gateway"]["incarnation"], cluster["process"]["incarnation"]);
    let session = get(broker.admin, "/api/v1/sessions/dash").json(200);
    assert_eq!((&session["connected"], &session["persistent"]), (&json!(true), &json!(true)), "{session}");
    assert_eq!(session["sid"], found["connection"]["session"], "{session}");
    assert_eq!(session["subscriptions"][0]["filter"], json!("plant/+/temp"), "{session}");
    assert_eq!(session["lanes"].as_array().unwrap().len(), 1, "{session}");

    assert_eq!(ask(broker.admin, "DELETE", "/api/v1/clients/dash", &[], b"").status, 202);
    assert!(dash.incoming().unwrap().is_none(), "its connection is closed");
    eventually("the client is offline", || get(broker.admin, "/api/v1/clients/dash").json(200)["state"] == "offline");
    eventually("its session says so", || {
        let session = get(broker.admin, "/api/v1/sessions/dash").json(200);
        session["connected"] == json!(false) && session["disconnected_ms"].is_u64() && session["closed"] == "server"
    });
    assert_eq!(ask(broker.admin, "DELETE", "/api/v1/clients/dash", &[], b"").status, 404);
}

#[test]
fn a_page_of_clients_goes_on_where_the_last_one_ended() {
    let (_data, broker) = broker();
    let clients: Vec<_> = (0..7).map(|n| Client::connect(broker.mqtt, volatile(&format!("c{n}"))).unwrap().0).collect();
    let (mut seen, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = get(broker.admin, &format!("/api/v1/clients?limit=3{after}")).json(200);
        assert_eq!(page["online"], json!(clients.len()));
        let names = page["clients"].as_array().unwrap().iter().map(|c| c["client"].as_str().unwrap().to_owned());
        for name in names {
            assert!(seen.insert(name.clone()), "{name} twice");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
}

#[test]
fn a_bad_question_is_an_error_in_json_and_harms_nobody() {
    let (_data, broker) = broker();
    let long = "x".repeat(20_000);
    for (method, path, status) in [
        ("GET", "/api/v1/queue", 400),
        ("GET", "/api/v1/queue?filter=a/%23/b", 400),
        ("GET", "/api/v1/queue?filter=a&limit=0", 400),
        ("GET", "/api/v1/queue?filter=a&limit=1001", 400),
        ("GET", "/api/v1/queue?filter=a&after=-1", 400),
        ("GET", "/api/v1/queue?filter=a&unknown=1", 400),
        ("GET", "/api/v1/queue?filter=a&namespace=%00", 400),
        ("GET", "/api/v1/queues?scan=many", 400),
        ("GET", "/api/v1/clients?after=zz", 400),
        ("GET", "/api/v1/clients/%FF%FE", 400),
        ("GET", "/api/v1/clients/a%00", 400),
        ("GET", "/api/v1/clients/a?limit=1", 400),
        ("DELETE", "/api/v1/clients/a?force=1", 400),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/api/v1/clients", 405),
        ("PUT", "/api/v1/drain", 405),
        ("BREW", "/metrics", 405),
    ] {
        let error = ask(broker.admin, method, path, &[], b"").json(status);
        assert!(error["error"].is_string() && error.as_object().unwrap().len() == 1, "{method} {path}: {error}");
    }
    // A name over every limit does not fit in a request line.
    assert!([414, 431].contains(&get(broker.admin, &format!("/api/v1/clients/{long}")).status));
    assert_eq!(ask(broker.admin, "GET", "/healthz", &[("x-long", &long)], b"").status, 431);
    let body = ask(broker.admin, "POST", "/api/v1/drain", &[], &vec![b'x'; 65_537]);
    assert_eq!(body.status, 413, "{}", body.body);
    assert_eq!(get(broker.admin, "/readyz").status, 200);
}

#[test]
fn with_a_token_nothing_but_the_probes_is_told_without_it() {
    let data = tempfile::tempdir().unwrap();
    let (broker, file) = guarded(data.path());
    let with = |token: &str, path: &str| {
        ask(broker.admin, "GET", path, &[("authorization", &format!("Bearer {token}"))], b"").status
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(broker.admin, path).status, 200, "{path}");
    }
    for path in ["/metrics", "/api/v1/cluster", "/api/v1/openapi.json", "/api/v1/nothing", "/"] {
        let refused = get(broker.admin, path);
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.head.to_lowercase().contains("\r\nwww-authenticate: bearer\r\n"), "{}", refused.head);
        assert!(refused.json(401)["error"].is_string());
        for wrong in ["", "a-token-of-many-letter", "a-token-of-many-letters2", "A-token-of-many-letters"] {
            assert_eq!(with(wrong, path), 401, "{path} with {wrong:?}");
        }
    }
    for method in ["POST", "DELETE"] {
        assert_eq!(ask(broker.admin, method, "/api/v1/drain", &[], b"").status, 401);
    }
    assert_eq!(with("a-token-of-many-letters", "/metrics"), 200);
    assert_eq!(with("a-token-of-many-letters", "/api/v1/cluster"), 200);
    assert_eq!(get(broker.admin, "/readyz").status, 200, "it was not drained");

    // The command line knows it too.
    let tool = |arguments: &[&str]| {
        let admin = broker.admin.to_string();
        let mut command = Command::new(process::binary().unwrap());
        command.args(["queue", "list", "--admin", &admin]).args(arguments).output().unwrap()
    };
    let (without, shown) = (tool(&[]), tool(&["--token-file", file.to_str().unwrap()]));
    assert!(!without.status.success());
    assert!(String::from_utf8_lossy(&without.stderr).contains("--token-file"), "{without:?}");
    assert!(shown.status.success(), "{shown:?}");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("topics in the log"), "{shown:?}");
}

#[test]
fn off_loopback_a_token_is_asked_for_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let start = |settings: &str| {
        let file = data.path().join("broker.toml");
        std::fs::write(&file, settings).unwrap();
        Command::new(process::binary().unwrap()).args(["--check", "--config"]).arg(&file).output().unwrap()
    };
    let bare = start("[admin]\nbind = '0.0.0.0:0'\n");
    assert!(!bare.status.success() && String::from_utf8_lossy(&bare.stderr).contains("admin.token_file"), "{bare:?}");
    let token = data.path().join("token");
    let named = format!("[admin]\nbind = '0.0.0.0:0'\ntoken_file = '{}'\n", token.display());
    for bad in [None, Some(""), Some("short"), Some("two words are no token at all")] {
        if let Some(text) = bad {
            std::fs::write(&token, text).unwrap();
        }
        let refused = start(&named);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains("admin.token_file"), "{bad:?}: {told}");
    }
    std::fs::write(&token, "a-token-of-many-letters").unwrap();
    assert!(start(&named).status.success());
}

#[test]
fn a_page_of_somebody_else_gets_nothing_from_a_browser_on_this_machine() {
    let (_data, broker) = broker();
    let status = |method: &str, headers: &[(&str, &str)]| {
        let answer = ask(broker.admin, method, "/api/v1/drain", headers, b"");
        assert!(!answer.head.to_lowercase().contains("access-control-"), "{}", answer.head);
        answer.status
    };
    let own = broker.admin.to_string();
    // Its name points here (DNS rebinding).
    assert_eq!(status("POST", &[("host", "evil.example:9600")]), 421);
    assert_eq!(status("GET", &[("host", "evil.example")]), 421);
    // It posts here from where it is: no preflight is needed for that.
    assert_eq!(status("POST", &[("host", &own), ("origin", "http://evil.example")]), 403);
    assert_eq!(status("POST", &[("host", &own), ("origin", "null")]), 403);
    assert_eq!(status("GET", &[("host", &own), ("sec-fetch-site", "cross-site")]), 403);
    assert_eq!(status("OPTIONS", &[("host", &own), ("origin", "http://evil.example")]), 403);
    assert_eq!(get(broker.admin, "/readyz").status, 200, "it was not drained");
    // The console of this very process may.
    assert_eq!(status("GET", &[("host", &own), ("origin", &format!("http://{own}"))]), 200);
}

#[test]
fn who_is_slow_or_silent_is_cut_and_keeps_nobody_out() {
    let (_data, broker) = broker();
    let connect = || {
        let stream = TcpStream::connect(broker.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let mut slow = connect();
    slow.write_all(b"GET /readyz HTTP/1.1\r\nhost: loc").unwrap();
    let mut silent: Vec<_> = (0..300).map(|_| connect()).collect();
    // All places are taken: the next one is closed at once, and that is counted once there is room again.
    let mut one_more = connect();
    let _ = one_more.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    let _ = one_more.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    // MQTT is another door.
    Client::connect(broker.mqtt, volatile("dev")).unwrap();
    // Each is cut by the server, though nobody here closes anything.
    for stream in silent.iter_mut().chain([&mut slow]) {
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
    eventually("it answers again", || {
        http::try_get(broker.admin, "/readyz").is_some_and(|answer| answer.status == 200)
    });
    let metrics = get(broker.admin, "/metrics");
    let refused = metrics
        .body
        .lines()
        .find_map(|line| line.strip_prefix("causeway_connections_refused_total{protocol=\"admin\"} "));
    assert!(refused.unwrap().parse::<f64>().unwrap() >= 46.0, "{refused:?}");
}

#[test]
fn a_drain_that_was_asked_for_ends_the_process_as_a_signal_does() {
    let (_data, broker) = broker();
    let (mut dev, _) = Client::connect(broker.mqtt, volatile("dev")).unwrap();
    assert_eq!(get(broker.admin, "/api/v1/drain").json(200), json!({"state": "serving", "clients": 1}));
    let begun: Answer = ask(broker.admin, "POST", "/api/v1/drain", &[], b"");
    assert_eq!(begun.json(202)["state"], json!("draining"));
    while dev.incoming().is_ok_and(|packet| packet.is_some()) {}
    assert!(broker.wait().unwrap().success());
}
