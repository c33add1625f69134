//! The end of a process as its clients see it: real binaries, MQTT 5.0 in plain packets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use causeway_mqtt::codec::{Connect, Disconnect, Holder, Packet, Properties, Property, Qos, Reason, Version};
use causeway_tests::client::Client;
use causeway_tests::daemon::{Daemon, binary};
use causeway_tests::system::System;
use serde_json::Value;

/// A CONNECT of 5.0 whose session outlives its connection.
fn persistent(client: &str) -> Connect {
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(600)]).unwrap();
    Connect { clean_start: false, properties, ..Connect::new(Version::V5, client.to_owned()) }
}

fn connect(address: SocketAddr, client: &str) -> Client {
    Client::connect(address, persistent(client)).unwrap().0
}

/// Reads on until the server says goodbye, acknowledging nothing.
fn told(client: &mut Client) -> Result<Disconnect> {
    loop {
        if let Packet::Disconnect(said) = client.receive()? {
            ensure!(client.incoming()?.is_none(), "nothing comes after DISCONNECT");
            return Ok(said);
        }
    }
}

fn json(daemon: &Daemon, path: &str) -> Result<Value> {
    let (code, body) = daemon.get(path)?;
    ensure!(code == 200, "{path}: {code}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// The names of those who are connected, in the order in which a drain asks them.
fn order(daemon: &Daemon) -> Result<Vec<String>> {
    let page = json(daemon, "/api/v1/clients?limit=1000")?;
    let clients = page["clients"].as_array().context("a page of clients")?;
    clients.iter().map(|client| Ok(client["client"].as_str().context("a name")?.to_owned())).collect()
}

/// A gateway before the system's broker, with this `[drain]`.
fn gateway(system: &System, directory: &Path, drain: &str) -> Daemon {
    let (config, link) = (directory.join("gateway.toml"), system.broker().unwrap().link().unwrap());
    let text = format!(
        "name = 'draining'\n[link]\nbrokers = '{link}'\n[mqtt]\nbind = ['127.0.0.1:0']\n[admin]\nbind = '127.0.0.1:0'\n[drain]\n{drain}\n"
    );
    std::fs::write(&config, text).unwrap();
    Daemon::start("causeway-gateway", ["--config".as_ref(), config.as_os_str()]).unwrap()
}

#[test]
fn a_gateway_sends_its_clients_to_another_one_by_one_and_they_go_on_there_where_they_were() {
    let system = System::start(1, "10s").unwrap();
    let (other, directory) = (system.addresses()[0], tempfile::tempdir().unwrap());
    // A second between one client and the next: whoever is asked last has plenty of time to be served meanwhile.
    let drain = format!("deadline = '10m'\nrate = 1\nreason = 'server-moved'\nreference = '{other}'");
    let leaving = gateway(&system, directory.path(), &drain);
    let mqtt = leaving.mqtt().unwrap();

    let mut clients: BTreeMap<_, _> =
        (0..4).map(|n| format!("c{n}")).map(|name| (name.clone(), connect(mqtt, &name))).collect();
    for (name, client) in &mut clients {
        client.subscribe(&format!("to/{name}"), Qos::AtLeastOnce).unwrap();
    }
    let order = order(&leaving).unwrap();
    assert_eq!(order.len(), 4);
    // The first one has a message that it has not acknowledged, and one that it has.
    let (mut publisher, _) = Client::connect(other, Connect::new(Version::V5, "pub".to_owned())).unwrap();
    publisher.publish(&format!("to/{}", order[0]), "done", 1).unwrap();
    publisher.publish(&format!("to/{}", order[0]), "open", 2).unwrap();
    let first = clients.get_mut(&order[0]).unwrap();
    assert_eq!(&*first.take().unwrap().payload, b"done");
    let Packet::Publish(open) = first.receive().unwrap() else { panic!("the second message is due") };

    leaving.signal("TERM").unwrap();
    for (turn, name) in order.iter().enumerate() {
        let said = told(clients.get_mut(name).unwrap()).unwrap();
        assert_eq!(
            (said.reason, said.properties.server_reference().as_deref()),
            (Reason::ServerMoved, Some(&*other.to_string()))
        );
        if turn == 0 {
            assert_eq!(leaving.get("/readyz").unwrap().0, 503);
            assert!(Client::connect(mqtt, persistent("late")).is_err(), "nobody is let in any more");
            let drain = json(&leaving, "/api/v1/drain").unwrap();
            assert_eq!(drain["state"], "draining");
            let last = clients.get_mut(order.last().unwrap()).unwrap();
            assert_eq!(last.publish("still/served", "yes", 1).unwrap(), Reason::Success);
        }
        let (mut moved, ack) = Client::connect(other, persistent(name)).unwrap();
        assert!(ack.session_present, "{name} resumes");
        if turn == 0 {
            let again = moved.take().unwrap();
            assert_eq!(
                (&*again.payload, again.dup, again.pid),
                (&b"open"[..], true, open.pid),
                "the last progress was logged"
            );
        }
        publisher.publish(&format!("to/{name}"), "here", 3).unwrap();
        assert_eq!(&*moved.take().unwrap().payload, b"here");
    }
    assert!(leaving.terminate().unwrap().success());
    // The others hear of it with their next beat.
    let begun = Instant::now();
    while members(system.gateway(0).unwrap()).unwrap().contains(&"draining".to_owned()) {
        assert!(begun.elapsed() < Duration::from_mins(1), "it has left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn members(daemon: &Daemon) -> Result<Vec<String>> {
    let map = json(daemon, "/api/v1/gateways")?;
    let gateways = map["gateways"].as_array().context("gateways")?.iter().filter(|gateway| gateway["member"] == true);
    gateways.map(|gateway| Ok(gateway["name"].as_str().context("a name")?.to_owned())).collect()
}

#[test]
fn a_broker_by_itself_asks_all_to_go_within_its_deadline_whatever_the_rate_and_speaks_of_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("broker.toml");
    let data = directory.path().join("data");
    let text = format!(
        "data = '{}'\n[mqtt]\nbind = ['127.0.0.1:0']\n[admin]\nbind = '127.0.0.1:0'\n[link]\nbind = []\n[drain]\ndeadline = '5s'\nrate = 1\n",
        data.display()
    );
    std::fs::write(&config, text).unwrap();
    let broker = Daemon::start("causeway-broker", ["--config".as_ref(), config.as_os_str()]).unwrap();
    assert!(broker.link().is_err(), "no link was asked for");
    let mut clients: Vec<_> = (0..60).map(|n| connect(broker.mqtt().unwrap(), &format!("c{n}"))).collect();
    broker.signal("TERM").unwrap();
    for client in &mut clients {
        let said = told(client).unwrap();
        assert_eq!((said.reason, said.properties.server_reference()), (Reason::ServerShuttingDown, None));
    }
    // At one a second, asking sixty would have taken longer than the deadline.
    assert!(broker.terminate().unwrap().success());
}

#[test]
fn settings_that_make_no_sense_are_refused_by_both_binaries_each_by_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("bad.toml");
    std::fs::write(&config, "[admni]\n[mqtt]\nbnid = []\n").unwrap();
    for name in ["causeway-broker", "causeway-gateway"] {
        let out = Command::new(binary(name).unwrap()).arg("--check").arg("--config").arg(&config).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success());
        for problem in ["admni: unknown key, did you mean admin?", "mqtt.bnid: unknown key, did you mean mqtt.bind?"] {
            assert!(said.contains(problem), "{said}");
        }
        std::fs::write(
            directory.path().join("worse.toml"),
            "[drain]\nreason = 'shutting-down'\nreference = 'b:1883'\nrate = 0\n",
        )
        .unwrap();
        let worse = directory.path().join("worse.toml");
        let out = Command::new(binary(name).unwrap()).arg("--check").arg("--config").arg(&worse).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        for problem in ["drain.rate: at least 1", "drain.reference: only with reason"] {
            assert!(said.contains(problem), "{said}");
        }
    }
}
