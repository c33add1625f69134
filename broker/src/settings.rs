//! The configuration: one TOML file, typed, every key with a default; every problem reported at once.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use causeway_compute::drain::Reason;
use causeway_gateway::config;
use serde::{Deserialize, Serialize};

/// The whole configuration of a broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Directory of log and index.
    pub(crate) data: PathBuf,
    /// What is logged: a level, or directives such as `info,causeway_mqtt=debug`.
    pub(crate) log: String,
    /// The admin HTTP listener.
    pub(crate) admin: causeway_compute::admin::Settings,
    /// The commit log.
    pub(crate) storage: Storage,
    /// What may be forgotten, and when.
    pub(crate) retention: Retention,
    /// What happens as the disk fills.
    pub(crate) disk: Disk,
    /// The tables.
    pub(crate) index: Index,
    /// Gateways elsewhere, and how they reach this broker.
    pub(crate) link: causeway_gateway::Served,
    /// Which gateways are taken to be alive.
    pub(crate) gateways: Gateways,
    /// How a client is found that is connected to another gateway.
    pub(crate) lookup: causeway_gateway::Lookup,
    /// How the process ends.
    pub(crate) drain: causeway_gateway::Drain,
    /// MQTT.
    pub(crate) mqtt: causeway_gateway::Mqtt,
}

/// `[storage]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Storage {
    /// Size of a segment file.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) segment: ByteSize,
    /// Memory for the log's tail, from which readers that keep up are served.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) tail: ByteSize,
    /// What one sync writes at most, unless one proposal alone is larger.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) batch: ByteSize,
    /// The largest message: body and properties.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) max_message: ByteSize,
}

/// `[retention]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Retention {
    /// Messages older than this are forgotten. Absent: age alone forgets nothing.
    #[serde(with = "humantime_serde", skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Duration>,
    /// Over this size of the log the oldest messages are forgotten. Absent: size alone forgets nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_size: Option<ByteSize>,
    /// Nothing younger is ever forgotten, even when the disk fills: then writes are refused. What a session may be
    /// granted as its expiry is capped to it.
    #[serde(with = "humantime_serde")]
    pub(crate) min_age: Duration,
}

/// `[disk]`, in free bytes of the file system that holds the data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Disk {
    /// Below it, messages are forgotten before their age or the log's size asks for it.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) trim_below: ByteSize,
    /// Below it, writes are refused until there is room again; reads go on.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) refuse_below: ByteSize,
}

/// `[index]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Index {
    /// Memory for memtables and blocks together.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) memory: ByteSize,
    /// Tables are made durable after so many bytes of log: what a restart after a crash applies again.
    #[serde(with = "causeway_gateway::exact")]
    pub(crate) flush_size: ByteSize,
    /// And so long after the first change that is not durable in them.
    #[serde(with = "humantime_serde")]
    pub(crate) flush_interval: Duration,
}

/// `[gateways]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Gateways {
    /// A gateway that was silent for so long is declared lost: its sessions are closed, and it must begin anew.
    #[serde(with = "humantime_serde")]
    pub(crate) lease: Duration,
}

