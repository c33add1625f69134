//! Mutual TLS: both sides show a certificate of one authority, or there is no link.

use std::path::{Path, PathBuf};

use causeway_compute::port::{Broker, Overview};
use causeway_link::{ClientSettings, Error, ServerSettings, Tls, connect};
use causeway_local::memory::Memory;
use causeway_model::{Qos, ShardId};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::time::timeout;

use crate::restart::message;
use crate::world::{PATIENCE, Server, client, identity, process, server_settings};

/// An authority and one certificate of it, for the name `localhost`, in files.
struct Authority {
    directory: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let this = Self { directory };
        this.write("ca", &ca.pem());
        this.write("certificate", &certificate.pem());
        this.write("key", &key.serialize_pem());
        this
    }

    fn write(&self, name: &str, text: &str) {
        #[expect(clippy::disallowed_methods, reason = "a certificate for a test")]
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    /// Trusts `other` and shows a certificate of its own.
    fn trusting(&self, other: &Self) -> Tls {
        Tls {
            ca: other.path("ca"),
            certificate: self.path("certificate"),
            key: self.path("key"),
            server_name: Some("localhost".into()),
        }
    }
}

async fn refusal(settings: ClientSettings) -> Error {
    let process = process();
    timeout(PATIENCE, connect(settings, identity(9), &process.tasks)).await.unwrap().unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_of_one_authority_link_and_others_are_refused_with_words() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let tls = ours.trusting(&ours);
    let settings = ServerSettings { tls: Some(tls.clone()), ..server_settings() };
    let server = Server::start(&Memory::new(1), &settings).await;
    let with = |tls: Tls| ClientSettings { tls: Some(tls), ..server.settings() };
    // A client that does not trust the server.
    let error = refusal(with(ours.trusting(&theirs))).await;
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    // A client that the server does not trust.
    let error = refusal(with(theirs.trusting(&ours))).await;
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    // A server of another name.
    let error = refusal(with(Tls { server_name: Some("elsewhere".into()), ..tls.clone() })).await;
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    // A file that is not there.
    let error = refusal(with(Tls { key: ours.path("none"), ..tls.clone() })).await;
    assert!(matches!(&error, Error::File { path, .. } if path.ends_with("none")), "{error}");
    let process = process();
    let client = client(with(tls), 1, &process).await;
    let shard = ShardId(0);
    client.propose(shard, vec![message("t", Qos::AtLeastOnce, "x")]).await.unwrap();
    assert!(client.status(shard).await.unwrap().leader);
}
