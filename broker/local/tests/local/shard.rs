//! One shard in memory, with a clock that a test moves and a runtime to wait with.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use causeway_apply::Twin;
use causeway_compute::port::{Broker, Command};
use causeway_compute::suite::Client;
use causeway_local::memory::Memory;
use causeway_local::{Local, Settings, Started, Stopper};
use causeway_model::{
    ClientId, Incarnation, ManualClock, Message, Millis, Namespace, Position, Properties, Publisher, Qos, ShardId,
    Topic,
};

pub(crate) const START: Millis = Millis(1_700_000_000_000);

pub(crate) struct Shard {
    pub(crate) memory: Memory,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) local: Arc<Local<Twin>>,
    pub(crate) client: Client,
    pub(crate) stopper: Stopper,
    runtime: tokio::runtime::Runtime,
}

impl Shard {
    /// A new shard on empty memory.
    pub(crate) fn new(seed: u64, settings: Settings) -> Self {
        Self::start(Memory::new(seed), Arc::new(ManualClock::new(START)), settings, 1)
    }

    pub(crate) fn start(memory: Memory, clock: Arc<ManualClock>, settings: Settings, incarnation: u128) -> Self {
        let Started { local, stopper } =
            memory.start(clock.clone(), settings, Incarnation(incarnation)).expect("the shard starts");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let client = Client { broker: local.clone(), shard: ShardId(0) };
        Self { memory, clock, local, client, stopper, runtime }
    }

    pub(crate) fn wait<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime.block_on(future)
    }

    /// Publishes and waits.
    pub(crate) fn publish(&self, topic: &str, body: &str) -> Position {
        self.wait(self.client.publish(topic, body))
    }

    pub(crate) fn bodies(&self, filter: &str) -> Vec<String> {
        self.wait(self.client.bodies(filter))
    }

    pub(crate) fn first(&self) -> Position {
        self.local.first(ShardId(0))
    }

    /// Moves the clock and lets the leader do its duties.
    pub(crate) fn later(&self, by: Duration) {
        self.clock.advance(by);
        self.local.tick().expect("no duty is put off");
    }

    /// Stops it and gives back what it ran on.
    pub(crate) fn stop(self) -> (Memory, Arc<ManualClock>) {
        self.stopper.stop();
        (self.memory, self.clock)
    }
}

/// A publish of one message.
pub(crate) fn publish(topic: &str, body: String) -> Command {
    Command::Publish(Message {
        namespace: Namespace::default(),
        topic: Topic::new(topic.into()).expect("a topic"),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: START,
        publisher: Publisher { client: ClientId("test".into()), session: None, pid: None },
        properties: Properties::default(),
        body: body.into(),
    })
}
