//! A drain as clients see it: asked one after the other, served until then, told where to go.

use std::time::Duration;

use causeway_compute::drain::{Goodbye, Progress, Reason as Parting};
use causeway_compute::port::Command;
use causeway_compute::registry::Registry;
use causeway_mqtt::Settings;
use causeway_mqtt::codec::{Connect, Holder, Packet, Properties, Property, Qos, Reason, Version};
use tokio::sync::oneshot;

use crate::broker::Gateway;
use crate::client::Client;
use crate::gate::Verdict;

const ELSEWHERE: &str = "eu-2.example:1883";

fn settings() -> Settings {
    let goodbye = Goodbye { reason: Parting::UseAnotherServer, reference: Some(ELSEWHERE.into()) };
    Settings { goodbye, ..Settings::default() }
}

fn persistent(name: &str) -> Connect {
    let properties = Properties::new(Holder::Connect, [Property::SessionExpiryInterval(600)]).unwrap();
    Connect { clean_start: false, properties, ..Connect::new(Version::V5, name.to_owned()) }
}

/// Reads on until the server says goodbye; what it said.
async fn told(client: &mut Client) -> (Reason, Option<String>) {
    loop {
        if let Packet::Disconnect(said) = client.receive().await {
            return (said.reason, said.properties.server_reference().map(|server| server.to_string()));
        }
    }
}

fn order(registry: &Registry) -> Vec<String> {
    registry.page(None, 1000).iter().map(|online| online.client.0.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_asked_to_go_one_after_the_other_and_whoever_was_not_asked_yet_is_served() {
    let gateway = Gateway::with(settings()).await;
    let mut clients = Vec::new();
    for number in 0..40 {
        let name = format!("c{number}");
        clients.push((name.clone(), gateway.clean(&name).await));
    }
    let order = order(&gateway.context.registry);
    clients.sort_by_key(|(name, _)| order.iter().position(|other| other == name));
    gateway.drain().begin();
    let (_, first) = clients.first_mut().unwrap();
    assert_eq!(told(first).await, (Reason::UseAnotherServer, Some(ELSEWHERE.to_owned())));
    let asked = gateway.drain().progress();
    assert_eq!((asked.clients, asked.rate), (40, 20));
    // Two seconds of turns lie between the first and the last.
    let (_, last) = clients.last_mut().unwrap();
    last.publish("a", b"still served").await;
    // Each is told before any that follows it is asked: a later one that was told proves that all before were asked.
    for (_, client) in clients.iter_mut().skip(1) {
        assert_eq!(told(client).await.0, Reason::UseAnotherServer);
    }
    gateway.drain().evicted().await;
    assert_eq!(gateway.drain().progress(), Progress { clients: 40, asked: 40, rate: 20 });
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_progress_of_a_client_that_is_asked_to_go_is_logged_and_its_session_resumes_with_what_is_left() {
    let gateway = Gateway::with(settings()).await;
    let mut dash = gateway.connect(persistent("dash")).await;
    dash.subscribe("a", Qos::AtLeastOnce).await;
    let mut publisher = gateway.clean("pub").await;
    for body in [b"1", b"2", b"3"] {
        publisher.publish("a", body).await;
    }
    let (one, two, three) = (dash.message().await, dash.message().await, dash.message().await);
    dash.acknowledge(&one).await;
    dash.acknowledge(&three).await;
    dash.send(Packet::PingReq).await;
    assert_eq!(dash.receive().await, Packet::PingResp);
    let gateway = gateway.restart().await;
    assert_eq!(told(&mut dash).await.0, Reason::UseAnotherServer);
    let mut dash = gateway.connect(persistent("dash")).await;
    let again = dash.message().await;
    assert_eq!((&*again.payload, again.dup, again.pid), (&b"2"[..], true, two.pid));
    let mut publisher = gateway.clean("pub").await;
    publisher.publish("a", b"4").await;
    assert_eq!(&*dash.message().await.payload, b"4", "what was acknowledged does not come again");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_that_is_under_way_is_answered_with_where_to_go() {
    let gateway = Gateway::with(settings()).await;
    let (reached, mut opening) = oneshot::channel();
    let mut reached = Some(reached);
    gateway.gate.judge(move |commands| {
        if !commands.iter().any(|command| matches!(command, Command::SessionOpen(_))) {
            return Verdict::Pass;
        }
        reached.take().map(|reached| reached.send(()));
        Verdict::Late
    });
    let mut client = gateway.dial(4096);
    client.send(Packet::Connect(Box::new(Connect::new(Version::V5, "late".to_owned())))).await;
    tokio::time::timeout(Duration::from_secs(30), &mut opening).await.expect("SessionOpen is proposed").unwrap();
    gateway.drain().begin();
    let Packet::ConnAck(ack) = client.receive().await else { panic!("no CONNACK") };
    assert_eq!(ack.reason, Reason::UseAnotherServer);
    assert_eq!(ack.properties.server_reference().as_deref(), Some(ELSEWHERE));
    gateway.gate.release();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_5_0_a_client_is_disconnected_without_a_word() {
    let gateway = Gateway::with(settings()).await;
    let mut old = gateway.connect(Connect::new(Version::V311, "old".to_owned())).await;
    gateway.drain().begin();
    assert!(old.next().await.is_none());
    gateway.stop().await;
}
