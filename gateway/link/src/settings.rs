//! Where a link leads or listens, and who may use it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use causeway_model::Lineage;
use serde::{Deserialize, Serialize};

use crate::ClientMetrics;

/// Mutual TLS: both sides show a certificate that `ca` signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the authority that signed every certificate of the cluster.
    pub ca: PathBuf,
    /// PEM file of this side's certificate, with its chain.
    pub certificate: PathBuf,
    /// PEM file of this side's private key.
    pub key: PathBuf,
    /// The name that the other side's certificate must carry; the host that was dialled when absent.
    #[serde(default)]
    pub server_name: Option<String>,
}

/// How long to wait between attempts to reach a broker: doubled from `first` up to `most`, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// At most.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(50), most: Duration::from_secs(2) }
    }
}

/// When a silent link is taken for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often the other side is asked for a sign of life.
    pub interval: Duration,
    /// How long it may take to give one.
    pub timeout: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self { interval: Duration::from_secs(2), timeout: Duration::from_secs(5) }
    }
}

/// A client's side of the link.
#[derive(Clone)]
pub struct ClientSettings {
    /// `host:port` of brokers, tried in turn.
    pub brokers: Vec<String>,
    /// What proves that this client may connect.
    pub token: Option<String>,
    /// Mutual TLS; without it the link is in clear text.
    pub tls: Option<Tls>,
    /// The cluster that is expected; `None` takes whichever answers first and keeps to it.
    pub lineage: Option<Lineage>,
    /// Bytes of calls that may wait for an answer, proposals and queries each; over it calls are refused as busy. One
    /// call of any size is let in when nothing waits.
    pub in_flight_bytes: usize,
    /// Frames that a reader of notify may lag behind.
    pub notify_frames: usize,
    /// Bytes of frames that a reader of notify may lag behind.
    pub notify_bytes: usize,
    /// Brokers tell readers of the queues that they want to hear of ([`Wants`]), not of all.
    ///
    /// [`Wants`]: causeway_compute::port::Wants
    pub precise: bool,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// When a silent broker is given up.
    pub liveness: Liveness,
    /// What is counted; `None`: nobody looks at it.
    pub metrics: Option<ClientMetrics>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            brokers: Vec::new(),
            token: None,
            tls: None,
            lineage: None,
            in_flight_bytes: 64 << 20,
            notify_frames: 1024,
            notify_bytes: 16 << 20,
            precise: false,
            backoff: Backoff::default(),
            liveness: Liveness::default(),
            metrics: None,
        }
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("brokers", &self.brokers)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("lineage", &self.lineage)
            .field("in_flight_bytes", &self.in_flight_bytes)
            .finish_non_exhaustive()
    }
}

/// A server's side of the link.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// What a client must show; needed off loopback unless there is TLS.
    pub token: Option<String>,
    /// Mutual TLS.
    pub tls: Option<Tls>,
    /// Connections open at once; a further one is closed before a byte is read.
    pub max_connections: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 7400)), token: None, tls: None, max_connections: 256 }
    }
}

impl ServerSettings {
    /// All problems at once, each naming its setting.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.bind.ip().is_loopback() && self.token.is_none() && self.tls.is_none() {
            problems.push(format!(
                "link.bind: {} can be reached from elsewhere, so link.token, link.token_file or link.tls is needed",
                self.bind
            ));
        }
        if self.token.as_deref().is_some_and(str::is_empty) {
            problems.push("link.token: must not be empty".to_owned());
        }
        if self.max_connections == 0 {
            problems.push("link.max_connections: at least 1".to_owned());
        }
        problems
    }
}

impl fmt::Debug for ServerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSettings")
            .field("bind", &self.bind)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field("tls", &self.tls)
            .field("max_connections", &self.max_connections)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_loopback_a_token_or_tls_is_needed() {
        let open = ServerSettings { bind: SocketAddr::from(([0, 0, 0, 0], 7400)), ..ServerSettings::default() };
        assert_eq!(ServerSettings::default().validate(), [] as [&str; 0]);
        assert!(matches!(&open.validate()[..], [problem] if problem.contains("link.token")));
        let token = |token: &str| ServerSettings { token: Some(token.to_owned()), ..open.clone() };
        assert_eq!(token("secret").validate(), [] as [&str; 0]);
        assert_eq!(token("").validate(), ["link.token: must not be empty"]);
        assert!(!format!("{:?}", token("secret")).contains("secret"));
    }
}
