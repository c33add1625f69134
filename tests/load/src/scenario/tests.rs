//! The scenarios against a small broker of known faults: what the tool reports must be what the broker did.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use causeway_mqtt::codec::{
    Ack, ConnAck, Connect, Decoder, Limits, Packet, PacketId, Properties, Publish, Qos, Reason, SubAck, Version,
};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::args::{Args, Command};
use crate::report::{Figure, number};

/// What the broker does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Every tenth message is acknowledged and forgotten.
    Drop,
    /// Every tenth message is delivered twice.
    Repeat,
    /// Every tenth message is delivered after its successor.
    Swap,
    /// Nobody may connect.
    Refuse,
    /// Messages are acknowledged with a packet id that is not in flight.
    WrongId,
    /// In 5.0: every tenth message is refused.
    Quota,
}

/// A client as the broker knows it.
#[derive(Debug, Default)]
struct Session {
    filter: Option<String>,
    online: Option<mpsc::Sender<Bytes>>,
    waiting: Vec<Bytes>,
}

#[derive(Debug)]
struct Broker {
    fault: Fault,
    sessions: Mutex<HashMap<String, Session>>,
    /// Messages that came, and the one that is held back.
    inbox: Mutex<(u64, Option<Bytes>)>,
}

impl Broker {
    /// Starts a broker with a fault; gives it and the arguments by which the tool finds it.
    async fn start(fault: Fault) -> (Arc<Self>, String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("--target {}", listener.local_addr().unwrap());
        let broker = Arc::new(Self { fault, sessions: Mutex::default(), inbox: Mutex::default() });
        let mut tasks = JoinSet::new();
        let accepting = Arc::clone(&broker);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(Peer::serve(Arc::clone(&accepting), stream));
            }
        });
        (broker, target, tasks)
    }

    fn received(&self) -> u64 {
        self.inbox.lock().unwrap().0
    }

    /// Notes a message and says what is to be delivered now. `None`: refused.
    fn take(&self, payload: Bytes) -> Option<Vec<Bytes>> {
        let mut inbox = self.inbox.lock().unwrap();
        inbox.0 += 1;
        let tenth = inbox.0.is_multiple_of(10);
        let mut out = match (self.fault, tenth) {
            (Fault::Quota, true) => return None,
            (Fault::Drop, true) => Vec::new(),
            (Fault::Repeat, true) => vec![payload.clone(), payload],
            (Fault::Swap, true) => {
                inbox.1 = Some(payload);
                return Some(Vec::new());
            }
            _ => vec![payload],
        };
        out.extend(inbox.1.take());
        Some(out)
    }

    async fn route(&self, topic: &str, payload: &Bytes) {
        let mut online = Vec::new();
        for session in self.sessions.lock().unwrap().values_mut() {
            match &session.online {
                _ if session.filter.as_deref() != Some(topic) => {}
                Some(sender) => online.push(sender.clone()),
                None => session.waiting.push(payload.clone()),
            }
        }
        for sender in online {
            // A client that has just left.
            let _ = sender.send(payload.clone()).await;
        }
    }
}

/// One connection of the broker.
struct Peer {
    broker: Arc<Broker>,
    stream: TcpStream,
    version: Version,
    qos: Qos,
    client: String,
    persistent: bool,
    topic: String,
    next_pid: u16,
    deliveries: (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>),
}

impl Peer {
    async fn serve(broker: Arc<Broker>, stream: TcpStream) {
        let mut peer = Self {
            broker,
            stream,
            version: Version::V311,
            qos: Qos::AtMostOnce,
            client: String::new(),
            persistent: false,
            topic: "load/durable/00000000".into(),
            next_pid: 0,
            deliveries: mpsc::channel(1024),
        };
        let mut decoder = Decoder::server(Limits::packet(1 << 20));
        let mut input = BytesMut::new();
        let mut open = true;
        loop {
            while let Some(packet) = decoder.decode(&mut input).unwrap() {
                open &= peer.handle(packet).await;
            }
            if !open {
                break;
            }
            tokio::select! {
                read = peer.stream.read_buf(&mut input) => open = matches!(read, Ok(1..)),
                Some(payload) = peer.deliveries.1.recv() => peer.deliver(payload).await,
            }
        }
        let mut sessions = peer.broker.sessions.lock().unwrap();
        if let Some(session) = sessions.get_mut(&peer.client) {
            session.online = None;
        }
        if !peer.persistent {
            sessions.remove(&peer.client);
        }
    }

