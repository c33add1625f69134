//! The configuration of a gateway process: one TOML file, typed, every key with a default.

use bytesize::ByteSize;
use causeway_compute::admin;
use causeway_gateway::{Drain, Linked, Lookup, Mqtt, config, exact, host};
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Configuration {
    /// What people call this gateway. Absent: the machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What is logged: a level, or directives such as `info,causeway_mqtt=debug`.
    pub(crate) log: String,
    /// Memory for messages of the end of the logs, decoded once for all subscribers.
    #[serde(with = "exact")]
    pub(crate) message_cache: ByteSize,
    /// The admin HTTP listener.
    pub(crate) admin: admin::Settings,
    /// The brokers, and how other gateways reach this one.
    pub(crate) link: Linked,
    /// How a client is found that is connected to another gateway.
    pub(crate) lookup: Lookup,
    /// How the process ends.
    pub(crate) drain: Drain,
    /// MQTT.
    pub(crate) mqtt: Mqtt,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            name: None,
            log: "info".to_owned(),
            message_cache: ByteSize::mib(32),
            admin: admin::Settings::default(),
            link: Linked::default(),
            lookup: Lookup::default(),
            drain: Drain::default(),
            mqtt: Mqtt::default(),
        }
    }
}

impl config::Settings for Configuration {
    const OPTIONAL: &'static [&'static str] = &[
        "admin.token_file",
        "drain.reference",
        "link.advertise",
        "link.tls",
        "link.token",
        "link.token_file",
        "lookup.redis",
        "mqtt.max_keep_alive",
        "name",
    ];

    fn validate(&self) -> Vec<String> {
        let mut problems = host::check_log(&self.log);
        if self.name.as_deref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES) {
            problems.push(format!("name: 1 to {NAME_BYTES} bytes"));
        }
        problems.extend(self.admin.validate());
        problems.extend(self.link.validate());
        problems.extend(self.gateway().validate());
        problems
    }
}

/// The longest name: a host name's.
const NAME_BYTES: usize = 253;

impl Configuration {
    /// What serves.
    pub(crate) fn gateway(&self) -> causeway_gateway::Settings {
        causeway_gateway::Settings {
            mqtt: self.mqtt.clone(),
            drain: self.drain.clone(),
            lookup: self.lookup.clone(),
            message_cache: self.message_cache,
        }
    }

    /// What people call this gateway.
    pub(crate) fn name(&self) -> String {
        let machine = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.name.clone().unwrap_or_else(machine)
    }
}

#[cfg(test)]
mod tests {
    use causeway_compute::drain::Reason;

    use super::*;

    fn parse(text: &str) -> Result<Configuration, Vec<String>> {
        config::parse(text)
    }

    #[test]
    fn what_is_printed_is_what_is_read_and_an_empty_file_is_the_defaults() {
        let printed = config::print(&Configuration::default()).unwrap();
        assert_eq!(config::print(&parse(&printed).unwrap()).unwrap(), printed);
        assert_eq!(config::print(&parse("").unwrap()).unwrap(), printed);
        assert!(!Configuration::default().name().is_empty());
    }

    #[test]
    fn a_file_names_brokers_and_how_it_ends() {
        let text = "
            name = 'gw-a'
            message_cache = '64MiB'
            [link]
            brokers = ['broker-0:7400', 'broker-1:7400']
            token = 'secret'
            bind = '0.0.0.0:7400'
            advertise = 'gw-a.example:7400'
            [drain]
            reason = 'server-moved'
            reference = 'eu-2.example:1883'
            [mqtt]
            max_keep_alive = 300
        ";
        let read = parse(text).unwrap();
        assert_eq!((read.name(), read.link.brokers.len()), ("gw-a".to_owned(), 2));
        assert_eq!(read.drain.reason, Reason::ServerMoved);
        assert_eq!(read.gateway().message_cache, ByteSize::mib(64));
        let printed = config::print(&read).unwrap();
        assert!(!printed.contains("secret") && printed.contains("token = \"...\""), "{printed}");
        assert!(parse(&printed).unwrap_err()[0].starts_with("link.token: "), "it has to be put there again");
        let again = parse(&printed.replace("\"...\"", "'secret'")).unwrap();
        assert_eq!(config::print(&again).unwrap(), printed);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = parse("nmae = 'x'\n[link]\nbroker = 'a:1'\n[drain]\nrate = 'fast'").unwrap_err();
        let starts = [
            "drain.rate: ",
            "link.broker: unknown key, did you mean link.brokers?",
            "nmae: unknown key, did you mean name?",
        ];
        assert!(problems.iter().zip(starts).all(|(problem, start)| problem.starts_with(start)), "{problems:#?}");
        let text = "log = 'a=b=c'\nname = ''\n[link]\nbrokers = []\n[drain]\nrate = 0\n[mqtt]\nmailbox = 0";
        let problems = parse(text).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|problem| problem.split(':').next().unwrap()).collect();
        assert_eq!(keys, ["log", "name", "link.brokers", "mqtt.mailbox", "drain.rate"], "{problems:#?}");
    }
}