impl Default for Gateways {
    fn default() -> Self {
        Self { lease: Duration::from_secs(10) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            log: "info".to_owned(),
            admin: causeway_compute::admin::Settings::default(),
            storage: Storage::default(),
            retention: Retention::default(),
            disk: Disk::default(),
            index: Index::default(),
            link: causeway_gateway::Served::default(),
            gateways: Gateways::default(),
            lookup: causeway_gateway::Lookup::default(),
            // A broker by itself knows of no other place to go to.
            drain: causeway_gateway::Drain { reason: Reason::ShuttingDown, ..causeway_gateway::Drain::default() },
            mqtt: causeway_gateway::Mqtt::default(),
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        let local = causeway_local::Settings::default();
        Self {
            segment: ByteSize::b(local.log.segment_bytes),
            tail: size(local.log.tail_bytes),
            batch: size(local.commit.batch_bytes),
            max_message: size(local.message_bytes),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        // A device that was off over night finds its session and its messages.
        Self { max_age: Some(Duration::from_hours(7 * 24)), max_size: None, min_age: Duration::from_hours(24) }
    }
}

impl Default for Disk {
    fn default() -> Self {
        let causeway_local::Watermarks { trim_below, refuse_below } = causeway_local::Settings::default().disk;
        Self { trim_below: ByteSize::b(trim_below), refuse_below: ByteSize::b(refuse_below) }
    }
}

impl Default for Index {
    fn default() -> Self {
        let flush = causeway_local::Settings::default().flush;
        Self {
            memory: size(causeway_index::Settings::default().memory_bytes),
            flush_size: ByteSize::b(flush.bytes),
            flush_interval: flush.interval,
        }
    }
}

fn size(bytes: usize) -> ByteSize {
    ByteSize::b(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn bytes(size: ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

impl config::Settings for Settings {
    const OPTIONAL: &'static [&'static str] = &[
        "admin.token_file",
        "drain.reference",
        "link.advertise",
        "link.tls",
        "link.token",
        "link.token_file",
        "lookup.redis",
        "mqtt.max_keep_alive",
        "retention.max_size",
    ];

    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        let (storage, retention, disk) = (&self.storage, &self.retention, &self.disk);
        must(!self.data.as_os_str().is_empty(), "data: a directory");
        must(storage.segment >= ByteSize::mib(1), "storage.segment: at least 1 MiB");
        must(storage.segment.as_u64().is_multiple_of(4096), "storage.segment: a multiple of 4 KiB");
        must(storage.tail >= ByteSize::mib(1), "storage.tail: at least 1 MiB");
        let range = ByteSize::kib(64)..=ByteSize::mib(64);
        must(range.contains(&storage.batch), "storage.batch: 64 KiB to 64 MiB");
        must(storage.max_message <= size(causeway_local::MAX_MESSAGE_BYTES), "storage.max_message: at most 64 MiB");
        must(
            retention.max_age.is_none_or(|max| retention.min_age <= max),
            "retention.min_age: at most retention.max_age",
        );
        must(
            retention.max_size.is_none_or(|max| max >= storage.segment),
            "retention.max_size: at least storage.segment",
        );
        must(disk.refuse_below <= disk.trim_below, "disk.refuse_below: at most disk.trim_below");
        must(self.index.memory >= ByteSize::mib(16), "index.memory: at least 16 MiB");
        must(self.index.flush_size >= ByteSize::mib(1), "index.flush_size: at least 1 MiB");
        must(self.gateways.lease >= Duration::from_millis(100), "gateways.lease: at least 100ms");
        problems.extend(causeway_gateway::host::check_log(&self.log));
        problems.extend(self.link.validate());
        problems.extend(self.admin.validate());
        problems.extend(self.drain.validate());
        problems.extend(self.lookup.validate());
        problems.extend(self.mqtt.validate());
        problems
    }
}

impl Settings {
    /// What the shard takes.
    pub(crate) fn local(&self) -> causeway_local::Settings {
        let Self { storage, retention, disk, index, .. } = self;
        let usual = causeway_local::Settings::default();
        causeway_local::Settings {
            message_bytes: bytes(storage.max_message),
            retention: causeway_local::Retention {
                max_age: retention.max_age,
                max_bytes: retention.max_size.map(|size| size.as_u64()),
                min_age: retention.min_age,
                // Files go as whole segments: asking for less would be a record that frees nothing.
                step_bytes: storage.segment.as_u64() / 2,
            },
            disk: causeway_local::Watermarks {
                trim_below: disk.trim_below.as_u64(),
                refuse_below: disk.refuse_below.as_u64(),
            },
            flush: causeway_local::Flush { bytes: index.flush_size.as_u64(), interval: index.flush_interval },
            log: causeway_storage::Options {
                segment_bytes: storage.segment.as_u64(),
                tail_bytes: bytes(storage.tail),
                max_batch_bytes: bytes(storage.batch),
                ..usual.log
            },
            commit: causeway_replication::Options { batch_bytes: bytes(storage.batch), ..usual.commit },
            ..usual
        }
    }

    /// What the tables take.
    pub(crate) fn index(&self) -> causeway_index::Settings {
        causeway_index::Settings { memory_bytes: bytes(self.index.memory), ..causeway_index::Settings::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, Vec<String>> {
        config::parse(text)
    }

    #[test]
    fn what_is_printed_is_what_is_read_and_an_empty_file_is_the_defaults() {
        let printed = config::print(&Settings::default()).unwrap();
        assert_eq!(config::print(&parse(&printed).unwrap()).unwrap(), printed);
        assert_eq!(config::print(&parse("").unwrap()).unwrap(), printed);
    }

    #[test]
    fn a_token_is_not_printed() {
        let printed = config::print(&parse("link.token = 'hush'").unwrap()).unwrap();
        assert!(!printed.contains("hush") && printed.contains("token = \"...\""), "{printed}");
    }

    #[test]
    fn every_key_without_a_default_is_known() {
        for (key, value) in [
            ("admin.token_file", "'/dev/null'"),
            ("drain.reference", "'b:1883'"),
            ("link.advertise", "'b:7400'"),
            ("link.tls", "{ ca = 'a', certificate = 'b', key = 'c' }"),
            ("link.token", "'secret'"),
            ("link.token_file", "'/dev/null'"),
            ("lookup.redis", "'redis://host'"),
            ("mqtt.max_keep_alive", "60"),
            ("retention.max_size", "'1GiB'"),
        ] {
            assert!(<Settings as config::Settings>::OPTIONAL.contains(&key), "{key}");
            let problems = parse(&format!("{key} = {value}")).err().unwrap_or_default();
            assert!(!problems.iter().any(|problem| problem.contains("unknown key")), "{key}: {problems:?}");
        }
        assert_eq!(<Settings as config::Settings>::OPTIONAL.len(), 9, "one of them is not tried here");
    }

    #[test]
    fn a_broker_by_itself_says_that_it_goes_down_and_nothing_of_others() {
        let settings = parse("[drain]\ndeadline = '5s'").unwrap();
        assert_eq!((settings.drain.reason, settings.drain.deadline), (Reason::ShuttingDown, Duration::from_secs(5)));
        let problems = parse("[drain]\nreference = 'b:1883'").unwrap_err();
        assert!(problems[0].starts_with("drain.reference: only with"), "{problems:?}");
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let text = "
            dat = 'x'
            [storage]
            segment = 'much'
            tail = '2MiB'
            [retention]
            max_age = 7
            min_ages = '1d'
        ";
        let problems = parse(text).unwrap_err();
        let keys: Vec<_> = problems.iter().map(|p| p.split(':').next().unwrap()).collect();
        assert_eq!(keys, ["dat", "retention.max_age", "retention.min_ages", "storage.segment"], "{problems:#?}");
        assert_eq!(problems[0], "dat: unknown key, did you mean data?");
    }

    #[test]
    fn values_that_contradict_each_other_are_refused_by_name() {
        let problems = parse("[retention]\nmin_age = '9d'\nmax_age = '1d'\n[disk]\nrefuse_below = '9GiB'").unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("retention.min_age:"));
    }
}