    /// `false`: the connection ends.
    async fn handle(&mut self, packet: Packet) -> bool {
        match packet {
            Packet::Connect(connect) => return self.connect(*connect).await,
            Packet::Subscribe(subscribe) => {
                let (filter, options) = subscribe.filters().next().unwrap();
                self.topic = filter.to_string();
                self.qos = options.qos;
                let granted = Reason::from_code(options.qos.number()).unwrap();
                self.subscribed();
                let suback = SubAck { pid: subscribe.pid, reasons: vec![granted], properties: Properties::EMPTY };
                self.send(Packet::SubAck(suback)).await;
            }
            Packet::Publish(publish) => self.publish(publish).await,
            Packet::PubRel(ack) => self.send(Packet::PubComp(Ack::success(ack.pid))).await,
            Packet::PubRec(ack) => self.send(Packet::PubRel(Ack::success(ack.pid))).await,
            Packet::Disconnect(_) => return false,
            // Only ends of exchanges that need no answer.
            Packet::PubAck(_) | Packet::PubComp(_) => {}
            other @ (Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Auth(_)) => panic!("the tool sends no {}", other.packet_type()),
        }
        true
    }

    fn subscribed(&self) {
        let mut sessions = self.broker.sessions.lock().unwrap();
        sessions.get_mut(&self.client).unwrap().filter = Some(self.topic.clone());
    }

