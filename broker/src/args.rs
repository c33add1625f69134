//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use causeway_gateway::config;
use clap::{Args, Parser, Subcommand};

use crate::settings::Settings;

/// One messaging system for devices and services: the standalone broker, and the tools that look inside it.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) serve: Serve,
    #[command(subcommand)]
    pub(crate) tool: Option<Tool>,
}

const EXAMPLES: &str = "\
Examples:
  causeway-broker                                   serve with defaults: MQTT on 1883, admin on 9600, gateways' link on
                                                    7400, all on this machine alone; data in ./data
  causeway-broker --config broker.toml --check      report every problem of a configuration file
  causeway-broker --print-config                    every setting with its value, as a file to start from
  causeway-broker queue read 'plant/7/temp'         ask the running broker what a queue holds
  causeway-broker log inspect --data data           read the log's files, running or not";

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration file (TOML); flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of log and index; made when missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the MQTT listener; port 0 lets the system pick.
    #[arg(long, value_name = "ADDR")]
    pub(crate) mqtt: Option<SocketAddr>,
    /// Address of the admin HTTP: /metrics, /healthz, /readyz and the management API.
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Address of the link, on which gateways elsewhere reach this broker; port 0 lets the system pick.
    #[arg(long, value_name = "ADDR")]
    pub(crate) link: Option<SocketAddr>,
    /// Check the configuration, report all problems, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the whole configuration as it would be used, secrets as `...`, and exit.
    #[arg(long)]
    pub(crate) print_config: bool,
}

impl Serve {
    /// The configuration file, or the defaults, under the flags.
    ///
    /// # Errors
    /// Every problem of it at once.
    pub(crate) fn settings(&self) -> Result<Settings, config::Error> {
        let flags = |settings: &mut Settings| {
            if let Some(data) = &self.data {
                settings.data.clone_from(data);
            }
            if let Some(mqtt) = self.mqtt {
                settings.mqtt.bind = vec![mqtt];
            }
            if let Some(admin) = self.admin {
                settings.admin.bind = admin;
            }
            if let Some(link) = self.link {
                settings.link.bind = vec![link];
            }
        };
        config::load(self.config.as_deref(), flags)
    }
}

/// Tools that look inside.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Look at the commit log's files; works beside a running broker.
    #[command(subcommand)]
    Log(LogTool),
    /// Look at queues: asks the running broker, or opens a stopped one's data.
    #[command(subcommand)]
    Queue(QueueTool),
    /// Work on the tables, which can always be made again from the log.
    #[command(subcommand)]
    Index(IndexTool),
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogTool {
    /// Print segments, batches and records with their positions.
    Inspect {
        /// Directory of the broker's data.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Start at this position.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Stop after so many batches.
        #[arg(long, default_value_t = 100)]
        batches: usize,
        /// Print each batch's records too.
        #[arg(long)]
        records: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueTool {
    /// Print what a topic's queue holds, or a wildcard's that has an owner, or the log as `#` sees it.
    Read {
        /// Topic or filter.
        filter: String,
        /// Tenant.
        #[arg(long, default_value = "")]
        namespace: String,
        /// Entries with a greater stamp.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// At most so many entries.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Print server topics, filters with owners, and the topics that the end of the log names.
    List {
        /// How far back the log is scanned for topics, in bytes.
        #[arg(long, default_value_t = 64 << 20)]
        scan: u64,
        #[command(flatten)]
        place: Place,
    },
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Admin address of a running broker.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9600")]
    pub(crate) admin: SocketAddr,
    /// The file that holds the token of a running broker that has one: its `admin.token_file`.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Data directory of a stopped broker: takes its lock, replays, and looks.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["admin", "token_file"])]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexTool {
    /// Restore the newest checkpoint and apply the log after it.
    Rebuild {
        /// Directory of a stopped broker's data.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
}
