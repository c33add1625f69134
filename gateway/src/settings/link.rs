//! `[link]`: how processes of one system reach each other.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use bytesize::ByteSize;
use causeway_link::{ClientSettings, ServerSettings, Tls};
use causeway_model::{Lineage, Text};
use serde::{Deserialize, Deserializer, Serialize};

/// `[link]` of a process that gateways connect to: a broker, with the gateway that it hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Served {
    /// Addresses to listen on, one or a list. Empty: there are no gateways elsewhere.
    #[serde(deserialize_with = "one_or_many")]
    pub bind: Vec<SocketAddr>,
    /// Where other processes reach it, `host:port`. Absent: the first address that it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// What every process of the system must show. Needed off loopback, unless there is TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Mutual TLS; without it the link is in clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Connections open at once, on each address; one more is closed at once.
    pub max_connections: usize,
}

/// `[link]` of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Linked {
    /// Brokers, `host:port`, one or a list; tried in turn.
    #[serde(deserialize_with = "one_or_many")]
    pub brokers: Vec<String>,
    /// Addresses on which other gateways reach this one, one or a list. Empty: they cannot, and it asks none.
    #[serde(deserialize_with = "one_or_many")]
    pub bind: Vec<SocketAddr>,
    /// What other gateways are told of it, `host:port`. Absent: the first address that it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// What every process of the system must show. Needed off loopback, unless there is TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Mutual TLS; without it the link is in clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Bytes of calls that may wait for the brokers' answers; over it, clients are told that the server is busy.
    #[serde(with = "crate::exact")]
    pub in_flight: ByteSize,
    /// What the brokers tell it of new messages.
    pub delivery: Delivery,
    /// Connections of other gateways open at once, on each address; one more is closed at once.
    pub max_connections: usize,
}

/// What the brokers tell a gateway of new messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// All there are. Best for a few gateways: nothing is registered, and nobody waits for it.
    #[default]
    Broadcast,
    /// Those for which it has a subscriber. Best for many gateways, each with interest in little of what is published:
    /// a subscription waits for one more answer of the brokers, which keep the queues of each gateway in memory.
    Precise,
}

/// What is not to be seen in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl Default for Served {
    fn default() -> Self {
        let usual = ServerSettings::default();
        Self { bind: vec![usual.bind], advertise: None, token: None, tls: None, max_connections: usual.max_connections }
    }
}

impl Default for Linked {
    fn default() -> Self {
        let Served { advertise, token, tls, max_connections, .. } = Served::default();
        Self {
            brokers: vec![format!("127.0.0.1:{}", ServerSettings::default().bind.port())],
            // Any port will do: the brokers tell the others which.
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            advertise,
            token,
            tls,
            in_flight: ByteSize::b(u64::try_from(ClientSettings::default().in_flight_bytes).unwrap_or(u64::MAX)),
            delivery: Delivery::default(),
            max_connections,
        }
    }
}

impl Served {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems: Vec<_> = self.each().flat_map(|server| server.validate()).collect();
        problems.dedup();
        if self.advertise.as_deref().is_some_and(|place| !super::is_place(place)) {
            problems.push("link.advertise: host:port, such as broker-0.broker:7400".to_owned());
        }
        if self.advertise.is_none() && self.bind.first().is_some_and(|address| address.ip().is_unspecified()) {
            problems
                .push("link.advertise: needed, since others cannot reach the first of link.bind as it is".to_owned());
        }
        problems
    }

    /// What the link's server takes; the address apart.
    pub fn server(&self) -> ServerSettings {
        let token = self.token.as_ref().map(|token| token.0.clone());
        ServerSettings {
            token,
            tls: self.tls.clone(),
            max_connections: self.max_connections,
            ..ServerSettings::default()
        }
    }

    /// What others are told of a process that is bound to these addresses.
    pub fn address(&self, bound: &[SocketAddr]) -> Option<Text> {
        let first = bound.first()?;
        Some(self.advertise.as_deref().map_or_else(|| Text::from(first.to_string()), Text::from))
    }

    /// What links to other gateways take: who may ask, and of which system.
    pub fn peers(&self, lineage: Lineage) -> ClientSettings {
        let token = self.token.as_ref().map(|token| token.0.clone());
        ClientSettings { token, tls: self.tls.clone(), lineage: Some(lineage), ..ClientSettings::default() }
    }

    fn each(&self) -> impl Iterator<Item = ServerSettings> {
        self.bind.iter().map(|bind| ServerSettings { bind: *bind, ..self.server() })
    }
}

