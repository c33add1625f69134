//! `[link]`: how processes of one system reach each other.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use bytesize::ByteSize;
use causeway_link::{ClientSettings, Error, ServerSettings, Tls};
use causeway_model::{Lineage, Text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config;

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
    /// A file that holds the token instead, such as a mounted secret. Read at start; a newline at its end is not part
    /// of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
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
    /// A file that holds the token instead, such as a mounted secret. Read at start; a newline at its end is not part
    /// of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
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

/// What is not to be seen, neither in logs nor where settings are printed: there it is `...`, which is not read back.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(pub String);

/// What is shown of a secret.
const HIDDEN: &str = "...";

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(secret: String) -> Result<Self, &'static str> {
        // A file that was printed would let in whoever knows how secrets are printed.
        if secret == HIDDEN {
            Err("`...` is printed where a secret is: put the secret there")
        } else {
            Ok(Self(secret))
        }
    }
}

impl Default for Served {
    fn default() -> Self {
        let usual = ServerSettings::default();
        let (bind, max_connections) = (vec![usual.bind], usual.max_connections);
        Self { bind, advertise: None, token: None, token_file: None, tls: None, max_connections }
    }
}

impl Default for Linked {
    fn default() -> Self {
        let Served { advertise, token, token_file, tls, max_connections, .. } = Served::default();
        Self {
            brokers: vec![format!("127.0.0.1:{}", ServerSettings::default().bind.port())],
            // Any port will do: the brokers tell the others which.
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            advertise,
            token,
            token_file,
            tls,
            in_flight: ByteSize::b(u64::try_from(ClientSettings::default().in_flight_bytes).unwrap_or(u64::MAX)),
            delivery: Delivery::default(),
            max_connections,
        }
    }
}

impl Served {
    /// Everything that is wrong with them, each naming its key; empty if nothing is. Reads the token's file.
    pub fn validate(&self) -> Vec<String> {
        let (token, unread) = match self.secret() {
            Ok(token) => (token, None),
            // One is meant to be there: what else is wrong is said as well.
            Err(problem) => (Some(HIDDEN.to_owned()), Some(problem)),
        };
        let each = self.bind.iter().map(|bind| ServerSettings { bind: *bind, ..self.serving(token.clone()) });
        let mut problems: Vec<_> = each.flat_map(|server| server.validate()).collect();
        problems.dedup();
        problems.extend(unread);
        problems.extend(self.tls.iter().flat_map(Tls::problems).map(|problem| format!("link.tls: {problem}")));
        if self.advertise.as_deref().is_some_and(|place| !super::is_place(place)) {
            problems.push("link.advertise: host:port, such as broker-0.broker:7400".to_owned());
        }
        if self.advertise.is_none() && self.bind.first().is_some_and(|address| address.ip().is_unspecified()) {
            problems
                .push("link.advertise: needed, since others cannot reach the first of link.bind as it is".to_owned());
        }
        problems
    }

    /// What the link's server takes; the address apart. Reads the token's file.
    ///
    /// # Errors
    /// There is no token where one should be.
    pub fn server(&self) -> Result<ServerSettings, Error> {
        Ok(self.serving(self.token()?))
    }

    /// What others are told of a process that is bound to these addresses.
    pub fn address(&self, bound: &[SocketAddr]) -> Option<Text> {
        let first = bound.first()?;
        Some(self.advertise.as_deref().map_or_else(|| Text::from(first.to_string()), Text::from))
    }

    /// What links to other gateways take: who may ask, and of which system. Reads the token's file.
    ///
    /// # Errors
    /// There is no token where one should be.
    pub fn peers(&self, lineage: Lineage) -> Result<ClientSettings, Error> {
        let token = self.token()?;
        Ok(ClientSettings { token, tls: self.tls.clone(), lineage: Some(lineage), ..ClientSettings::default() })
    }

    fn serving(&self, token: Option<String>) -> ServerSettings {
        let (tls, max_connections) = (self.tls.clone(), self.max_connections);
        ServerSettings { token, tls, max_connections, ..ServerSettings::default() }
    }

    fn token(&self) -> Result<Option<String>, Error> {
        self.secret().map_err(|problem| Error::Settings(vec![problem]))
    }

    /// The token, wherever it is kept.
    fn secret(&self) -> Result<Option<String>, String> {
        let file = match (&self.token, &self.token_file) {
            (token, None) => return Ok(token.as_ref().map(|token| token.0.clone())),
            (Some(_), Some(_)) => return Err("link.token_file: not together with link.token".to_owned()),
            (None, Some(file)) => file,
        };
        let told = |problem: &dyn fmt::Display| format!("link.token_file: {}: {problem}", file.display());
        let text = config::read(file).map_err(|error| told(&error))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(told(&"holds no token")),
            token => Ok(Some(token.to_owned())),
        }
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

