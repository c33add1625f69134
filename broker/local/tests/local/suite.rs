//! The port's suite on the twins: tables and disk in memory, everything above them as in production.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::any::Any;
use std::sync::Arc;

use causeway_apply::Twin;
use causeway_compute::port::{Broker, Overview, Reply};
use causeway_compute::suite::{Stopwatch, World};
use causeway_local::memory::{self, Memory};
use causeway_local::{Local, Started, Stopper};
use causeway_model::{Incarnation, Position, ShardId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

struct InMemory {
    local: Arc<Local<Twin>>,
    clock: Arc<Stopwatch>,
    _stopper: Stopper,
}

async fn fresh() -> InMemory {
    let clock = Arc::new(Stopwatch::default());
    let stopwatch = Arc::clone(&clock);
    let start = move || {
        let mut settings = memory::settings();
        settings.commit.waiting_groups = 5_000;
        settings.notify_frames = 64;
        Memory::new(1).start(stopwatch, settings, Incarnation(77)).unwrap()
    };
    let Started { local, stopper } = tokio::task::spawn_blocking(start).await.unwrap();
    InMemory { local, clock, _stopper: stopper }
}

impl World for InMemory {
    fn broker(&self) -> Arc<dyn Broker> {
        self.local.clone()
    }

    fn overview(&self) -> Arc<dyn Overview> {
        self.local.clone()
    }

    fn largest_body(&self) -> usize {
        memory::settings().message_bytes
    }

    fn trim(&self, _shard: ShardId, below: Position) -> BoxFuture<'_, ()> {
        async move { assert_eq!(self.local.trim(below).await.unwrap(), Reply::Done) }.boxed()
    }

    fn stall(&self, _shard: ShardId) -> Box<dyn Any + Send> {
        Box::new(self.clock.stall())
    }
}

causeway_compute::broker_suite!(fresh);
