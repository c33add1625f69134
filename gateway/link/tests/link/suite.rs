//! The ports' suite, over loopback: what holds for the broker in memory holds for its clients.

use std::any::Any;
use std::sync::Arc;

use causeway_compute::port::{Broker, Overview, Reply};
use causeway_compute::process::Process;
use causeway_compute::suite::World;
use causeway_link::{Client, ClientSettings};
use causeway_local::memory::{self, Memory};
use causeway_model::{Position, ShardId};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::world::{Server, client, process, server_settings};

struct Remote {
    server: Server,
    client: Arc<Client>,
    _process: Process,
}

async fn fresh() -> Remote {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    // A budget that the suite reaches: about 4,000 small calls.
    let settings = ClientSettings { in_flight_bytes: 1 << 20, notify_frames: 64, precise: true, ..server.settings() };
    // A message of the largest size is over it, and alone.
    let client = client(settings, 1, &process).await;
    Remote { server, client, _process: process }
}

impl World for Remote {
    fn broker(&self) -> Arc<dyn Broker> {
        self.client.clone()
    }

    fn overview(&self) -> Arc<dyn Overview> {
        self.client.clone()
    }

    fn largest_body(&self) -> usize {
        memory::settings().message_bytes
    }

    fn trim(&self, shard: ShardId, below: Position) -> BoxFuture<'_, ()> {
        async move {
            assert_eq!(self.server.local.trim(below).await.unwrap(), Reply::Done);
            // Whatever is answered from here on says so.
            self.client.status(shard).await.unwrap();
        }
        .boxed()
    }

    fn stall(&self, _shard: ShardId) -> Box<dyn Any + Send> {
        Box::new(self.server.clock.stall())
    }
}

causeway_compute::broker_suite!(fresh);
