//! What went wrong, in the few words that every protocol can translate into its own code.

use std::fmt;
use std::time::Duration;

/// The kind of a failure. A protocol maps it to its own code in one `match`; a caller asks [`Kind::retryable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed or breaks a rule; sending it again changes nothing.
    Invalid,
    /// A message, packet or batch over its size limit.
    TooLarge,
    /// A limit set for this tenant, session or filter is reached.
    Quota,
    /// The caller may not do this.
    Denied,
    /// The thing named does not exist.
    NotFound,
    /// The caller's epoch is older than the owner's: somebody else took over.
    Fenced,
    /// A buffer or budget is full: nothing was done, try again after a while.
    Busy {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The disk is too full to accept writes: nothing was done; reads go on.
    DiskFull,
    /// This replica does not lead the shard; nothing was done.
    NotLeader {
        /// The leader's address, when known.
        hint: Option<String>,
    },
    /// The part that would answer is shut down, poisoned or out of reach; nothing was done.
    Unavailable,
    /// Sent, and the answer is lost: it may have been done or not.
    Unknown,
    /// Not built, or above the cluster's feature level.
    Unsupported,
    /// Stored data failed its checksum.
    Corrupt,
}

impl Kind {
    /// Whether the same request may succeed later without anybody changing it. `Unknown` is not: only a request that
    /// is idempotent by its key or epoch may be sent again.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::DiskFull | Self::NotLeader { .. } | Self::Unavailable)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Invalid => "invalid",
            Self::TooLarge => "too large",
            Self::Quota => "over quota",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::Fenced => "fenced by a newer owner",
            Self::Busy { retry_after } => return write!(f, "busy, retry after {} ms", retry_after.as_millis()),
            Self::DiskFull => "disk full",
            Self::NotLeader { hint: Some(hint) } => return write!(f, "not leader, try {hint}"),
            Self::NotLeader { hint: None } => "not leader",
            Self::Unavailable => "unavailable",
            Self::Unknown => "outcome unknown",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
        };
        f.write_str(word)
    }
}
