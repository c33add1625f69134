//! What an operator may set, with defaults that fit a small server.

use std::time::Duration;

use causeway_apply::record::Limits;

/// The settings of one shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most bytes that a message's body and properties may have together: 4 MiB by default, at most 64.
    pub message_bytes: usize,
    /// How long messages are kept.
    pub retention: Retention,
    /// What happens as the disk fills.
    pub disk: Watermarks,
    /// How often tables are made durable.
    pub flush: Flush,
    /// Who reads tables and the log's older part.
    pub reads: Reads,
    /// Frames that a reader of notify may lag behind before it finds a gap.
    pub notify_frames: usize,
    /// Bytes of frames that it may lag behind. All readers share the frames; this bounds what one that does not read
    /// keeps alive.
    pub notify_bytes: usize,
    /// The leader's duties.
    pub duty: Duty,
    /// The limits that a new cluster is made with; an existing one has its own in the log.
    pub limits: Limits,
    /// The log's files and memory.
    pub log: causeway_storage::Options,
    /// The committer's budgets.
    pub commit: causeway_replication::Options,
}

/// How long messages are kept. Whatever asks for the most trimming decides, but never below `min_age`.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Messages older than this are trimmed.
    pub max_age: Option<Duration>,
    /// Over so many bytes of log the oldest are trimmed.
    pub max_bytes: Option<u64>,
    /// Nothing younger is ever trimmed; what a session may be granted as its expiry is capped to it.
    pub min_age: Duration,
    /// The least that is worth a trim: the log goes in whole segments, so this should not be far below one.
    pub step_bytes: u64,
}

/// Free bytes of the log's file system.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    /// Below it, the log is trimmed before its age and size ask for it.
    pub trim_below: u64,
    /// Below it, proposals are refused until there is room again.
    pub refuse_below: u64,
}

/// How often tables are made durable. The log behind the last flush is replayed after a crash.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    /// After so many bytes of log.
    pub bytes: u64,
    /// And so long after the first record that is not flushed.
    pub interval: Duration,
}

/// The pool that reads tables and files.
#[derive(Clone, Copy, Debug)]
pub struct Reads {
    /// Threads.
    pub threads: usize,
    /// Calls that may wait; over it they are refused as busy.
    pub waiting: usize,
    /// Entries that one page may have, whatever its reader asks for.
    pub page_entries: usize,
    /// Bytes of log that one page of `#` may scan.
    pub scan_bytes: u64,
    /// What a refused call is told to wait.
    pub retry_after: Duration,
}

/// The leader's duties: trims, expiries, lost gateways.
#[derive(Clone, Copy, Debug)]
pub struct Duty {
    /// How often they are looked at; `None`: only when [`crate::Local::tick`] is called.
    pub interval: Option<Duration>,
    /// How often a digest is logged for replicas to compare.
    pub check_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_bytes: 4 << 20,
            retention: Retention::default(),
            disk: Watermarks { trim_below: 1 << 30, refuse_below: 512 << 20 },
            flush: Flush { bytes: 256 << 20, interval: Duration::from_secs(30) },
            reads: Reads {
                threads: 2,
                waiting: 4096,
                page_entries: 65_536,
                scan_bytes: 8 << 20,
                retry_after: Duration::from_millis(20),
            },
            notify_frames: 1024,
            notify_bytes: 8 << 20,
            duty: Duty { interval: Some(Duration::from_secs(1)), check_every: Duration::from_mins(1) },
            limits: Limits::default(),
            log: causeway_storage::Options::default(),
            commit: causeway_replication::Options::default(),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_hours(72)),
            max_bytes: None,
            min_age: Duration::from_hours(1),
            step_bytes: 64 << 20,
        }
    }
}

/// The largest `message_bytes`.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

impl Settings {
    /// Everything that is wrong with them, one sentence a problem; empty when they can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |right: bool, problem: String| {
            if !right {
                problems.push(problem);
            }
        };
        check(
            self.message_bytes <= MAX_MESSAGE_BYTES,
            format!("message_bytes is {}, at most {MAX_MESSAGE_BYTES} are possible", self.message_bytes),
        );
        let Retention { max_age, min_age, .. } = self.retention;
        check(
            max_age.is_none_or(|max_age| max_age >= min_age),
            format!("retention.max_age is {max_age:?}, which is less than retention.min_age, {min_age:?}"),
        );
        let Watermarks { trim_below, refuse_below } = self.disk;
        check(
            refuse_below <= trim_below,
            format!("disk.refuse_below is {refuse_below}, above disk.trim_below, {trim_below}"),
        );
        check(self.flush.bytes > 0, "flush.bytes is 0".into());
        check(self.reads.threads > 0, "reads.threads is 0".into());
        check(self.reads.waiting > 0, "reads.waiting is 0".into());
        check(self.reads.page_entries > 0, "reads.page_entries is 0".into());
        check(self.notify_frames > 0, "notify_frames is 0".into());
        // Names and framing on top of the largest message.
        let record = self.message_bytes.saturating_add(256 << 10);
        check(
            self.commit.group_bytes >= record,
            format!("commit.group_bytes is {}, less than one message needs, {record}", self.commit.group_bytes),
        );
        if let Err(error) = self.log.validate() {
            check(false, format!("log: {error}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used() {
        assert_eq!(Settings::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let mut settings = Settings { message_bytes: MAX_MESSAGE_BYTES + 1, ..Settings::default() };
        settings.retention.max_age = Some(Duration::from_secs(1));
        settings.disk.refuse_below = settings.disk.trim_below + 1;
        settings.reads.threads = 0;
        settings.log.segment_bytes = 1;
        let problems = settings.problems();
        for word in ["message_bytes", "max_age", "refuse_below", "threads", "group_bytes", "segment_bytes"] {
            assert!(problems.iter().any(|problem| problem.contains(word)), "{word}: {problems:?}");
        }
    }
}
