//! Where Redis is, and how long things may take.

use std::fmt;
use std::time::Duration;

use redis::Client;

/// Where and how long.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `redis://[user:password@]host:port[/database]`, or `unix:///path`.
    pub url: String,
    /// How long an entry stays that nobody puts again. Each gateway puts its clients three times in that time.
    pub ttl: Duration,
    /// How long Redis may take to answer before it counts as away.
    pub deadline: Duration,
}

impl Settings {
    /// Of a Redis, with the defaults.
    pub fn of(url: String) -> Self {
        Self { url, ttl: Duration::from_mins(15), deadline: Duration::from_millis(100) }
    }

    /// Whether they can be used; nobody is asked.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn validate(&self) -> Result<(), Error> {
        if self.ttl < Duration::from_secs(1) {
            return Err(Error::Ttl);
        }
        Client::open(self.url.as_str()).map(drop).map_err(Error::Address)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address has a password in it.
        f.debug_struct("Settings").field("ttl", &self.ttl).field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Why there is no lookup in Redis.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("not an address of Redis: {0}")]
    Address(#[source] redis::RedisError),
    /// Entries would expire before they can be put again.
    #[error("ttl: at least 1s")]
    Ttl,
}
