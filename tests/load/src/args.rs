//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use causeway_mqtt::codec::{Qos, Version};
use clap::{Parser, Subcommand, value_parser};

use crate::message::MIN_SIZE;
use crate::report::Output;

const EXAMPLES: &str = "\
Examples:
  mosquitto -p 1884 & causeway-load p2p --target 127.0.0.1:1884 --pid $! --qos 1
  causeway-load publish --window 1 --seconds 10         latency of one acknowledged message at a time
  causeway-load fanout --qos 0 --subscribers 200
  causeway-load connect --connections 10000 --pid PID   resident memory of an idle connection
  causeway-load topics --topics 1000000 --pid PID
  causeway-load durable --messages 20000; kill -9 PID; …restart…; causeway-load drain --messages 20000
  causeway-load disk --dir DATA                         what the disk itself takes for a durable 4 KiB
  causeway-load table results.jsonl --base causeway     reports written with --json, side by side

Every scenario prints one line. --json FILE appends the same figures as one JSON object.
Load tool and broker share the machine: compare brokers within one run, and look at `tool` (this tool's CPU).";

/// Puts load on any MQTT broker and says what came through, how fast, and what it cost the server.
#[derive(Debug, Parser)]
#[command(name = "causeway-load", version, after_help = EXAMPLES, max_term_width = 120)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// N publishers to N subscribers, each pair on a topic of its own
    P2p(P2p),
    /// Publishers only, QoS 1 or 2: acknowledgements a second and how long one takes
    Publish(Publish),
    /// One publisher to N subscribers of one topic
    Fanout(Fanout),
    /// Opens N connections and holds them: connections a second, resident memory of each
    Connect(Connect),
    /// One publisher over many distinct topics, QoS 1: rate and growth of the server's memory
    Topics(Topics),
    /// Leaves a persistent session offline, then publishes to it until N messages are acknowledged
    Durable(Durable),
    /// Comes back as the client of `durable` and counts what is still there, and in which order
    Drain(Drain),
    /// Waits until the server answers CONNECT, and says how long that took
    Wait(Wait),
    /// Writes 4 KiB and makes it durable, again and again, in a file zero-filled beforehand
    Disk(Disk),
    /// Prints reports of several servers side by side, in Markdown
    Table(Table),
}

/// Whom to talk to, and how.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// Host and port of the server
    #[arg(long = "target", default_value = "127.0.0.1:1883", value_name = "HOST:PORT")]
    address: String,
    /// Further servers of the same system; `p2p` and `fanout` spread their connections over all of them
    #[arg(long = "also", value_name = "HOST:PORT")]
    also: Vec<String>,
    /// Protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0
    #[arg(long = "protocol", default_value = "4", value_name = "4|5", value_parser = parse_version)]
    pub(crate) version: Version,
    /// User name, if the server wants one
    #[arg(long = "user", value_name = "NAME")]
    pub(crate) user_name: Option<String>,
    /// Password; needs --user
    #[arg(long, requires = "user_name")]
    pub(crate) password: Option<String>,
}

impl Target {
    /// The address to connect to.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr> {
        resolve("--target", &self.address).await
    }

    /// All addresses to connect to, at least one.
    pub(crate) async fn resolve_all(&self) -> Result<Vec<SocketAddr>> {
        let mut all = vec![self.resolve().await?];
        for address in &self.also {
            all.push(resolve("--also", address).await?);
        }
        Ok(all)
    }
}

async fn resolve(flag: &str, address: &str) -> Result<SocketAddr> {
    let mut found = tokio::net::lookup_host(address)
        .await
        .with_context(|| format!("{flag} {address}: not an address of the form HOST:PORT"))?;
    found.next().with_context(|| format!("{flag} {address}: the name has no address"))
}

/// The server's processes, for what they cost.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Server {
    /// Process id of the server: its CPU and resident memory are then reported; given again, the sum of all
    #[arg(long = "pid", value_name = "PID")]
    pub(crate) pids: Vec<u32>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Quality of service of publications and subscriptions
    #[arg(long, default_value = "1", value_name = "0|1|2", value_parser = parse_qos)]
    pub(crate) qos: Qos,
    /// Bytes of a message
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(i64::from(MIN_SIZE)..=1_048_576))]
    pub(crate) size: u32,
    /// Messages that each publisher has in flight: not yet acknowledged, or at QoS 0 not yet delivered
    #[arg(long, default_value = "20")]
    pub(crate) window: NonZeroU16,
    /// Seconds that are measured
    #[arg(long, default_value = "5", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Seconds of load before that, which do not count
    #[arg(long, default_value = "1", value_parser = parse_seconds)]
    pub(crate) warm_up: Duration,
    /// Send this many messages in all instead of for a time; there is then no warm-up
    #[arg(long)]
    pub(crate) messages: Option<u64>,
}

macro_rules! scenario {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, clap::Args)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
            #[command(flatten)]
            pub(crate) output: Output,
        }
    };
}

scenario! {
    /// `p2p`.
    P2p {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        load: Load,
        /// Pairs of a publisher and a subscriber
        #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
        pairs: u32,
    }
}

scenario! {
    /// `publish`.
    Publish {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        load: Load,
        /// Publishers, each with a topic of its own
        #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
        publishers: u32,
    }
}

scenario! {
    /// `fanout`.
    Fanout {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        load: Load,
        /// Subscribers of the one topic
        #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=100_000))]
        subscribers: u32,
    }
}

