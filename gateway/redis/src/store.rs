//! The lookup port over one connection to Redis.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::{Lookup, Map, Slot, SlotSet, Whereabout};
use causeway_model::{Incarnation, Lineage, QueueId};
use futures_util::future::BoxFuture;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};

use crate::away::Away;
use crate::{Error, Settings, entry};

/// Keys of one command: Redis does nothing else while it runs.
const BATCH: usize = 512;
/// What waits for an answer on the connection; over it, callers wait for their deadline.
const IN_FLIGHT: usize = 256;

/// A lookup in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    manager: ConnectionManager,
    lineage: Lineage,
    settings: Settings,
    put: Script,
    remove: Script,
    away: Away,
}

impl Redis {
    /// Connects when it is first asked, and again whenever the connection is lost. Must be called within a Tokio
    /// runtime. Clusters of other lineages may use the same Redis.
    ///
    /// # Errors
    /// The settings are wrong. That Redis is away is no error.
    pub fn new(settings: Settings, lineage: Lineage) -> Result<Self, Error> {
        settings.validate()?;
        let client = Client::open(settings.url.as_str()).map_err(Error::Address)?;
        // Its own retries are of no use to callers that do not wait for it.
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(settings.deadline))
            .set_response_timeout(Some(settings.deadline))
            .set_concurrency_limit(IN_FLIGHT);
        let manager = ConnectionManager::new_lazy_with_config(client, config).map_err(Error::Address)?;
        let (put, remove) = (Script::new(PUT), Script::new(REMOVE));
        Ok(Self(Arc::new(Inner { manager, lineage, settings, put, remove, away: Away::default() })))
    }
}

impl Inner {
    /// Runs one call within the deadline; `None`: Redis is away.
    async fn call<T>(&self, call: impl Future<Output = RedisResult<T>>) -> Option<T> {
        if !self.away.may_try() {
            return None;
        }
        let result = match tokio::time::timeout(self.settings.deadline, call).await {
            Ok(Ok(value)) => {
                self.away.answered();
                return Some(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {}ms", self.settings.deadline.as_millis()),
        };
        if self.away.failed() {
            tracing::warn!(error = result, "Redis is away: clients are looked for at every gateway");
        }
        None
    }

    /// Runs a script over entries; the slots of those for which it was not done, and of all once after Redis was away.
    async fn run(&self, script: &Script, entries: &[Whereabout]) -> SlotSet {
        let mut failed = SlotSet::EMPTY;
        let ttl = u64::try_from(self.settings.ttl.as_millis()).unwrap_or(u64::MAX);
        for batch in entries.chunks(BATCH) {
            let mut invocation = script.prepare_invoke();
            invocation.arg(ttl);
            for found in batch {
                invocation.key(entry::key(self.lineage, found.client)).arg(entry::value(found).as_slice());
            }
            let mut manager = self.manager.clone();
            if self.call(invocation.invoke_async::<()>(&mut manager)).await.is_none() {
                failed.extend(batch.iter().map(|found| Slot::of(found.client)));
            } else if self.away.is_back() {
                tracing::info!("Redis is back");
                failed = SlotSet::ALL;
            }
        }
        failed
    }

    async fn find(&self, clients: &[QueueId]) -> Vec<Option<Whereabout>> {
        let mut found = Vec::with_capacity(clients.len());
        for batch in clients.chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|client| entry::key(self.lineage, *client)).collect();
            let mut manager = self.manager.clone();
            let mut command = redis::cmd("MGET");
            command.arg(&keys);
            let values = self.call(command.query_async::<Vec<Option<Vec<u8>>>>(&mut manager)).await.unwrap_or_default();
            let values = values.into_iter().map(Some).chain(std::iter::repeat(None));
            found.extend(batch.iter().zip(values).map(|(client, value)| entry::parse(*client, &value??)));
        }
        found
    }
}

impl Lookup for Redis {
    fn put(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet> {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.run(&this.put, &entries).await })
    }

    fn remove(&self, entries: Vec<Whereabout>) -> BoxFuture<'static, SlotSet> {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.run(&this.remove, &entries).await })
    }

    fn find(&self, clients: Vec<QueueId>) -> BoxFuture<'static, Vec<Option<Whereabout>>> {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.find(&clients).await })
    }

    fn forget(&self, _: Incarnation, _: SlotSet) -> BoxFuture<'static, SlotSet> {
        Box::pin(std::future::ready(SlotSet::EMPTY))
    }

    fn follow(&self, _: &Arc<Map>) -> SlotSet {
        // Whoever serves, Redis has what was put.
        if self.0.away.is_first() { SlotSet::ALL } else { SlotSet::EMPTY }
    }

    fn refresh(&self) -> Option<Duration> {
        Some(self.0.settings.ttl / 3)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("lineage", &self.0.lineage).field("settings", &self.0.settings).finish()
    }
}

/// Two halves: a number of Lua has 53 bits, and strings compare as the server's locale wants.
const PUT: &str = r"
for i, key in ipairs(KEYS) do
  local new, old = ARGV[i + 1], redis.call('GET', key)
  local newer = false
  if old and #old == 24 then
    local oh, ol = struct.unpack('>I4I4', old)
    local nh, nl = struct.unpack('>I4I4', new)
    newer = oh > nh or (oh == nh and ol > nl)
  end
  if not newer then redis.call('SET', key, new, 'PX', ARGV[1]) end
end
";

const REMOVE: &str = r"
for i, key in ipairs(KEYS) do
  local gone, old = ARGV[i + 1], redis.call('GET', key)
  if old then
    local newer = false
    if #old == 24 then
      local oh, ol = struct.unpack('>I4I4', old)
      local gh, gl = struct.unpack('>I4I4', gone)
      newer = oh > gh or (oh == gh and ol > gl)
    end
    if not newer then redis.call('DEL', key) end
  end
end
";
