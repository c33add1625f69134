//! `[lookup]`: how a client is found that is connected to another gateway.

use std::sync::Arc;
use std::time::Duration;

use causeway_compute::lookup;
use causeway_compute::port;
use causeway_model::Lineage;
use serde::{Deserialize, Serialize};

use super::Secret;

/// `[lookup]`. The gateways of a system agree on `redis`: whoever keeps clients elsewhere is found by asking everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lookup {
    /// Where it is kept who is where, such as `redis://user:password@host:6379/0`. Absent: gateways keep it for each
    /// other, in memory. Needs a build with the feature `redis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Secret>,
    /// How long an entry stays in Redis whose gateway is gone.
    #[serde(with = "humantime_serde")]
    pub redis_ttl: Duration,
    /// How long another gateway may take to answer before it counts as silent.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Clients that this gateway keeps in memory for the others, at most 94 bytes each; more are found by asking
    /// everybody.
    pub max_entries: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        let lookup::Settings { deadline, entries, .. } = lookup::Settings::default();
        Self { redis: None, redis_ttl: Duration::from_mins(15), deadline, max_entries: entries }
    }
}

impl Lookup {
    /// Everything that is wrong with them, each naming its key; empty if nothing is.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.deadline.is_zero() {
            problems.push("lookup.deadline: more than 0".to_owned());
        }
        problems.extend(self.redis.as_ref().and_then(|redis| self.check(redis)));
        problems
    }

    /// What finding clients takes.
    pub fn compute(&self) -> lookup::Settings {
        lookup::Settings { deadline: self.deadline, entries: self.max_entries, ..lookup::Settings::default() }
    }

    #[cfg(not(feature = "redis"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature it looks at the setting")]
    fn check(&self, _: &Secret) -> Option<String> {
        Some("lookup.redis: this build knows no Redis; build it with the feature `redis`, or leave it out".to_owned())
    }

    /// The lookup that the settings name; `None`: the built-in. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// What [`Lookup::validate`] finds wrong.
    #[cfg(not(feature = "redis"))]
    pub fn open(&self, _: Lineage) -> Result<Option<Arc<dyn port::Lookup>>, String> {
        self.redis.as_ref().and_then(|redis| self.check(redis)).map_or(Ok(None), Err)
    }

    #[cfg(feature = "redis")]
    fn check(&self, redis: &Secret) -> Option<String> {
        self.of(redis).validate().err().map(|error| format!("lookup.redis: {error}"))
    }

    /// The lookup that the settings name; `None`: the built-in. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// What [`Lookup::validate`] finds wrong.
    #[cfg(feature = "redis")]
    pub fn open(&self, lineage: Lineage) -> Result<Option<Arc<dyn port::Lookup>>, String> {
        let Some(redis) = &self.redis else { return Ok(None) };
        let opened = causeway_redis::Redis::new(self.of(redis), lineage);
        opened.map(|redis| Some(Arc::new(redis) as _)).map_err(|error| format!("lookup.redis: {error}"))
    }

    #[cfg(feature = "redis")]
    fn of(&self, redis: &Secret) -> causeway_redis::Settings {
        causeway_redis::Settings { ttl: self.redis_ttl, ..causeway_redis::Settings::of(redis.0.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(address: &str) -> Lookup {
        Lookup { redis: Some(Secret(address.to_owned())), ..Lookup::default() }
    }

    #[tokio::test]
    async fn without_an_address_of_redis_gateways_keep_it_for_each_other() {
        assert_eq!(Lookup::default().validate(), [""; 0]);
        assert!(Lookup::default().open(Lineage(1)).unwrap().is_none());
        assert_eq!(Lookup::default().compute(), lookup::Settings::default());
        let bad = Lookup { deadline: Duration::ZERO, ..Lookup::default() };
        assert_eq!(bad.validate(), ["lookup.deadline: more than 0"]);
    }

    #[tokio::test]
    #[cfg(not(feature = "redis"))]
    async fn a_build_without_redis_says_so() {
        let problems = redis("redis://host").validate();
        assert!(problems[0].contains("feature `redis`"), "{problems:?}");
        assert_eq!(redis("redis://host").open(Lineage(1)).err(), problems.into_iter().next());
    }

    #[tokio::test]
    #[cfg(feature = "redis")]
    async fn an_address_of_redis_leads_there_and_a_wrong_one_is_told() {
        assert_eq!(redis("redis://host").validate(), [""; 0]);
        assert!(redis("redis://host").open(Lineage(1)).unwrap().is_some());
        for bad in [redis("http://host"), Lookup { redis_ttl: Duration::ZERO, ..redis("redis://host") }] {
            let problems = bad.validate();
            assert!(problems[0].starts_with("lookup.redis: "), "{problems:?}");
            assert_eq!(bad.open(Lineage(1)).err(), problems.into_iter().next());
        }
    }

    #[test]
    fn a_password_in_the_address_is_not_shown() {
        assert!(!format!("{:?}", redis("redis://user:secret@host")).contains("secret"));
    }
}