scenario! {
    /// `connect`.
    Connect {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        /// Connections to open
        #[arg(long, default_value_t = 1000, value_parser = value_parser!(u32).range(1..=1_000_000))]
        connections: u32,
        /// Connections being opened at the same time
        #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
        parallel: u32,
        /// Connections a second at most; as fast as it goes if left out
        #[arg(long, value_parser = value_parser!(u32).range(1..))]
        rate: Option<u32>,
        /// Each connection also subscribes to one topic of its own
        #[arg(long)]
        subscribe: bool,
        /// Seconds to hold them before memory is read
        #[arg(long, default_value = "2", value_parser = parse_seconds)]
        hold: Duration,
    }
}

scenario! {
    /// `topics`.
    Topics {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        /// Distinct topics, taken in turn
        #[arg(long = "topics", default_value_t = 100_000, value_parser = value_parser!(u32).range(1..100_000_000))]
        distinct: u32,
        /// Messages in all; one a topic if left out
        #[arg(long)]
        messages: Option<u64>,
        /// Bytes of a message
        #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(i64::from(MIN_SIZE)..=1_048_576))]
        size: u32,
        /// Messages not yet acknowledged
        #[arg(long, default_value = "100")]
        window: NonZeroU16,
    }
}

scenario! {
    /// `durable`.
    Durable {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        server: Server,
        /// The client whose session is left offline
        #[arg(long, default_value = "load-durable", value_name = "ID")]
        client_id: String,
        /// Messages to publish at QoS 1
        #[arg(long, default_value_t = 20_000)]
        messages: u64,
        /// Bytes of a message
        #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(i64::from(MIN_SIZE)..=1_048_576))]
        size: u32,
        /// Messages not yet acknowledged
        #[arg(long, default_value = "20")]
        window: NonZeroU16,
    }
}

scenario! {
    /// `drain`.
    Drain {
        #[command(flatten)]
        target: Target,
        /// The client whose session was left offline
        #[arg(long, default_value = "load-durable", value_name = "ID")]
        client_id: String,
        /// Messages that were acknowledged
        #[arg(long, default_value_t = 20_000, value_parser = value_parser!(u64).range(..=1_000_000_000))]
        messages: u64,
        /// Seconds without a message after which nothing more is expected
        #[arg(long, default_value = "3", value_parser = parse_seconds)]
        idle: Duration,
        /// Fail if one is missing or the first delivery of one is out of order
        #[arg(long)]
        strict: bool,
    }
}

scenario! {
    /// `wait`.
    Wait {
        #[command(flatten)]
        target: Target,
        /// Process id of the server: once it is gone, waiting ends
        #[arg(long)]
        pid: Option<u32>,
        /// Seconds after which to give up
        #[arg(long, default_value = "30", value_parser = parse_seconds)]
        timeout: Duration,
        /// What is waited for, as reports name it
        #[arg(long, default_value = "answers CONNECT")]
        what: String,
    }
}

scenario! {
    /// `disk`.
    Disk {
        /// Directory on the disk to measure; the file in it is removed afterwards
        #[arg(long)]
        dir: PathBuf,
        /// Bytes of one write
        #[arg(long, default_value_t = 4096, value_parser = value_parser!(u32).range(1..=1_048_576))]
        size: u32,
        /// Seconds to measure
        #[arg(long, default_value = "2", value_parser = parse_seconds)]
        seconds: Duration,
    }
}

/// `table`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Table {
    /// Reports, one JSON object a line
    pub(crate) results: PathBuf,
    /// The server that the others are compared with
    #[arg(long, default_value = "causeway")]
    pub(crate) base: String,
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "4" => Ok(Version::V311),
        "5" => Ok(Version::V5),
        _ => Err("4 (MQTT 3.1.1) or 5 (MQTT 5.0)".to_owned()),
    }
}

fn parse_qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_number).ok_or_else(|| "0, 1 or 2".to_owned())
}

/// Seconds, with a fraction if need be; an hour at most, which is what the keep alive of the connections allows.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.0..=3600.0).contains(&seconds) {
        return Err("0 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Args::try_parse_from(line.split(' ')).map(|args| args.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent_with_itself() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_become_values() {
        let Ok(Command::P2p(p2p)) =
            parse("load p2p --target [::1]:1 --protocol 5 --qos 2 --window 7 --seconds 0.5 --pid 12 --pairs 3")
        else {
            panic!("p2p expected");
        };
        assert_eq!(p2p.target.version, Version::V5);
        assert_eq!(p2p.load.qos, Qos::ExactlyOnce);
        assert_eq!(p2p.load.window.get(), 7);
        assert_eq!(p2p.load.seconds, Duration::from_millis(500));
        assert_eq!((p2p.server.pids.as_slice(), p2p.pairs, p2p.load.messages), (&[12][..], 3, None));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (line, reason) in [
            ("load p2p --qos 3", "0, 1 or 2"),
            ("load p2p --protocol 3", "4 (MQTT 3.1.1) or 5 (MQTT 5.0)"),
            ("load p2p --window 0", "--window"),
            ("load p2p --size 15", "16..=1048576"),
            ("load p2p --seconds=-1", "0 to 3600"),
            ("load p2p --seconds 3601", "0 to 3600"),
            ("load p2p --seconds NaN", "0 to 3600"),
            ("load connect --connections 0", "1..=1000000"),
            ("load topics --topics 100000000", "1..100000000"),
            ("load p2p --password x", "--user"),
            ("load disk", "--dir"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
