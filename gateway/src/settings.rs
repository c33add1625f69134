//! What an operator may set of a gateway: one table a protocol, every key with a default and a unit in its type.

mod drain;
mod link;
mod lookup;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytesize::ByteSize;
use causeway_compute::drain::Goodbye;
use serde::{Deserialize, Serialize};

pub use self::drain::Drain;
pub use self::link::{Linked, Secret, Served};
pub use self::lookup::Lookup;

/// Settings of every protocol that a gateway serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// MQTT.
    pub mqtt: Mqtt,
    /// How it ends.
    pub drain: Drain,
    /// How a client is found that is connected to another gateway.
    pub lookup: Lookup,
    /// Messages of the last so many bytes of each shard's log stay decoded, so that many subscribers of one topic cost
    /// one decoding. Where the brokers are in this process they share the memory of the log's tail: keep it well below
    /// that. Zero: none.
    #[serde(with = "crate::exact")]
    pub message_cache: ByteSize,
}

/// `[mqtt]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// Addresses to listen on, without TLS. Empty: MQTT is not served. This machine alone by default, since nobody is
    /// asked who they are yet.
    pub bind: Vec<SocketAddr>,
    /// Connections open at once, over all addresses; one more is closed at once.
    pub max_connections: usize,
    /// The largest packet that a client may send.
    #[serde(with = "crate::exact")]
    pub max_packet: ByteSize,
    /// The largest CONNECT, which comes from somebody not known yet.
    #[serde(with = "crate::exact")]
    pub max_connect: ByteSize,
    /// A connection that has not sent its CONNECT by then is closed.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// The longest client identifier, in bytes.
    pub max_client_id: usize,
    /// Clients that ask for a longer keep alive, or for none, get this many seconds. Absent: they have theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keep_alive: Option<u16>,
    /// Publishes at QoS 1 of one client that wait for their acknowledgement.
    pub receive_maximum: u16,
    /// Bytes of one client's publishes that wait to be durable; over it, its socket is not read.
    #[serde(with = "crate::exact")]
    pub max_inbound: ByteSize,
    /// Deliveries at QoS 1 to one client that wait for its acknowledgement.
    pub max_in_flight: u16,
    /// Bytes that wait for one client's socket; over it, nothing is fetched for it.
    #[serde(with = "crate::exact")]
    pub max_outbound: ByteSize,
    /// Messages that one session is told of and has not looked at; over it they are forgotten and it reads the index.
    pub mailbox: usize,
    /// Subscriptions of one session.
    pub max_filters: usize,
    /// How long a progress that moved may be kept from the log.
    #[serde(with = "humantime_serde")]
    pub progress_interval: Duration,
    /// Bytes of progress, over all sessions, after which it is logged sooner.
    #[serde(with = "crate::exact")]
    pub progress_size: ByteSize,
    /// How long a socket may take to accept the last packets.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mqtt: Mqtt::default(),
            drain: Drain::default(),
            lookup: Lookup::default(),
            message_cache: ByteSize::mib(1),
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        let causeway_mqtt::Settings {
            packet_bytes,
            connect_bytes,
            connect_timeout,
            client_id_bytes,
            keep_alive,
            receive_maximum,
            inbound_bytes,
            in_flight,
            outbound_bytes,
            mailbox,
            filters,
            progress_interval,
            progress_bytes,
            close_timeout,
            goodbye: _,
        } = causeway_mqtt::Settings::default();
        Self {
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1883))],
            max_connections: 1_000_000,
            max_packet: size(packet_bytes),
            max_connect: size(connect_bytes),
            connect_timeout,
            max_client_id: client_id_bytes,
            max_keep_alive: keep_alive,
            receive_maximum,
            max_inbound: size(inbound_bytes),
            max_in_flight: in_flight,
            max_outbound: size(outbound_bytes),
            mailbox,
            max_filters: filters,
            progress_interval,
            progress_size: ByteSize::b(progress_bytes),
            close_timeout,
        }
    }
}

impl Settings {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = self.mqtt.validate();
        problems.extend(self.drain.validate());
        problems.extend(self.lookup.validate());
        problems
    }
}

