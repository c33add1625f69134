//! The suite that defines the port, on what production stands on: RocksDB and a real disk.

use std::any::Any;
use std::sync::Arc;

use causeway_compute::port::{Broker, Overview, Reply};
use causeway_compute::suite::{Stopwatch, World};
use causeway_index::Db;
use causeway_local::{Birth, Local, LocalOptions, Started, Stopper, memory, start};
use causeway_model::{HashKey, Incarnation, Lineage, Position, ShardId};
use causeway_storage::Disk;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;

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
