//! The suite that defines the port, on what production stands on: RocksDB and a real disk.

use std::any::Any;
use std::sync::Arc;

use causeway_compute::port::{Broker, Reply};
use causeway_compute::suite::World;
use causeway_index::Db;
use causeway_local::{Birth, Local, LocalOptions, Started, Stopper, memory, start};
use causeway_model::{Clock, HashKey, Incarnation, Lineage, Millis, Position, ShardId};
use causeway_storage::Disk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;

/// A clock that can be stopped: the log thread asks for the time before it appends a batch, so then it waits.
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

struct OnDisk {
    local: Arc<Local<Db>>,
    clock: Arc<Stopwatch>,
    _stopper: Stopper,
    _dir: TempDir,
}

async fn fresh() -> OnDisk {
    let clock = Arc::new(Stopwatch::default());
    let stopwatch = Arc::clone(&clock);
    let begin = move || {
        let dir = tempfile::tempdir().unwrap();
        let index = causeway_index::Settings { memory_bytes: 32 << 20, ..causeway_index::Settings::default() };
        let tables = Db::open(&dir.path().join("index"), &index).unwrap();
        let mut settings = memory::settings();
        settings.commit.waiting_groups = 5_000;
        settings.notify_frames = 64;
        let options = LocalOptions {
            fs: Arc::new(Disk),
            dir: dir.path().to_owned(),
            tables: Arc::new(tables),
            clock: stopwatch,
            settings,
            incarnation: Some(Incarnation(77)),
            birth: Birth { lineage: Lineage(1), key: HashKey([1; 16]) },
        };
        let Started { local, stopper } = start(options, &mut |_| {}).unwrap();
        (local, stopper, dir)
    };
    let (local, stopper, dir) = tokio::task::spawn_blocking(begin).await.unwrap();
    OnDisk { local, clock, _stopper: stopper, _dir: dir }
}

impl World for OnDisk {
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
