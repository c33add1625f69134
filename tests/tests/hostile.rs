//! What a broker meets outside the laboratory: clients that never read, garbage, full disks, damaged files.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use causeway_mqtt::codec::{Connect, Packet, Qos, Reason, Version};
use causeway_tests::client::{Client, message, persistent, volatile};
use causeway_tests::process::{self, Broker};
use causeway_tests::seed;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Resident memory of a process, in bytes.
fn resident(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// Publishes `count` messages of `bytes` bytes, 20 in flight.
fn flood(broker: &Broker, topic: &str, count: usize, bytes: usize) {
    let (mut client, _) = Client::connect(broker.mqtt, volatile("flood")).unwrap();
    let payload = bytes::Bytes::from(vec![b'x'; bytes]);
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < count {
        while sent < count && sent - acknowledged < 20 {
            let pid = u16::try_from(sent % 1000 + 1).unwrap();
            client.queue(&Packet::Publish(message(topic, payload.clone(), pid).unwrap())).unwrap();
            sent += 1;
        }
        client.flush().unwrap();
        assert!(matches!(client.receive().unwrap(), Packet::PubAck(_)));
        acknowledged += 1;
    }
}

#[test]
fn subscribers_that_never_read_cost_bounded_memory_and_do_not_stop_others() {
    let data = tempfile::tempdir().unwrap();
    let settings = data.path().join("small.toml");
    // A small tail, so that what slow clients hold would show beside it.
    std::fs::write(&settings, "[storage]\ntail = '4MiB'\n[index]\nmemory = '16MiB'\n").unwrap();
    let broker = Broker::start_with(data.path(), &["--config", settings.to_str().unwrap()]).unwrap();
    flood(&broker, "warm/up", 2_000, 4096);

    let mut sleepers = Vec::new();
    for n in 0..50 {
        let (mut client, _) = Client::connect(broker.mqtt, volatile(&format!("sleeper-{n}"))).unwrap();
        client.subscribe("load/#", Qos::AtLeastOnce).unwrap();
        sleepers.push(client);
    }
    let (mut reader, _) = Client::connect(broker.mqtt, volatile("reader")).unwrap();
    reader.subscribe("load/a", Qos::AtLeastOnce).unwrap();

    let before = resident(&broker);
    let count = 20_000;
    let read = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..count {
                reader.take().unwrap();
            }
            read.store(true, Ordering::Relaxed);
        });
        flood(&broker, "load/a", count, 4096);
    });
    assert!(read.load(Ordering::Relaxed), "the reader got everything although fifty others did not read");
    let grown = resident(&broker).saturating_sub(before);
    // 80 MB were published to each of them; what they may hold is their out-buffers, the tail and the index.
    assert!(grown < 96 << 20, "{} MiB more for 50 clients that do not read", grown >> 20);
    drop(sleepers);
}

#[test]
fn garbage_on_the_port_ends_its_own_connection_only() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let mut random = StdRng::seed_from_u64(seed("garbage"));
    let (mut witness, _) = Client::connect(broker.mqtt, volatile("witness")).unwrap();
    witness.subscribe("alive", Qos::AtLeastOnce).unwrap();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(broker.mqtt).unwrap();
        let mut bytes = vec![0; random.random_range(1..2000)];
        random.fill(&mut bytes[..]);
        if random.random() {
            // As far as CONNECT it is well formed, so that the rest reaches the session.
            let mut good = bytes::BytesMut::new();
            let connect = Connect::new(Version::V5, "garbage");
            Packet::Connect(Box::new(connect)).encode(Version::V5, &mut good).unwrap();
            bytes.splice(0..0, good);
        }
        // The server may close before everything is written: that is its right.
        let _ = stream.write_all(&bytes);
    }
    let (mut publisher, _) = Client::connect(broker.mqtt, volatile("publisher")).unwrap();
    assert_eq!(publisher.publish("alive", "yes", 1).unwrap(), Reason::Success);
    assert_eq!(&*witness.take().unwrap().payload, b"yes");
}

/// Bytes that a file system has left.
fn free(at: &Path) -> u64 {
    let out = Command::new("df").args(["--output=avail", "-B1"]).arg(at).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

/// A small file system of its own, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0777");
        let arguments = ["-t", "tmpfs", "-o", &options, "tmpfs"];
        let mounted = |command: &mut Command| command.args(arguments).arg(at).status().is_ok_and(|end| end.success());
        assert!(
            mounted(&mut Command::new("mount")) || mounted(Command::new("sudo").args(["-n", "mount"])),
            "this test fills a file system of its own: run it as root, as CI does, or with a sudo that does not ask"
        );
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|end| end.success()) {
            let _ = Command::new("sudo").args(["-n", "umount", "-l"]).arg(&self.0).status();
        }
    }
}

