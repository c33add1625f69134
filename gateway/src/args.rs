//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use causeway_gateway::config;
use clap::Parser;

use crate::configuration::Configuration;

/// Serves clients' protocols over brokers elsewhere. It keeps nothing on disk: run as many as the clients need.
#[derive(Debug, Parser)]
#[command(name = "causeway-gateway", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Configuration file (TOML); flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Link address of a broker, host:port; repeat it for more, which are tried in turn.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) broker: Vec<String>,
    /// What people call this gateway; the machine's name by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Address of the MQTT listener; port 0 lets the system pick.
    #[arg(long, value_name = "ADDR")]
    pub(crate) mqtt: Option<SocketAddr>,
    /// Address of the admin HTTP: /metrics, /healthz, /readyz and the management API.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Check the configuration, report all problems, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the whole configuration as it would be used, secrets as `...`, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

const EXAMPLES: &str = "\
Examples:
  causeway-gateway                                       MQTT on 1883, admin on 9600, the broker's link on 127.0.0.1:7400
  causeway-gateway --broker 127.0.0.1:7400 --name gw-b \\
      --mqtt 127.0.0.1:1893 --admin 127.0.0.1:9601       a second one on the same machine
  causeway-gateway --config gw-a.toml --check            report every problem of a configuration file
  causeway-gateway --print-config                        every setting with its value, as a file to start from

A broker for it serves no protocol itself (`[mqtt] bind = []` in its file), or serves its own clients beside it.
/readyz on the admin port says yes once the brokers have let it in, and no from the first moment of its end.
SIGTERM: it takes no new client, sends those it has away at the rate of [drain], and exits within the deadline.";

impl Cli {
    /// The configuration file, or the defaults, under the flags.
    ///
    /// # Errors
    /// Every problem of it at once.
    pub(crate) fn configuration(&self) -> Result<Configuration, config::Error> {
        config::load(self.config.as_deref(), |configuration: &mut Configuration| {
            if !self.broker.is_empty() {
                configuration.link.brokers.clone_from(&self.broker);
            }
            if let Some(name) = &self.name {
                configuration.name = Some(name.clone());
            }
            if let Some(mqtt) = self.mqtt {
                configuration.mqtt.bind = vec![mqtt];
            }
            if let Some(admin) = self.admin {
                configuration.admin.bind = admin;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_its_examples_are_read() {
        Cli::command().debug_assert();
        for line in
            EXAMPLES.replace("\\\n", "").lines().filter(|line| line.trim_start().starts_with("causeway-gateway"))
        {
            // What it means follows after two spaces or more.
            let command = line.trim_start().split("  ").find(|part| part.starts_with("causeway")).unwrap_or_default();
            let parsed = Cli::try_parse_from(command.split_whitespace());
            assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn flags_win_over_defaults() {
        let flags = "causeway-gateway --broker a:1 --broker b:2 --name gw --mqtt 127.0.0.1:0 --admin 127.0.0.1:1";
        let read = Cli::try_parse_from(flags.split(' ')).unwrap().configuration().unwrap();
        assert_eq!((read.link.brokers, read.name.as_deref()), (vec!["a:1".to_owned(), "b:2".to_owned()], Some("gw")));
        assert_eq!((read.mqtt.bind[0].port(), read.admin.bind.port()), (0, 1));
        let bad = Cli::try_parse_from(["causeway-gateway", "--broker", "nowhere"]).unwrap();
        assert!(bad.configuration().unwrap_err().to_string().contains("link.brokers"));
    }
}