impl Mqtt {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("mqtt.{problem}"));
            }
        };
        let (kib, mib) = (ByteSize::kib, ByteSize::mib);
        let twice =
            self.bind.iter().enumerate().any(|(index, address)| {
                address.port() != 0 && self.bind.iter().take(index).any(|other| other == address)
            });
        must(!twice, "bind: names an address twice");
        must(self.max_connections > 0, "max_connections: at least 1");
        must((kib(1)..=mib(64)).contains(&self.max_packet), "max_packet: 1 KiB to 64 MiB");
        must((kib(1)..=mib(1)).contains(&self.max_connect), "max_connect: 1 KiB to 1 MiB");
        must(!self.connect_timeout.is_zero(), "connect_timeout: more than 0");
        must((23..=65_535).contains(&self.max_client_id), "max_client_id: 23 to 65535");
        must(self.max_keep_alive != Some(0), "max_keep_alive: at least 1, or left out");
        must(self.receive_maximum > 0, "receive_maximum: at least 1");
        must(self.max_inbound > ByteSize::b(0), "max_inbound: more than 0");
        must((1..=8192).contains(&self.max_in_flight), "max_in_flight: 1 to 8192");
        must(self.max_outbound > ByteSize::b(0), "max_outbound: more than 0");
        must((1..=1 << 20).contains(&self.mailbox), "mailbox: 1 to 1048576");
        must(self.max_filters > 0, "max_filters: at least 1");
        must(self.progress_interval <= Duration::from_secs(1), "progress_interval: at most 1s");
        must(!self.close_timeout.is_zero(), "close_timeout: more than 0");
        problems
    }

    /// What the protocol's crate takes.
    pub(crate) fn protocol(&self, goodbye: Goodbye) -> causeway_mqtt::Settings {
        causeway_mqtt::Settings {
            packet_bytes: bytes(self.max_packet),
            connect_bytes: bytes(self.max_connect),
            connect_timeout: self.connect_timeout,
            client_id_bytes: self.max_client_id,
            keep_alive: self.max_keep_alive,
            receive_maximum: self.receive_maximum,
            inbound_bytes: bytes(self.max_inbound),
            in_flight: self.max_in_flight,
            outbound_bytes: bytes(self.max_outbound),
            mailbox: self.mailbox,
            filters: self.max_filters,
            progress_interval: self.progress_interval,
            progress_bytes: self.progress_size.as_u64(),
            close_timeout: self.close_timeout,
            goodbye,
        }
    }
}

fn size(bytes: usize) -> ByteSize {
    ByteSize::b(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

/// The longest place: a host name of 253 bytes and a port.
const PLACE: usize = 259;

/// `host:port`, in characters that every protocol can carry.
fn is_place(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_is_fine = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    host_is_fine && text.len() <= PLACE && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_fine_here_and_in_the_protocols_own_eyes() {
        let settings = Settings::default();
        assert_eq!(settings.validate(), [""; 0]);
        assert_eq!(settings.mqtt.protocol(Goodbye::default()), causeway_mqtt::Settings::default());
        assert_eq!(settings.mqtt.protocol(Goodbye::default()).problems(), [""; 0]);
    }

    #[test]
    fn what_is_printed_is_what_is_read() {
        let mut settings = Settings::default();
        settings.mqtt.max_keep_alive = Some(300);
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn units_are_written_out_and_unknown_keys_are_refused() {
        let text = "[mqtt]\nbind = [\"127.0.0.1:0\"]\nmax_packet = \"1 MiB\"\nconnect_timeout = \"5s\"";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.mqtt.max_packet, ByteSize::mib(1));
        assert_eq!(settings.mqtt.connect_timeout, Duration::from_secs(5));
        let error = toml::from_str::<Settings>("[mqtt]\nmax_packets = 1").unwrap_err();
        assert!(error.message().contains("max_packets"), "{error}");
    }

    #[test]
    fn every_problem_is_reported_at_once_and_none_is_left_to_the_protocol() {
        let bad = Mqtt {
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)); 2],
            max_connections: 0,
            max_packet: ByteSize::b(1),
            max_connect: ByteSize::mib(2),
            connect_timeout: Duration::ZERO,
            max_client_id: 1,
            max_keep_alive: Some(0),
            receive_maximum: 0,
            max_inbound: ByteSize::b(0),
            max_in_flight: 0,
            max_outbound: ByteSize::b(0),
            mailbox: 0,
            max_filters: 0,
            progress_interval: Duration::from_secs(2),
            progress_size: ByteSize::b(0),
            close_timeout: Duration::ZERO,
        };
        let problems = bad.validate();
        assert_eq!(problems.len(), 15, "{problems:#?}");
        assert!(problems.iter().all(|problem| problem.starts_with("mqtt.") && problem.contains(": ")));
        // As many as the protocol finds, and those of the listener.
        assert!(bad.protocol(Goodbye::default()).problems().len() <= problems.len());
    }
}