    /// What the link's client takes. Reads the token's file.
    ///
    /// # Errors
    /// There is no token where one should be.
    pub fn client(&self) -> Result<ClientSettings, Error> {
        Ok(ClientSettings {
            brokers: self.brokers.clone(),
            token: self.served().token()?,
            tls: self.tls.clone(),
            in_flight_bytes: super::bytes(self.in_flight),
            precise: self.delivery == Delivery::Precise,
            ..ClientSettings::default()
        })
    }

    /// How other gateways reach this one.
    pub fn served(&self) -> Served {
        let Self { bind, advertise, token, token_file, tls, max_connections, .. } = self.clone();
        Served { bind, advertise, token, token_file, tls, max_connections }
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
        assert_eq!(Linked::default().client().unwrap().in_flight_bytes, ClientSettings::default().in_flight_bytes);
    }

    #[test]
    fn an_address_alone_is_a_list_of_one() {
        for (text, count) in [("'127.0.0.1:7400'", 1), ("['127.0.0.1:7400', '[::1]:7400']", 2), ("[]", 0)] {
            let served: Served = toml::from_str(&format!("bind = {text}")).unwrap();
            assert_eq!(served.bind.len(), count);
            assert_eq!(toml::from_str::<Served>(&toml::to_string(&served).unwrap()).unwrap(), served);
        }
        let linked: Linked = toml::from_str("brokers = 'b:1'\ntoken = 'secret'\ndelivery = 'precise'").unwrap();
        assert!(linked.client().unwrap().precise && !Linked::default().client().unwrap().precise);
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

    #[test]
    fn a_secret_is_printed_hidden_and_what_is_printed_is_no_secret() {
        let linked = Linked { token: Some(Secret("hush".into())), ..Linked::default() };
        let printed = toml::to_string(&linked).unwrap();
        assert!(!printed.contains("hush") && printed.contains("token = \"...\""), "{printed}");
        assert!(toml::from_str::<Linked>(&printed).unwrap_err().message().contains("put the secret there"));
    }

    #[test]
    fn a_token_is_read_from_a_file_and_never_left_out() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let any = SocketAddr::from(([0, 0, 0, 0], 7400));
        let advertise = Some("b.example:7400".to_owned());
        let token_file = Some(file.path().to_owned());
        let linked = Linked { bind: vec![any], advertise, token_file, ..Linked::default() };
        let shows = |linked: &Linked| {
            let served = linked.served();
            [served.server().unwrap().token, served.peers(Lineage(1)).unwrap().token, linked.client().unwrap().token]
        };
        let write = |text: &str| {
            #[expect(clippy::disallowed_methods, reason = "plays the operator")]
            std::fs::write(file.path(), text).unwrap();
        };
        for text in ["hush", "hush\n", "hush\r\n"] {
            write(text);
            assert_eq!(linked.validate(), [""; 0]);
            assert_eq!(shows(&linked), ["hush"; 3].map(|token| Some(token.to_owned())));
        }
        let both = Linked { token: Some(Secret("other".into())), ..linked.clone() };
        assert_eq!(both.validate(), ["link.token_file: not together with link.token"]);
        write("\n");
        let nowhere = Linked { token_file: Some("/no/such/file".into()), ..linked.clone() };
        for wrong in [both, linked, nowhere] {
            let problems = wrong.validate();
            assert!(problems.len() == 1 && problems[0].starts_with("link.token_file: "), "{problems:?}");
            assert!(wrong.client().is_err() && wrong.served().server().is_err());
            assert!(wrong.served().peers(Lineage(1)).is_err());
        }
    }

    #[test]
    fn every_file_of_tls_that_is_of_no_use_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let tls = Tls { ca: path("ca"), certificate: path("certificate"), key: path("key"), server_name: None };
        let served = Served { tls: Some(tls), ..Served::default() };
        let problems = served.validate();
        for (problem, name) in problems.iter().zip(["ca", "certificate", "key"]) {
            assert!(problem.starts_with("link.tls: ") && problem.contains(&format!("/{name}")), "{problem}");
        }
        assert_eq!(problems.len(), 3);
        for name in ["ca", "certificate", "key"] {
            #[expect(clippy::disallowed_methods, reason = "plays the operator")]
            std::fs::write(path(name), "no certificate").unwrap();
        }
        assert!(matches!(&served.validate()[..], [problem] if problem.starts_with("link.tls: ")));
    }
}
