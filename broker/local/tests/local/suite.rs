//! The port's suite on the twins: tables and disk in memory, everything above them as in production.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::any::Any;
use std::sync::Arc;

use causeway_apply::Twin;
use causeway_compute::port::{Broker, Reply};
use causeway_compute::suite::World;
use causeway_local::memory::{self, Memory};
use causeway_local::{Local, Started, Stopper};
use causeway_model::{Clock, Incarnation, Millis, Position, ShardId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};

/// A clock that can be stopped altogether: the log thread asks for the time before it appends a batch, so it waits.
#[derive(Default)]
struct Stopwatch {
    stalled: Mutex<bool>,
    resumed: Condvar,
}

impl Clock for Stopwatch {
    fn now(&self) -> Millis {
        let mut stalled = self.stalled.lock();
        self.resumed.wait_while(&mut stalled, |stalled| *stalled);
        Millis(1_700_000_000_000)
    }
}

struct Stalled(Arc<Stopwatch>);

impl Drop for Stalled {
    fn drop(&mut self) {
        *self.0.stalled.lock() = false;
        self.0.resumed.notify_all();
    }
}

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

    fn largest_body(&self) -> usize {
        memory::settings().message_bytes
    }

    fn trim(&self, _shard: ShardId, below: Position) -> BoxFuture<'_, ()> {
        async move { assert_eq!(self.local.trim(below).await.unwrap(), Reply::Done) }.boxed()
    }

    fn stall(&self, _shard: ShardId) -> Box<dyn Any + Send> {
        *self.clock.stalled.lock() = true;
        Box::new(Stalled(Arc::clone(&self.clock)))
    }
}

causeway_compute::broker_suite!(fresh);
