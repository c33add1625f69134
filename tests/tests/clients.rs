//! Real, unmodified clients against the broker as a process: what the README promises, typed as a user types it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use causeway_mqtt::codec::{Packet, Qos, Reason};
use causeway_tests::client::{Client, persistent, volatile};
use causeway_tests::process::{self, Broker};
use rumqttc::v5;

/// Waits for the end of a command and wants it to have gone well.
fn run(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| format!("{shown}: is mosquitto-clients installed? scripts/setup.sh"))?;
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(out.status.success(), "{shown}: {}\n{said}", out.status);
    Ok(out)
}

fn mosquitto(program: &str, broker: &Broker, arguments: &[&str]) -> Command {
    // Into a pipe, the client would keep its lines for later.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]).args(["-h", "127.0.0.1", "-p", &broker.mqtt.port().to_string()]).args(arguments);
    command
}

fn publish(broker: &Broker, topic: &str, message: &str) {
    run(&mut mosquitto("mosquitto_pub", broker, &["-t", topic, "-q", "1", "-m", message])).unwrap();
}

/// What `mosquitto_sub` prints, line by line.
struct Subscriber {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Messages of a resumed session come before SUBACK.
    early: VecDeque<String>,
}

impl Subscriber {
    /// Subscribes and returns once SUBACK has come, which the debug output tells.
    fn start(broker: &Broker, arguments: &[&str]) -> Self {
        let mut command = mosquitto("mosquitto_sub", broker, arguments);
        // After a minute it gives up, and the missing message is a failure instead of a hang.
        let mut child =
            command.args(["-d", "-W", "60"]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut subscriber = Self { child, lines, early: VecDeque::new() };
        loop {
            let line = subscriber.line();
            if line.contains("received SUBACK") {
                return subscriber;
            }
            if !is_log(&line) {
                subscriber.early.push_back(line);
            }
        }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("mosquitto_sub goes on").unwrap()
    }

    /// The next message.
    fn message(&mut self) -> String {
        if let Some(early) = self.early.pop_front() {
            return early;
        }
        loop {
            let line = self.line();
            if !is_log(&line) {
                return line;
            }
        }
    }
}

fn is_log(line: &str) -> bool {
    line.starts_with("Client ") || line.starts_with("Subscribed ")
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_first_steps_of_the_readme_work_and_survive_kill_nine() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let dash = ["-t", "plant/+/temp", "-q", "1", "-c", "-i", "dash", "-v"];

    let mut subscriber = Subscriber::start(&broker, &dash);
    publish(&broker, "plant/7/temp", "21.5");
    assert_eq!(subscriber.message(), "plant/7/temp 21.5");
    drop(subscriber);

    publish(&broker, "plant/8/temp", "while dash was away");
    publish(&broker, "plant/7/pressure", "nobody asked for this");
    broker.kill().unwrap();

    let broker = Broker::start(data.path()).unwrap();
    let mut subscriber = Subscriber::start(&broker, &dash);
    // At least once: what dash acknowledged just before it was killed may come again.
    let first = subscriber.message();
    let missed = if first == "plant/7/temp 21.5" { subscriber.message() } else { first };
    assert_eq!(missed, "plant/8/temp while dash was away");
    publish(&broker, "plant/9/temp", "live again");
    assert_eq!(subscriber.message(), "plant/9/temp live again");
}

#[test]
fn an_answer_goes_to_the_client_that_asked_and_an_eavesdropper_sees_the_question_alone() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let (mut spy, _) = Client::connect(broker.mqtt, volatile("spy")).unwrap();
    for (filter, expected) in [
        ("#", Reason::GrantedQos1),
        ("+/+", Reason::GrantedQos1),
        ("$p2p/#", Reason::UnspecifiedError),
        ("$p2p/+", Reason::UnspecifiedError),
        ("$p2p/phone", Reason::UnspecifiedError),
    ] {
        assert_eq!(spy.subscribe(filter, Qos::AtLeastOnce).unwrap().reasons, [expected], "{filter}");
    }
    let service = ["-V", "5", "-i", "service", "-t", "ask/time", "-q", "1", "-F", "%R %p"];
    let mut service = Subscriber::start(&broker, &service);
    let ask = ["-i", "phone", "-t", "ask/time", "-e", "$p2p/phone", "-q", "1", "-m", "when?", "-v", "-W", "60"];
    let mut phone = mosquitto("mosquitto_rr", &broker, &ask);
    let phone = phone.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(service.message(), "$p2p/phone when?");
    publish(&broker, "$p2p/phone", "noon");
    let answer = phone.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "$p2p/phone noon\n");
    assert!(answer.status.success());

    publish(&broker, "over/out", "x");
    // In the order of the log: an answer would have come between the two.
    for expected in ["ask/time", "over/out"] {
        assert_eq!(&*spy.take().unwrap().topic, expected);
    }
}