#[test]
fn a_full_disk_refuses_publishes_serves_reads_and_recovers_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path(), "200m");
    let settings = dir.path().join("broker.toml");
    let text = "[storage]\nsegment = '8MiB'\n[disk]\ntrim_below = '32MiB'\nrefuse_below = '24MiB'\n";
    std::fs::write(&settings, text).unwrap();
    let data = dir.path().join("data");
    let broker = Broker::start_with(&data, &["--config", settings.to_str().unwrap()]).unwrap();
    let (mut reader, _) = Client::connect(broker.mqtt, persistent("reader")).unwrap();
    reader.subscribe("kept", Qos::AtLeastOnce).unwrap();
    let v5 = |name: &str| Client::connect(broker.mqtt, Connect::new(Version::V5, name.to_owned())).unwrap().0;
    let mut publisher = v5("publisher");
    assert_eq!(publisher.publish("kept", "before", 1).unwrap(), Reason::Success);

    // Somebody else fills the file system up to below `refuse_below`.
    let filler = dir.path().join("filler");
    let filling = vec![1; 1 << 20];
    let mut file = std::fs::File::create(&filler).unwrap();
    while free(dir.path()) > 12 << 20 {
        file.write_all(&filling).unwrap();
    }
    // Small messages, for as long as it takes the broker to look at the disk.
    let refused = (0..1_000_000).find_map(|_| match publisher.publish("fill", "x", 2).unwrap() {
        Reason::Success => None,
        reason => Some(reason),
    });
    assert_eq!(refused, Some(Reason::QuotaExceeded), "a full disk is told with the protocol's own code");
    drop(reader);
    let (mut reader, ack) = Client::connect(broker.mqtt, persistent("reader")).unwrap();
    assert!(ack.session_present, "clients come back to read");
    assert_eq!(&*reader.take().unwrap().payload, b"before", "reads go on");

    // And now really everything: nothing changes for a publisher, and nothing breaks.
    while file.write_all(&filling).is_ok() {}
    drop(file);
    assert_eq!(publisher.publish("fill", "x", 2).unwrap(), Reason::QuotaExceeded);

    std::fs::remove_file(&filler).unwrap();
    // The broker finds the space by itself. Each attempt is a round trip, so this waits for an answer, not for time.
    let recovered = (0..1_000_000).any(|_| publisher.publish("kept", "after", 3).unwrap() == Reason::Success);
    assert!(recovered, "publishes go on when there is space again");
    assert_eq!(&*reader.take().unwrap().payload, b"after");
    drop(broker);
    drop(disk);
}

#[test]
fn a_damaged_log_is_refused_with_file_and_position_and_a_damaged_index_is_rebuilt() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path()).unwrap();
    let (mut reader, _) = Client::connect(broker.mqtt, persistent("reader")).unwrap();
    reader.subscribe("a/+", Qos::AtLeastOnce).unwrap();
    reader.disconnect().unwrap();
    flood(&broker, "a/b", 100, 1000);
    assert!(broker.terminate().unwrap().success());

    // The index first: it can be made again from the log.
    let index = data.path().join("index");
    for name in walk(&index).into_iter().filter(|path| path.extension().is_some_and(|e| e == "sst")) {
        std::fs::OpenOptions::new().write(true).open(&name).unwrap().write_at(&[0xA5; 64], 20).unwrap();
    }
    let broker = Broker::start(data.path()).unwrap();
    let (mut reader, ack) = Client::connect(broker.mqtt, persistent("reader")).unwrap();
    assert!(ack.session_present);
    for _ in 0..100 {
        assert_eq!(&*reader.take().unwrap().topic, "a/b");
    }
    drop(broker);

    // Now the log, in the middle of what was acknowledged.
    let segment = data.path().join("log/00000000000000000000");
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_at(&[0xA5], 50_000).unwrap();
    let out = Command::new(process::binary().unwrap()).arg("--data").arg(data.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success(), "{said}");
    assert!(said.contains("00000000000000000000") && said.contains("position"), "{said}");
}

#[test]
fn a_rebuild_that_could_not_be_finished_is_refused_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let settings = data.path().join("small.toml");
    std::fs::write(&settings, "[storage]\nsegment = '1MiB'\n").unwrap();
    let start = || Broker::start_with(data.path(), &["--config", settings.to_str().unwrap()]).unwrap();
    let broker = start();
    flood(&broker, "a/b", 4_000, 1000);
    assert!(broker.terminate().unwrap().success());

    let mut segments = walk(&data.path().join("log"));
    segments.retain(|path| path.file_name().is_some_and(|name| name.len() == 20));
    segments.sort();
    assert!(segments.len() > 3, "{segments:?}");
    let file = std::fs::OpenOptions::new().write(true).open(&segments[1]).unwrap();
    file.write_at(&[0xA5], 300_000).unwrap();

    let tool = |arguments: &[&str]| {
        let out = Command::new(process::binary().unwrap()).args(arguments).arg("--data").arg(data.path()).output();
        let out = out.unwrap();
        (out.status.success(), [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap()).concat())
    };
    let (succeeded, said) = tool(&["index", "rebuild"]);
    assert!(!succeeded && said.contains("nothing was changed"), "{said}");
    let (succeeded, said) = tool(&["log", "inspect", "--batches", "1000000"]);
    assert!(!succeeded && said.contains("DAMAGED"), "{said}");

    // What could be read before can be read still.
    let broker = start();
    let (mut client, _) = Client::connect(broker.mqtt, volatile("client")).unwrap();
    client.subscribe("a/b", Qos::AtLeastOnce).unwrap();
    flood(&broker, "a/b", 1, 10);
    assert_eq!(&*client.take().unwrap().payload, b"xxxxxxxxxx");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