impl Linked {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = self.served().validate();
        if self.brokers.is_empty() {
            problems.push("link.brokers: at least one".to_owned());
        }
        for broker in self.brokers.iter().filter(|broker| !super::is_place(broker)) {
            problems.push(format!("link.brokers: {broker:?} is no host:port"));
        }
        if self.in_flight < ByteSize::mib(1) {
            problems.push("link.in_flight: at least 1 MiB".to_owned());
        }
        problems
    }

    /// What the link's client takes.
    pub fn client(&self) -> ClientSettings {
        ClientSettings {
            brokers: self.brokers.clone(),
            token: self.token.as_ref().map(|token| token.0.clone()),
            tls: self.tls.clone(),
            in_flight_bytes: super::bytes(self.in_flight),
            precise: self.delivery == Delivery::Precise,
            ..ClientSettings::default()
        }
    }

    /// How other gateways reach this one.
    pub fn served(&self) -> Served {
        let Self { bind, advertise, token, tls, max_connections, .. } = self.clone();
        Served { bind, advertise, token, tls, max_connections }
    }
}

fn one_or_many<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected one value or a list of them")]
    enum OneOrMany<T> {
        One(T),
        Many(Vec<T>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_fine_and_lead_a_gateway_to_a_broker_on_the_same_machine() {
        assert_eq!((Served::default().validate(), Linked::default().validate()), (vec![], vec![]));
        assert_eq!(Linked::default().brokers, [Served::default().bind[0].to_string()]);
        assert_eq!(Linked::default().client().in_flight_bytes, ClientSettings::default().in_flight_bytes);
    }

    #[test]
    fn an_address_alone_is_a_list_of_one() {
        for (text, count) in [("'127.0.0.1:7400'", 1), ("['127.0.0.1:7400', '[::1]:7400']", 2), ("[]", 0)] {
            let served: Served = toml::from_str(&format!("bind = {text}")).unwrap();
            assert_eq!(served.bind.len(), count);
            assert_eq!(toml::from_str::<Served>(&toml::to_string(&served).unwrap()).unwrap(), served);
        }
        let linked: Linked = toml::from_str("brokers = 'b:1'\ntoken = 'secret'\ndelivery = 'precise'").unwrap();
        assert!(linked.client().precise && !Linked::default().client().precise);
        assert_eq!(linked.brokers, ["b:1"]);
        assert!(!format!("{linked:?}").contains("secret"));
        assert!(toml::from_str::<Served>("bind = 7400").unwrap_err().message().contains("or a list"));
    }

    #[test]
    fn off_loopback_it_must_say_who_is_let_in_and_where_it_is() {
        let any = SocketAddr::from(([0, 0, 0, 0], 7400));
        let open = Served { bind: vec![any, any], ..Served::default() };
        let problems = open.validate();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("link.token") && problems[1].starts_with("link.advertise: needed"));
        let shut = Served { token: Some(Secret("s".into())), advertise: Some("b.example:7400".into()), ..open };
        assert_eq!(shut.validate(), [""; 0]);
        assert_eq!(shut.address(&[any]).as_deref(), Some("b.example:7400"));
        assert_eq!(Served::default().address(&[any]).as_deref(), Some("0.0.0.0:7400"));
        assert_eq!(Served::default().address(&[]), None);
        let bad = Linked { brokers: vec!["b".into()], in_flight: ByteSize::b(1), ..Linked::default() };
        assert_eq!(bad.validate().len(), 2);
        assert_eq!(Linked { brokers: vec![], ..Linked::default() }.validate(), ["link.brokers: at least one"]);
    }
}