#[test]
fn what_is_addressed_to_a_client_that_is_away_waits_for_it_through_kill_nine() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let (mut phone, _) = Client::connect(broker.mqtt, persistent("phone")).unwrap();
    assert_eq!(phone.subscribe("$p2p/phone", Qos::AtLeastOnce).unwrap().reasons, [Reason::GrantedQos1]);
    phone.disconnect().unwrap();
    publish(&broker, "$p2p/phone", "while you were away");
    publish(&broker, "$p2p/tablet", "for nobody that is known");
    broker.kill().unwrap();

    let broker = Broker::start(data.path()).unwrap();
    let (mut phone, ack) = Client::connect(broker.mqtt, persistent("phone")).unwrap();
    assert!(ack.session_present);
    assert_eq!(&*phone.take().unwrap().payload, b"while you were away");
    publish(&broker, "$p2p/phone", "and live");
    assert_eq!(&*phone.take().unwrap().payload, b"and live");
}

#[test]
fn people_can_look_inside_a_running_and_a_stopped_broker() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let (mut dash, _) = Client::connect(broker.mqtt, persistent("dash")).unwrap();
    dash.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();
    publish(&broker, "plant/7/temp", "21.5");
    publish(&broker, "$p2p/dash", "21.5");

    let tool = |arguments: &[&str]| {
        let out = run(Command::new(process::binary().unwrap()).args(arguments)).unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let (admin, dir) = (broker.admin.to_string(), data.path().to_str().unwrap().to_owned());
    let running = ["--admin", admin.as_str()];
    let stopped = ["--data", dir.as_str()];

    let look = |place: [&str; 2]| {
        let queues = [("light", "plant/7/temp"), ("filter", "plant/+/temp"), ("client", "$p2p/dash"), ("log", "#")];
        for (kind, filter) in queues {
            let page = tool(&["queue", "read", filter, place[0], place[1]]);
            assert!(page.starts_with(&format!("{kind} queue of {filter}")), "{page}");
            assert!(page.contains("\"21.5\"") && page.contains("1 entries"), "{filter}: {page}");
        }
        let listing = tool(&["queue", "list", place[0], place[1]]);
        assert!(listing.contains("plant/+/temp  1 owners"), "{listing}");
        assert!(listing.contains("plant/7/temp  1 messages"), "{listing}");
    };
    look(running);
    let log = tool(&["log", "inspect", "--data", &dir, "--records"]);
    assert!(log.contains("Message to plant/7/temp, QoS 1, 4 bytes") && log.contains("Subscribe plant/+/temp"), "{log}");

    // A second process on the same directory is refused, and told by whom.
    let second = Command::new(process::binary().unwrap()).args(["--data", &dir]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains(&broker.pid().to_string()), "{said}");

    assert!(broker.terminate().unwrap().success());
    look(stopped);
    let rebuilt = tool(&["index", "rebuild", "--data", &dir]);
    assert!(rebuilt.contains("done"), "{rebuilt}");
    look(stopped);
}

#[test]
fn probes_metrics_and_configuration_answer_as_documented() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    publish(&broker, "a/b", "x");
    assert_eq!(broker.get("/healthz").unwrap().0, 200);
    assert_eq!(broker.get("/readyz").unwrap().0, 200);
    assert_eq!(broker.get("/nonsense").unwrap().0, 404);
    let (code, metrics) = broker.get("/metrics").unwrap();
    assert_eq!(code, 200);
    for name in ["causeway_log_applied_position", "causeway_index_file_bytes"] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is missing in:\n{metrics}");
    }

    let file = data.path().join("bad.toml");
    std::fs::write(&file, "[storage]\nsegmnt = 1\n[retention]\nmax_age = 3\n").unwrap();
    let check = Command::new(process::binary().unwrap()).arg("--config").arg(&file).arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success());
    assert!(said.contains("storage.segmnt") && said.contains("retention.max_age"), "{said}");
    let printed = run(Command::new(process::binary().unwrap()).arg("--print-config")).unwrap();
    std::fs::write(&file, printed.stdout).unwrap();
    run(Command::new(process::binary().unwrap()).arg("--config").arg(&file).arg("--check")).unwrap();
}

#[test]
fn clients_that_share_an_id_take_turns_and_each_is_let_in() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..30 {
                    let (mut client, ack) = Client::connect(broker.mqtt, volatile("shared")).unwrap();
                    assert_eq!(ack.reason, Reason::Success);
                    // Until one of the others comes; the last ones leave by themselves.
                    let _ = client.send(&Packet::PingReq);
                    while client.incoming().unwrap().is_some_and(|packet| packet != Packet::PingResp) {}
                }
            });
        }
    });
}

/// An MQTT 5 client that is not ours, and no sibling of mosquitto's.
#[test]
fn rumqttc_publishes_and_subscribes_in_version_5() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let options = v5::MqttOptions::new("rumqttc", "127.0.0.1", broker.mqtt.port());
    let (client, mut connection) = v5::Client::new(options, 10);
    client.subscribe("a/#", v5::mqttbytes::QoS::AtLeastOnce).unwrap();
    let mut got = Vec::new();
    while got.len() < 10 {
        let event = connection.recv_timeout(Duration::from_mins(1)).expect("a message within a minute");
        match event.unwrap() {
            v5::Event::Incoming(v5::Incoming::SubAck(_)) => {
                for n in 0..10 {
                    client.publish("a/b/c", v5::mqttbytes::QoS::AtLeastOnce, false, format!("{n}")).unwrap();
                }
            }
            v5::Event::Incoming(v5::Incoming::Publish(publish)) => {
                got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(got, (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}
