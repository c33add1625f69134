//! Who may join a system: processes whose link has certificates, or a token in a file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use causeway_mqtt::codec::Qos;
use causeway_tests::client::{Client, volatile};
use causeway_tests::daemon::Daemon;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

/// Not a measure of speed: a hang becomes a failure that says where.
const PATIENCE: Duration = Duration::from_mins(1);

/// An authority and one certificate of it, for the name `localhost`, in files.
struct Authority(TempDir);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        let this = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("ca", ca.pem()), ("certificate", certificate.pem()), ("key", key.serialize_pem())] {
            std::fs::write(this.path(name), text).unwrap();
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `[link.tls]` of who trusts `other` and shows a certificate of its own.
    fn trusting(&self, other: &Self) -> String {
        let files = [("ca", other.path("ca")), ("certificate", self.path("certificate")), ("key", self.path("key"))];
        let files = files.map(|(name, file)| format!("{name} = '{}'", file.display()));
        format!("tls = {{ server_name = 'localhost', {} }}\n", files.join(", "))
    }
}

/// A broker that serves nothing but its link, with this in `[link]`.
fn broker(directory: &Path, link: &str) -> Daemon {
    let (config, data) = (directory.join("broker.toml"), directory.join("data"));
    let data = data.display();
    let text =
        format!("data = '{data}'\nmqtt.bind = []\nadmin.bind = '127.0.0.1:0'\n[link]\nbind = '127.0.0.1:0'\n{link}");
    std::fs::write(&config, text).unwrap();
    Daemon::start("causeway-broker", ["--config".as_ref(), config.as_os_str()]).unwrap()
}

/// A gateway before it, with this in `[link]`.
fn gateway(directory: &Path, broker: &Daemon, name: &str, link: &str) -> anyhow::Result<Daemon> {
    let (config, to) = (directory.join(format!("{name}.toml")), broker.link()?);
    let text = format!(
        "name = '{name}'\nmqtt.bind = ['127.0.0.1:0']\nadmin.bind = '127.0.0.1:0'\n[link]\nbrokers = '{to}'\n{link}"
    );
    std::fs::write(&config, text)?;
    Daemon::start("causeway-gateway", ["--config".as_ref(), config.as_os_str()])
}

/// Two gateways with this in `[link]` are one system with the broker: messages go across, and they ask each other.
fn are_one_system(directory: &Path, broker: &Daemon, link: &str) {
    let [here, there] = ["here", "there"].map(|name| gateway(directory, broker, name, link).unwrap());
    let (mut dash, _) = Client::connect(there.mqtt().unwrap(), volatile("dash")).unwrap();
    dash.subscribe("plant/+/temp", Qos::AtLeastOnce).unwrap();
    let (mut sensor, _) = Client::connect(here.mqtt().unwrap(), volatile("sensor")).unwrap();
    sensor.publish("plant/7/temp", "21.5", 1).unwrap();
    assert_eq!(&*dash.take().unwrap().payload, b"21.5");
    let begun = Instant::now();
    for asked in [broker, &here] {
        // Who has not heard of a new gateway yet says that it does not know.
        loop {
            let (_, body) = asked.get("/api/v1/clients/dash").unwrap();
            let found: Value = serde_json::from_str(&body).unwrap();
            if found["gateway"]["name"] == "there" {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "not found within a minute: {body}");
            std::thread::yield_now();
        }
    }
}

/// What a gateway that may not join says at its end.
fn refusal(directory: &Path, broker: &Daemon, link: &str) -> String {
    gateway(directory, broker, "stranger", link).unwrap_err().to_string()
}

#[test]
fn processes_with_certificates_of_one_authority_are_one_system_and_others_end_with_words() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let broker = broker(directory.path(), &ours.trusting(&ours));
    are_one_system(directory.path(), &broker, &ours.trusting(&ours));
    let open = tempfile::tempdir().unwrap();
    let open = self::broker(open.path(), "");
    for (who, broker, link) in [
        ("it does not trust the broker", &broker, ours.trusting(&theirs)),
        ("the broker does not trust it", &broker, theirs.trusting(&ours)),
        ("the broker has no certificate", &open, ours.trusting(&ours)),
    ] {
        let said = refusal(directory.path(), broker, &link);
        let words = format!("causeway-gateway: TLS with {}: ", broker.link().unwrap());
        assert!(said.contains("exit status: 1") && said.contains(&words), "{who}: {said}");
    }
}

#[test]
fn processes_whose_files_hold_one_token_are_one_system_and_others_end_with_words() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
    std::fs::write(&ours, "a secret\n").unwrap();
    std::fs::write(&theirs, "a guess\n").unwrap();
    let holds = |file: &Path| format!("token_file = '{}'\n", file.display());
    let broker = broker(directory.path(), &holds(&ours));
    are_one_system(directory.path(), &broker, &holds(&ours));
    are_one_system(directory.path(), &broker, "token = 'a secret'\n");
    let words = format!("causeway-gateway: {} refused the link: wrong token", broker.link().unwrap());
    for (who, link) in [("another token", holds(&theirs)), ("no token", String::new())] {
        let said = refusal(directory.path(), &broker, &link);
        assert!(said.contains("exit status: 1") && said.contains(&words), "{who}: {said}");
        assert!(!said.contains("guess"), "{said}");
    }
    assert!(!broker.log().contains("secret"), "{}", broker.log());
}
