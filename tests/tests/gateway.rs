//! Gateways as processes before a broker that serves no protocol: what the README promises of two of them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_mqtt::codec::{Connect, Holder, Packet, Properties, Property, Publish, Qos, Reason, Version};
use causeway_tests::client::{Client, message, persistent, volatile};
use causeway_tests::daemon::Daemon;
use causeway_tests::system::System;
use serde_json::Value;

/// Not a measure of speed: a hang becomes a failure that says where.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again until the answer is there.
fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = ask().unwrap() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a process's log says of a client's session; `None`: there is none.
fn session(daemon: &Daemon, client: &str) -> Result<Option<Value>> {
    let (code, body) = daemon.get(&format!("/api/v1/sessions/{client}"))?;
    ensure!(code == 200 || code == 404, "{code}: {body}");
    Ok((code == 200).then(|| serde_json::from_str(&body)).transpose()?)
}

fn is_connected(daemon: &Daemon, client: &str) -> Result<bool> {
    Ok(session(daemon, client)?.is_some_and(|session| session["connected"] == true))
}

/// Which gateway holds a client, as a process has it; `None`: none, or it does not know.
fn at(daemon: &Daemon, client: &str) -> Result<Option<String>> {
    let (code, body) = daemon.get(&format!("/api/v1/clients/{client}"))?;
    if code != 200 {
        return Ok(None);
    }
    let found: Value = serde_json::from_str(&body)?;
    Ok(found["gateway"]["name"].as_str().map(str::to_owned))
}

fn mosquitto(program: &str, address: SocketAddr, arguments: &[&str]) -> Command {
    // Into a pipe, the client would keep its lines for later.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program, "-h", "127.0.0.1", "-p", &address.port().to_string()]).args(arguments);
    command
}

/// `mosquitto_sub`, once its SUBACK has come; killed when dropped.
struct Subscriber(Child, std::io::Lines<BufReader<std::process::ChildStdout>>);

impl Subscriber {
    fn start(address: SocketAddr, arguments: &[&str]) -> Result<Self> {
        let mut command = mosquitto("mosquitto_sub", address, arguments);
        let mut child = command.args(["-d", "-W", "60"]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let mut subscriber = Self(child, lines);
        while !subscriber.line()?.contains("received SUBACK") {}
        Ok(subscriber)
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.1.next().context("mosquitto_sub goes on")??)
    }