    async fn connect(&mut self, connect: Connect) -> bool {
        self.version = connect.version;
        if self.broker.fault == Fault::Refuse {
            self.send(Packet::ConnAck(ConnAck::refused(self.version, Reason::NotAuthorized))).await;
            return false;
        }
        self.client = connect.client_id.to_string();
        self.persistent = !connect.clean_start;
        let (present, waiting) = {
            let mut sessions = self.broker.sessions.lock().unwrap();
            if connect.clean_start {
                sessions.remove(&self.client);
            }
            let present = sessions.contains_key(&self.client);
            let session = sessions.entry(self.client.clone()).or_default();
            session.online = Some(self.deliveries.0.clone());
            (present, std::mem::take(&mut session.waiting))
        };
        self.qos = if present { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let connack = ConnAck { session_present: present, reason: Reason::Success, properties: Properties::EMPTY };
        self.send(Packet::ConnAck(connack)).await;
        for payload in waiting {
            self.deliver(payload).await;
        }
        true
    }

    async fn publish(&mut self, publish: Publish) {
        let routed = self.broker.take(publish.payload.clone());
        let reason = if routed.is_some() { Reason::Success } else { Reason::QuotaExceeded };
        if let Some(pid) = publish.pid {
            let pid = if self.broker.fault == Fault::WrongId { PacketId::MAX } else { pid };
            let ack = Ack::new(pid, reason);
            let answer = if publish.qos == Qos::ExactlyOnce { Packet::PubRec(ack) } else { Packet::PubAck(ack) };
            self.send(answer).await;
        }
        for payload in routed.unwrap_or_default() {
            self.broker.route(&publish.topic, &payload).await;
        }
    }

    async fn deliver(&mut self, payload: Bytes) {
        self.next_pid = self.next_pid % 1000 + 1;
        let pid = (self.qos != Qos::AtMostOnce).then(|| NonZeroU16::new(self.next_pid).unwrap());
        let topic = self.topic.as_str().into();
        let (qos, properties) = (self.qos, Properties::EMPTY);
        self.send(Packet::Publish(Publish { dup: false, qos, retain: false, topic, pid, properties, payload })).await;
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.encode(self.version, &mut out).unwrap();
        // A client that has just left.
        let _ = self.stream.write_all(&out).await;
    }
}

/// Runs a command line, less the name of the program.
async fn run(line: &str) -> anyhow::Result<Vec<Figure>> {
    match Args::try_parse_from(["load"].into_iter().chain(line.split(' ')))?.command {
        Command::P2p(args) => super::p2p::run(&args).await,
        Command::Fanout(args) => super::fanout::run(&args).await,
        Command::Publish(args) => super::publish::run(&args).await,
        Command::Topics(args) => super::topics::run(&args).await,
        Command::Connect(args) => super::connect::run(&args).await,
        Command::Durable(args) => super::durable::run(&args).await,
        Command::Drain(args) => super::drain::run(&args).await,
        Command::Wait(args) => super::wait::run(&args).await,
        Command::Disk(args) => super::disk::run(&args).await,
        Command::Table(_) => panic!("no scenario"),
    }
}

/// The value of a figure; nothing that was not worth saying.
fn value(figures: &[Figure], name: &str) -> f64 {
    figures.iter().find(|figure| figure.name == name).map_or(0.0, |figure| figure.value)
}

/// Figures as they are shown.
fn shown<const N: usize>(figures: &[Figure], names: [&str; N]) -> [String; N] {
    names.map(|name| number(value(figures, name)))
}

#[track_caller]
fn assert_counts(figures: &[Figure], lost: u64, repeated: u64, late: u64) {
    let expected = [lost, repeated, late].map(|count| count.to_string());
    assert_eq!(shown(figures, ["lost", "repeated", "late"]), expected, "{figures:?}");
}

#[tokio::test]
async fn every_message_is_sent_once_and_counted_once_at_each_quality_of_service_and_version() {
    for (qos, protocol) in [(0, 4), (1, 4), (2, 4), (0, 5), (1, 5), (2, 5)] {
        let (broker, target, _tasks) = Broker::start(Fault::None).await;
        let line = format!("p2p {target} --qos {qos} --protocol {protocol} --pairs 3 --messages 1000 --window 7");
        let figures = run(&line).await.unwrap();
        assert_eq!(broker.received(), 1000, "{line}");
        assert_counts(&figures, 0, 0, 0);
        assert!(value(&figures, "delivered") > 0.0 && value(&figures, "max") > 0.0, "{line}: {figures:?}");
        assert_eq!(value(&figures, "acknowledged") > 0.0, qos > 0, "{line}: {figures:?}");
    }
}

#[tokio::test]
async fn a_timed_run_ends_by_itself_with_nothing_in_flight() {
    let (broker, target, _tasks) = Broker::start(Fault::None).await;
    let figures = run(&format!("p2p {target} --seconds 0.2 --warm-up 0.1 --pairs 2")).await.unwrap();
    assert!(broker.received() > 0);
    assert_counts(&figures, 0, 0, 0);
    assert_eq!(shown(&figures, ["unanswered"]), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_several_servers_the_connections_are_spread() {
    // They share nothing: of three copies only the one on the publisher's server gets anything.
    let (first, target, _tasks) = Broker::start(Fault::None).await;
    let (second, also, _tasks) = Broker::start(Fault::None).await;
    let also = also.replace("--target", "--also");
    let figures = run(&format!("fanout {target} {also} --subscribers 3 --messages 10 --qos 0")).await.unwrap();
    assert_eq!(shown(&figures, ["lost"]), ["20"]);
    assert_eq!((first.inbox.lock().unwrap().0, second.inbox.lock().unwrap().0), (0, 10));
}

#[tokio::test]
async fn each_subscriber_of_a_fan_out_gets_each_message() {
    let (broker, target, _tasks) = Broker::start(Fault::None).await;
    let figures = run(&format!("fanout {target} --subscribers 5 --messages 100")).await.unwrap();
    assert_eq!(broker.received(), 100);
    assert_counts(&figures, 0, 0, 0);
}

#[tokio::test]
async fn what_a_broker_acknowledges_and_drops_is_reported_as_lost() {
    let (_broker, target, _tasks) = Broker::start(Fault::Drop).await;
    // The window outlasts the losses, so that only the end has to be waited for.
    let figures = run(&format!("p2p {target} --pairs 1 --messages 100 --window 20")).await.unwrap();
    assert_counts(&figures, 10, 0, 0);
}

#[tokio::test]
async fn losses_that_fill_the_window_do_not_stop_the_run() {
    let (broker, target, _tasks) = Broker::start(Fault::Drop).await;
    let figures = run(&format!("p2p {target} --qos 0 --pairs 1 --messages 25 --window 2")).await.unwrap();
    assert_eq!(broker.received(), 25);
    assert_counts(&figures, 2, 0, 0);
}

#[tokio::test]
async fn repetition_and_lost_order_are_reported() {
    let (_broker, target, _tasks) = Broker::start(Fault::Repeat).await;
    let figures = run(&format!("p2p {target} --pairs 1 --messages 95")).await.unwrap();
    assert_counts(&figures, 0, 9, 0);
    let (_broker, target, _tasks) = Broker::start(Fault::Swap).await;
    let figures = run(&format!("p2p {target} --pairs 1 --messages 95")).await.unwrap();
    assert_counts(&figures, 0, 0, 9);
}

#[tokio::test]
async fn a_refused_message_is_counted_and_not_taken_for_acknowledged() {
    let (_broker, target, _tasks) = Broker::start(Fault::Quota).await;
    let figures = run(&format!("publish {target} --protocol 5 --messages 100")).await.unwrap();
    assert_eq!(shown(&figures, ["refused"]), ["10"]);
    let error = run(&format!("topics {target} --protocol 5 --topics 100")).await.unwrap_err();
    assert!(error.to_string().contains("90 of 100 messages were acknowledged"), "{error:#}");
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_ends_the_run() {
    let (_broker, target, _tasks) = Broker::start(Fault::WrongId).await;
    let error = run(&format!("publish {target} --messages 100")).await.unwrap_err();
    assert!(format!("{error:#}").contains("packet id 65535, which is not in flight"), "{error:#}");
}

#[tokio::test]
async fn a_refused_connection_says_why() {
    let (_broker, target, _tasks) = Broker::start(Fault::Refuse).await;
    for scenario in ["p2p", "connect --connections 3", "durable", "drain", "wait --timeout 0"] {
        let error = run(&format!("{scenario} {target}")).await.unwrap_err();
        assert!(format!("{error:#}").contains("NotAuthorized"), "{scenario}: {error:#}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = run(&format!("p2p --target {address}")).await.unwrap_err();
    assert!(format!("{error:#}").contains(&format!("connecting to {address}")), "{error:#}");
}

#[tokio::test]
async fn waiting_ends_when_the_server_answers_and_when_its_process_is_gone() {
    let (_broker, target, _tasks) = Broker::start(Fault::None).await;
    assert!(value(&run(&format!("wait {target}")).await.unwrap(), "took") > 0.0);
    let (_broker, target, _tasks) = Broker::start(Fault::Refuse).await;
    let error = run(&format!("wait {target} --pid {}", u32::MAX)).await.unwrap_err();
    assert!(format!("{error:#}").contains("the server has ended; last attempt: the server refuses"), "{error:#}");
}

#[tokio::test]
async fn what_waits_for_an_offline_session_is_counted_when_its_client_comes_back() {
    let (_broker, target, _tasks) = Broker::start(Fault::None).await;
    run(&format!("durable {target} --messages 200")).await.unwrap();
    let figures = run(&format!("drain {target} --messages 200 --idle 1 --strict")).await.unwrap();
    assert_eq!(shown(&figures, ["messages", "missing", "session present"]), ["200", "0", "1"]);
}

#[tokio::test]
async fn a_server_that_forgot_is_found_out() {
    let (_broker, target, _tasks) = Broker::start(Fault::None).await;
    let figures = run(&format!("drain {target} --messages 200")).await.unwrap();
    assert_eq!(shown(&figures, ["recovered", "missing", "session present"]), ["0", "200", "0"]);
    let error = run(&format!("drain {target} --messages 200 --strict --client-id other")).await.unwrap_err();
    assert!(error.to_string().contains("the session is gone"), "{error:#}");

    let (_broker, target, _tasks) = Broker::start(Fault::Drop).await;
    run(&format!("durable {target} --messages 200")).await.unwrap();
    let error = run(&format!("drain {target} --messages 200 --idle 1 --strict")).await.unwrap_err();
    assert!(error.to_string().contains("180 of 200 acknowledged messages came"), "{error:#}");
}

#[tokio::test]
async fn connections_are_opened_held_and_found_alive() {
    let (_broker, target, _tasks) = Broker::start(Fault::None).await;
    let own = std::process::id();
    let line = format!("connect {target} --connections 40 --parallel 8 --subscribe --hold 0 --pid {own}");
    let figures = run(&line).await.unwrap();
    assert!(value(&figures, "connected") > 0.0, "{figures:?}");
    assert!(figures.iter().any(|figure| figure.name == "resident each"), "{figures:?}");
    assert_eq!(shown(&figures, ["lost"]), ["0"]);
}

#[tokio::test]
async fn the_disk_is_measured_and_left_clean() {
    let dir = tempfile::tempdir().unwrap();
    let figures = run(&format!("disk --dir {} --seconds 0.1", dir.path().display())).await.unwrap();
    assert!(value(&figures, "synced") > 0.0, "{figures:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let missing = dir.path().join("missing");
    let error = run(&format!("disk --dir {}", missing.display())).await.unwrap_err();
    assert!(format!("{error:#}").contains("creating the file"), "{error:#}");
}

#[tokio::test]
async fn qos_0_has_no_acknowledgement_to_measure() {
    let error = run("publish --qos 0").await.unwrap_err();
    assert!(error.to_string().contains("p2p"), "{error:#}");
}
