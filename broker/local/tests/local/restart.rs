//! What is there after a stop, and after the power went: whatever was acknowledged, and tables that are a function of
//! the log.

#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use causeway_apply::read;
use causeway_compute::port::{Broker, Command, Owner, Reply};
use causeway_compute::suite::Client;
use causeway_local::{Birth, Error, Local, LocalOptions, Settings, Started, Stopper, memory, start};
use causeway_model::{
    HashKey, Incarnation, Kind, Lineage, ManualClock, Millis, Namespace, Position, Properties, Qos, ShardId,
    SubscribeOptions,
};
use causeway_storage::{Ahead, Sim};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::fragile::Fragile;

/// A machine whose power a test can take.
pub(crate) struct Machine {
    disk: Sim,
    pub(crate) tables: Arc<Fragile>,
    pub(crate) settings: Settings,
    lives: u128,
}

pub(crate) struct Running {
    pub(crate) local: Arc<Local<Fragile>>,
    pub(crate) client: Client,
    pub(crate) stopper: Stopper,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        let mut settings = memory::settings();
        settings.log.segment_bytes = 64 << 10;
        settings.log.ahead = Ahead::Inline;
        settings.flush.bytes = 40 << 10;
        Self { disk: Sim::new(seed), tables: Arc::default(), settings, lives: 0 }
    }

    fn options(&mut self) -> LocalOptions<Fragile> {
        self.lives += 1;
        LocalOptions {
            fs: Arc::new(self.disk.clone()),
            dir: PathBuf::from("/shard"),
            tables: Arc::clone(&self.tables),
            clock: Arc::new(ManualClock::new(Millis(1_700_000_000_000))),
            settings: self.settings.clone(),
            incarnation: Some(Incarnation(self.lives)),
            birth: Birth { lineage: Lineage(9), key: HashKey([9; 16]) },
        }
    }

    pub(crate) fn start(&mut self) -> Result<Running, Box<Error>> {
        let Started { local, stopper } = start(self.options(), &mut |_| {}).map_err(Box::new)?;
        let client = Client { broker: local.clone(), shard: ShardId(0) };
        Ok(Running { local, client, stopper })
    }

    /// The power goes at some change of the disk soon, and comes back once nothing runs any more.
    pub(crate) fn crash(&mut self, running: Running) {
        self.tables.dead.store(true, Ordering::SeqCst);
        self.disk.cut_power(self.disk.changes());
        running.stopper.stop();
        self.power_returns();
    }

    /// What was not on disk is gone.
    pub(crate) fn power_returns(&mut self) {
        self.disk.crash();
        self.tables.crash();
    }

    /// Changes of the disk so far.
    pub(crate) fn changes(&self) -> u64 {
        self.disk.changes()
    }

    /// The power goes at this change of the disk.
    pub(crate) fn cut_power_at(&self, change: u64) {
        self.disk.cut_power(change);
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[test]
fn a_stop_flushes_so_that_the_next_start_has_nothing_to_replay() {
    let mut machine = Machine::new(1);
    let running = machine.start().unwrap();
    let wait = runtime();
    wait.block_on(running.client.publish("a", "1"));
    let end = running.local.applied(ShardId(0));
    running.stopper.stop();
    machine.tables.crash();
    assert_eq!(read::applied(&*machine.tables).unwrap().position, end);
    let mut replayed = Vec::new();
    let Started { local, stopper } = start(machine.options(), &mut |progress| replayed.push(progress)).unwrap();
    assert_eq!(replayed, []);
    let client = Client { broker: local, shard: ShardId(0) };
    assert_eq!(wait.block_on(client.bodies("a")), ["1"]);
    stopper.stop();
}

/// A random history with wildcards, sessions and flushes, cut at a random change of the disk, many times.
#[test]
fn whatever_was_acknowledged_is_there_after_lost_power_and_tables_follow_from_the_log() {
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut machine = Machine::new(seed);
    let wait = runtime();
    let (mut number, mut acknowledged) = (0_u32, Vec::new());
    for life in 0..20 {
        let running = match machine.start() {
            Ok(running) => running,
            Err(error) => panic!("seed {seed}, life {life}: {error}"),
        };
        let found = wait.block_on(running.client.bodies("m/x"));
        let mut rest = found.iter();
        for body in &acknowledged {
            assert!(rest.any(|found| found == body), "seed {seed}, life {life}: {body} is missing or out of order");
        }
        machine.disk.cut_power(machine.disk.changes() + rng.random_range(5..200));
        while let Some(body) = wait.block_on(step(&running.client, &mut rng, &mut number)) {
            acknowledged.push(body);
        }
        machine.crash(running);
    }
    assert!(acknowledged.len() > 50, "seed {seed}: little was shown");

    // The same log into empty tables gives the same rows.
    machine.start().unwrap().stopper.stop();
    let (before, digest) = (machine.tables.twin.dump(), read::applied(&*machine.tables).unwrap().digest);
    machine.tables = Arc::default();
    let options = machine.options();
    let tables = Arc::clone(&options.tables);
    let Started { stopper, .. } = start(LocalOptions { incarnation: None, ..options }, &mut |_| {}).unwrap();
    stopper.stop();
    // One more blank batch, which writes nothing but the mark.
    let rows = |dump: Vec<(causeway_apply::Family, bytes::Bytes, bytes::Bytes)>| {
        dump.into_iter().filter(|(_, key, _)| *key != causeway_apply::key::APPLIED[..]).collect::<Vec<_>>()
    };
    assert_eq!(rows(tables.twin.dump()), rows(before), "seed {seed}");
    assert_eq!(read::applied(&*tables).unwrap().digest, digest, "seed {seed}");
}

/// One thing that a client does; the body of a message that was acknowledged in the topic under test, or `None` when
/// the shard is gone.
async fn step(client: &Client, rng: &mut StdRng, number: &mut u32) -> Option<String> {
    loop {
        *number += 1;
        let command = match rng.random_range(0..10) {
            0 => Command::Interest(causeway_compute::port::Interest {
                add: rng.random(),
                namespace: Namespace::default(),
                filter: causeway_model::Filter::new(format!("m/+/{}/#", rng.random_range(0..3)).into()).unwrap(),
                owner: Owner::Gateway(Incarnation(1000)),
            }),
            1 => Command::SessionOpen(causeway_compute::port::SessionOpen {
                namespace: Namespace::default(),
                client: causeway_model::ClientId(format!("c{}", rng.random_range(0..5)).into()),
                clean_start: rng.random(),
                expiry: Duration::from_mins(10),
                owner: Incarnation(1000),
                attempt: 0,
                will: None,
            }),
            _ => {
                let body = format!("{number} {}", "b".repeat(rng.random_range(0..4000)));
                let reply = client.broker.propose(client.shard, vec![message(&body)]).await;
                return reply.is_ok().then_some(body);
            }
        };
        client.broker.propose(client.shard, vec![command]).await.ok()?;
    }
}

pub(crate) fn message(body: &str) -> Command {
    Command::Publish(causeway_model::Message {
        namespace: Namespace::default(),
        topic: causeway_model::Topic::new("m/x".into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(0),
        publisher: causeway_model::Publisher { client: causeway_model::ClientId("p".into()), session: None, pid: None },
        properties: Properties::default(),
        body: body.to_owned().into(),
    })
}

#[test]
fn tables_from_a_checkpoint_and_the_log_after_it_are_the_tables_that_were_lost() {
    let mut machine = Machine::new(3);
    let running = machine.start().unwrap();
    let wait = runtime();
    wait.block_on(running.client.add("t/+", Owner::Gateway(Incarnation(1))));
    let opened = wait.block_on(running.client.open("c", false, Duration::from_mins(10), Incarnation(1)));
    let session = (opened.sid, opened.epoch);
    for round in 0..10_u64 {
        let mut at = Position(0);
        for _ in 0..20 {
            at = wait.block_on(running.client.publish("t/1", &"z".repeat(2000)));
        }
        wait.block_on(running.client.subscribe(session, "t/+", SubscribeOptions::at(Qos::AtLeastOnce), round));
        if round % 2 == 1 {
            assert_eq!(wait.block_on(running.local.trim(at)).unwrap(), Reply::Done);
        }
        running.local.flush().unwrap();
    }
    // The log thread looks at the floor between two batches.
    wait.block_on(running.client.publish("t/1", "after"));
    wait.block_on(running.client.publish("t/1", "the flush"));
    let end = running.local.applied(ShardId(0));
    let log_first = running.local.log().first();
    assert!(log_first > Position(0), "segments went: nothing could be rebuilt without a checkpoint");
    running.stopper.stop();
    let before = machine.tables.twin.dump();

    machine.tables.twin.restore();
    let restored = read::applied(&*machine.tables).unwrap().position;
    assert!(restored < end, "the checkpoint is older than what was lost");
    assert!(restored >= log_first, "and the log still has what comes after it");
    let Started { local, stopper } =
        start(LocalOptions { incarnation: None, ..machine.options() }, &mut |_| {}).unwrap();
    local.flush().unwrap();
    stopper.stop();
    let rows = |dump: Vec<(causeway_apply::Family, bytes::Bytes, bytes::Bytes)>| {
        dump.into_iter().filter(|(_, key, _)| *key != causeway_apply::key::APPLIED[..]).collect::<Vec<_>>()
    };
    assert_eq!(rows(machine.tables.twin.dump()), rows(before));
}

#[test]
fn tables_that_cannot_be_flushed_stop_the_shard() {
    let mut machine = Machine::new(4);
    let running = machine.start().unwrap();
    let wait = runtime();
    machine.tables.dead.store(true, Ordering::SeqCst);
    wait.block_on(running.client.publish("a", "1"));
    assert_eq!(running.local.flush().unwrap_err().kind, Kind::Unavailable);
    let error = wait.block_on(running.local.failed());
    assert!(matches!(&*error, Error::Flush(_)), "{error}");
    running.stopper.stop();
}

#[test]
fn a_failed_disk_is_reported() {
    let mut machine = Machine::new(5);
    let running = machine.start().unwrap();
    let wait = runtime();
    wait.block_on(running.client.publish("m/x", "kept"));
    machine.disk.cut_power(machine.disk.changes());
    let error = wait.block_on(running.local.propose(ShardId(0), vec![message("lost")])).unwrap_err();
    assert_eq!(error.kind, Kind::Unknown);
    let error = wait.block_on(running.local.failed());
    assert!(matches!(&*error, Error::Stopped(_)), "{error}");
    let refused = wait.block_on(running.local.propose(ShardId(0), vec![message("late")])).unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    assert_eq!(wait.block_on(running.client.bodies("m/x")), ["kept"], "reads go on");
    machine.crash(running);
}

#[test]
fn a_directory_that_is_in_use_is_refused() {
    let mut machine = Machine::new(6);
    let running = machine.start().unwrap();
    let second = machine.start().map(|_| ()).unwrap_err();
    let Error::Log { source: causeway_storage::Error::Locked { .. }, .. } = *second else { panic!("{second}") };
    running.stopper.stop();
}

#[test]
fn tables_without_their_log_are_refused() {
    let mut machine = Machine::new(7);
    machine.start().unwrap().stopper.stop();
    machine.disk = Sim::new(8);
    let error = machine.start().map(|_| ()).unwrap_err();
    assert!(matches!(*error, Error::LogMissing { .. }), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_touched() {
    let mut machine = Machine::new(9);
    machine.settings.reads.threads = 0;
    machine.settings.notify_frames = 0;
    let error = machine.start().map(|_| ()).unwrap_err();
    let Error::Settings(problems) = *error else { panic!("{error}") };
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(machine.disk.changes(), 0);
}

#[test]
fn after_a_stop_calls_are_refused_and_readers_of_frames_see_the_end() {
    let mut machine = Machine::new(10);
    let running = machine.start().unwrap();
    let wait = runtime();
    let at = wait.block_on(running.client.publish("a", "1"));
    let mut frames = running.local.notify(ShardId(0));
    let local = Arc::clone(&running.local);
    running.stopper.stop();
    assert!(wait.block_on(frames.recv()).is_none());
    let refused = wait.block_on(local.propose(ShardId(0), vec![message("late")])).unwrap_err();
    assert_eq!(refused.kind, Kind::Unavailable);
    let refused = wait.block_on(local.session(ShardId(0), causeway_model::Sid { home: ShardId(0), position: at }));
    assert_eq!(refused.unwrap_err().kind, Kind::Unavailable);
    let elsewhere = wait.block_on(local.propose(ShardId(3), vec![message("elsewhere")])).unwrap_err();
    assert_eq!((elsewhere.kind, elsewhere.shard), (Kind::NotFound, ShardId(3)));
}