    fn message(&mut self) -> Result<String> {
        loop {
            let line = self.line()?;
            if !line.starts_with("Client ") && !line.starts_with("Subscribed ") {
                return Ok(line);
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_published_at_one_gateway_reaches_real_clients_at_the_other_and_any_process_finds_and_kicks_them() {
    let system = System::start(2, "10s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let mut dash = Subscriber::start(there, &["-i", "dash", "-t", "plant/#", "-q", "1", "-v"]).unwrap();
    let publish = ["-t", "plant/7/temp", "-q", "1", "-m", "21.5"];
    assert!(mosquitto("mosquitto_pub", here, &publish).status().unwrap().success());
    assert_eq!(dash.message().unwrap(), "plant/7/temp 21.5");

    for daemon in [system.broker().unwrap(), system.gateway(0).unwrap(), system.gateway(1).unwrap()] {
        // Who has heard of a new gateway and not yet of its address says that it does not know.
        let found = until("the client is found", || at(daemon, "dash"));
        assert_eq!(found, "gw-b");
    }
    let kicked = system.gateway(0).unwrap().ask("DELETE", "/api/v1/clients/dash").unwrap();
    assert!((200..300).contains(&kicked.0), "{kicked:?}");
    // The client comes back by itself, which is a later opening of its session.
    while !dash.line().unwrap().contains("received SUBACK") {}
}

#[test]
fn an_answer_finds_the_client_that_asked_at_the_other_gateway_and_nobody_else() {
    let system = System::start(2, "10s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let connect = |address, client: &str| {
        Client::connect(address, Connect::new(Version::V5, client.to_owned())).map(|(client, _)| client).unwrap()
    };
    let (mut phone, mut service) = (connect(here, "phone"), connect(there, "service"));
    phone.subscribe("$p2p/phone", Qos::AtLeastOnce).unwrap();
    service.subscribe("ask/+", Qos::AtLeastOnce).unwrap();
    let mut spies = [connect(here, "spy-a"), connect(there, "spy-b")];
    for spy in &mut spies {
        assert_eq!(spy.subscribe("#", Qos::AtLeastOnce).unwrap().reasons, [Reason::GrantedQos1]);
        for filter in ["$p2p/#", "$p2p/phone"] {
            assert_eq!(spy.subscribe(filter, Qos::AtLeastOnce).unwrap().reasons, [Reason::NotAuthorized], "{filter}");
        }
    }

    let list = [Property::ResponseTopic("$p2p/phone".into()), Property::CorrelationData("7".into())];
    let properties = Properties::new(Holder::Publish, list).unwrap();
    let question = message("ask/time", "when?", 1).unwrap();
    phone.send(&Packet::Publish(Publish { qos: Qos::AtMostOnce, pid: None, properties, ..question })).unwrap();
    let asked = service.take().unwrap().properties;
    assert_eq!(asked.correlation_data().as_deref(), Some(&b"7"[..]));
    let to = asked.response_topic().unwrap();
    assert_eq!(service.publish(&to, "noon", 1).unwrap(), Reason::Success);
    let answer = phone.take().unwrap();
    assert_eq!((&*answer.topic, &*answer.payload), ("$p2p/phone", &b"noon"[..]));

    service.publish("over", "x", 2).unwrap();
    for spy in &mut spies {
        // In the order of the log: an answer would have come between the two.
        for expected in ["ask/time", "over"] {
            assert_eq!(&*spy.take().unwrap().topic, expected);
        }
    }
}

#[test]
fn a_gateway_that_is_killed_costs_its_clients_a_reconnect_to_the_other_and_no_message() {
    let mut system = System::start(2, "1s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let (mut dash, _) = Client::connect(there, persistent("dash")).unwrap();
    dash.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();
    let (mut away, _) = Client::connect(there, persistent("away")).unwrap();
    away.subscribe("plant/#", Qos::AtLeastOnce).unwrap();
    let (mut gone, _) = Client::connect(there, volatile("gone")).unwrap();
    gone.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();
    let (mut publisher, _) = Client::connect(here, volatile("pub")).unwrap();
    publisher.publish("plant/1/temp", "before", 1).unwrap();
    assert_eq!(&*dash.take().unwrap().payload, b"before");

    system.take_gateway(1).unwrap().kill().unwrap();
    publisher.publish("plant/2/temp", "while nobody was there", 2).unwrap();
    let (mut dash, ack) = Client::connect(here, persistent("dash")).unwrap();
    assert!(ack.session_present);
    // At least once: what was acknowledged just before the end may come again.
    let mut next = dash.take().unwrap();
    if &*next.payload == b"before" {
        next = dash.take().unwrap();
    }
    assert_eq!(&*next.payload, b"while nobody was there");

    let left = system.gateway(0).unwrap();
    // Lost with their gateway: one session waits for its client, the other was never meant to outlive its connection.
    until("the session is closed", || Ok((!is_connected(left, "away")?).then_some(())));
    let waits = session(left, "away").unwrap().expect("it is kept");
    assert!(waits["persistent"] == true && waits["disconnected_ms"].is_u64(), "{waits}");
    assert_eq!(waits["closed"], "gateway-lost", "{waits}");
    until("the volatile session is gone", || Ok((!is_connected(left, "gone")?).then_some(())));
    assert!(session(left, "gone").unwrap().is_none_or(|session| session["persistent"] == false));
    assert!(is_connected(left, "dash").unwrap(), "who came back before the lease ran out has another epoch");

    publisher.publish("plant/3/temp", "after", 3).unwrap();
    assert_eq!(&*dash.take().unwrap().payload, b"after");
    let (mut away, ack) = Client::connect(here, persistent("away")).unwrap();
    assert!(ack.session_present);
    for expected in ["before", "while nobody was there", "after"] {
        assert_eq!(&*away.take().unwrap().payload, expected.as_bytes());
    }
    let (_, ack) = Client::connect(here, persistent("gone")).unwrap();
    assert!(!ack.session_present);
}

#[test]
fn a_gateway_that_was_paused_for_longer_than_its_lease_drops_its_clients_and_serves_them_anew() {
    let system = System::start(2, "1s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let (mut dash, _) = Client::connect(there, persistent("dash")).unwrap();
    dash.subscribe("t", Qos::AtLeastOnce).unwrap();
    let (mut told, _) = Client::connect(there, Connect::new(Version::V5, "told".to_owned())).unwrap();
    let (left, paused) = (system.gateway(0).unwrap(), system.gateway(1).unwrap());
    paused.signal("STOP").unwrap();
    until("it is declared lost", || Ok((!is_connected(left, "dash")?).then_some(())));
    let (mut publisher, _) = Client::connect(here, volatile("pub")).unwrap();
    publisher.publish("t", "meanwhile", 1).unwrap();

    paused.signal("CONT").unwrap();
    while dash.incoming().unwrap().is_some() {}
    assert_eq!(told.incoming().unwrap(), None, "the network's end, and no DISCONNECT before it");
    let again = paused.ready_again().unwrap();
    assert_eq!(again, paused.ready, "on the same addresses");
    until("it is ready", || Ok((paused.get("/readyz")?.0 == 200).then_some(())));
    let (mut dash, ack) = Client::connect(there, persistent("dash")).unwrap();
    assert!(ack.session_present);
    assert_eq!(&*dash.take().unwrap().payload, b"meanwhile");
    publisher.publish("t", "and on", 2).unwrap();
    assert_eq!(&*dash.take().unwrap().payload, b"and on");
    assert_eq!(until("the others know its new run", || at(left, "dash")), "gw-b");
}

#[test]
fn a_broker_that_restarts_costs_a_pause_and_neither_a_connection_nor_a_message() {
    let mut system = System::start(2, "10s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let (mut dash, _) = Client::connect(there, persistent("dash")).unwrap();
    dash.subscribe("t/#", Qos::AtLeastOnce).unwrap();
    let (mut light, _) = Client::connect(there, volatile("light")).unwrap();
    light.subscribe("t/+", Qos::AtLeastOnce).unwrap();
    let (mut publisher, _) = Client::connect(here, volatile("pub")).unwrap();
    for (round, payload) in ["one", "two", "three"].into_iter().enumerate() {
        publisher.publish("t/1", payload, 1).unwrap();
        assert_eq!(&*dash.take().unwrap().payload, payload.as_bytes());
        assert_eq!(&*light.take().unwrap().payload, payload.as_bytes());
        if round == 0 {
            system.take_broker().unwrap().kill().unwrap();
        } else {
            assert!(system.take_broker().unwrap().terminate().unwrap().success());
        }
        // On the same connections, while nobody answers them.
        publisher.send(&Packet::PingReq).unwrap();
        assert_eq!(publisher.receive().unwrap(), Packet::PingResp);
        system.start_broker().unwrap();
    }
    publisher.publish("t/1", "four", 2).unwrap();
    assert_eq!(&*dash.take().unwrap().payload, b"four");
    assert_eq!(&*light.take().unwrap().payload, b"four");
}

#[test]
fn what_only_the_brokers_know_is_refused_with_words_while_they_do_not_answer() {
    let system = System::start(1, "1m").unwrap();
    let (broker, gateway) = (system.broker().unwrap(), system.gateway(0).unwrap());
    broker.signal("STOP").unwrap();
    // A signal comes when it comes: until then there is an answer.
    until("the broker stands still", || Ok((gateway.get("/api/v1/sessions/dash")?.0 != 404).then_some(())));
    // First while the link seems to be there, in the end when it was given up.
    for path in ["/api/v1/sessions/dash", "/api/v1/queue?filter=t", "/api/v1/shards"] {
        let (code, body) = gateway.get(path).unwrap();
        assert_eq!((code, &*body), (503, r#"{"error":"the brokers do not answer"}"#), "{path}");
    }
    broker.signal("CONT").unwrap();
    assert_eq!(until("it is answered again", || Ok(session(gateway, "dash").ok())), None);
}

#[test]
fn one_client_at_two_gateways_is_one_client_the_old_connection_is_told_so() {
    let system = System::start(2, "10s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let mut old = Client::connect(there, Connect::new(Version::V5, "dash".to_owned())).unwrap().0;
    for (from, to) in [(there, here), (here, there)] {
        let (new, _) = Client::connect(to, Connect::new(Version::V5, "dash".to_owned())).unwrap();
        let Packet::Disconnect(said) = old.receive().unwrap() else { panic!("DISCONNECT at {from}") };
        assert_eq!(said.reason, Reason::SessionTakenOver);
        assert!(old.incoming().unwrap().is_none());
        old = new;
    }
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, text) = daemon.get("/metrics").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("a metric").parse().unwrap()
}

#[test]
fn a_gateway_that_asks_for_what_it_wants_is_told_of_nothing_else() {
    const NOTICES: &str = "causeway_notify_notices_total";
    let system = System::start(2, "10s").unwrap();
    let [here, there] = system.addresses()[..] else { panic!("two gateways") };
    let (mut dash, _) = Client::connect(there, volatile("dash")).unwrap();
    dash.subscribe("wanted", Qos::AtLeastOnce).unwrap();
    let (mut wild, _) = Client::connect(there, volatile("wild")).unwrap();
    wild.subscribe("also/+", Qos::AtLeastOnce).unwrap();
    // Each is told of what is addressed to its own clients.
    let (mut phone, _) = Client::connect(there, volatile("phone")).unwrap();
    phone.subscribe("$p2p/phone", Qos::AtLeastOnce).unwrap();
    let (mut other, _) = Client::connect(here, volatile("other")).unwrap();
    other.subscribe("$p2p/other", Qos::AtLeastOnce).unwrap();
    let (mut publisher, _) = Client::connect(here, volatile("pub")).unwrap();
    for n in 0..100 {
        publisher.publish("unwanted", n.to_string(), 1).unwrap();
        publisher.publish("wanted", n.to_string(), 2).unwrap();
        publisher.publish("also/1", n.to_string(), 3).unwrap();
        publisher.publish("$p2p/other", n.to_string(), 4).unwrap();
        publisher.publish("$p2p/phone", n.to_string(), 5).unwrap();
    }
    for n in 0..100 {
        for subscriber in [&mut dash, &mut wild, &mut phone, &mut other] {
            assert_eq!(&*subscriber.take().unwrap().payload, n.to_string().as_bytes());
        }
    }
    assert_eq!(metric(system.gateway(1).unwrap(), NOTICES), 300);
    // The other one asks for nothing: it hears of all.
    until("frames are there", || Ok((metric(system.gateway(0)?, NOTICES) == 500).then_some(())));
    // The last subscriber of a queue goes; the wildcard of the other one matches nothing of it.
    dash.disconnect().unwrap();
    until("it is forgotten", || {
        let before = metric(system.gateway(1)?, NOTICES);
        publisher.publish("wanted", "nobody", 4)?;
        publisher.publish("also/1", "somebody", 5)?;
        assert_eq!(&*wild.take()?.payload, b"somebody");
        Ok((metric(system.gateway(1)?, NOTICES) == before + 1).then_some(()))
    });
}
