//! Gateways under leases, on a real shard: the registrar declares who is silent lost, the leader's duties close what it
//! owned, and what was promised to its clients is kept.
//!
//! Time is moved by hand: leases are an hour, so that nothing happens by itself however slow the machine is.

#![expect(clippy::unwrap_used, reason = "tests and what they share")]

use std::sync::Arc;
use std::time::Duration;

use causeway_apply::Record;
use causeway_apply::record::CloseReason;
use causeway_compute::members::{Membership, Registrar};
use causeway_compute::port::{
    Command, Error, GatewayState, Interest, Lease, Map, Member, Members, Opened, Overview, Owner, Rejected, Reply,
    SessionOpen,
};
use causeway_compute::process::Process;
use causeway_compute::suite::Client;
use causeway_compute::task::Wave;
use causeway_local::memory;
use causeway_model::{ClientId, Filter, Incarnation, Kind, Namespace, Position, Qos, ShardId, SubscribeOptions, Text};
use futures_util::future::{BoxFuture, ready};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use crate::shard::Shard;

const LEASE: Duration = Duration::from_hours(1);
/// The registrar looks at the leases as often as this.
const TICK: Duration = Duration::from_mins(6);
/// Much shorter than anybody's wait, so that nobody's is missed by much.
const STEP: Duration = Duration::from_mins(1);
/// No test waits as long for what happens in time.
const PATIENCE: Duration = Duration::from_mins(1);
const EXPIRY: Duration = Duration::from_hours(1);

/// The gateway that the broker hosts: it is a member as any other.
const HOSTED: Incarnation = Incarnation(1);
const REMOTE: Incarnation = Incarnation(50);

/// A gateway's way to the registrar, which a test cuts and leads elsewhere.
#[derive(Clone, Default)]
struct Way(Arc<Mutex<Option<Arc<Registrar>>>>);

impl Way {
    fn lead_to(&self, registrar: &Arc<Registrar>) {
        *self.0.lock() = Some(Arc::clone(registrar));
    }

    /// The gateway's process is stopped, or its network is down.
    fn cut(&self) {
        *self.0.lock() = None;
    }

    fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Registrar) -> BoxFuture<'static, Result<R, Error>>,
    ) -> BoxFuture<'static, Result<R, Error>> {
        let unreachable = Error { operation: "reach the registrar", shard: ShardId(0), kind: Kind::Unavailable };
        self.0.lock().as_deref().map_or_else(|| Box::pin(ready(Err(unreachable))) as _, call)
    }
}

impl Members for Way {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, Error>> {
        self.call(|registrar| registrar.join(member))
    }

    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, Error>> {
        self.call(|registrar| registrar.beat(incarnation))
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), Error>> {
        self.call(|registrar| registrar.leave(incarnation))
    }
}

/// One run of a gateway.
struct Gateway {
    way: Way,
    process: Process,
    membership: Arc<Membership>,
}

/// A shard, and the runtime on which gateways and registrar run beside it.
struct World {
    shard: Shard,
    runtime: Runtime,
}

fn process() -> Process {
    let process = Process::new(prometheus::Registry::new()).unwrap();
    process.health.started();
    process
}

impl World {
    fn new(seed: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        Self { shard: Shard::new(seed, memory::settings()), runtime }
    }

    /// The broker's process starts anew; everybody else's lives on.
    fn restart(self, hosted: u128) -> Self {
        let Self { shard, runtime } = self;
        let (memory, clock) = shard.stop();
        Self { shard: Shard::start(memory, clock, memory::settings(), hosted), runtime }
    }

    fn wait<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime.block_on(async { timeout(PATIENCE, future).await }).expect("done in time")
    }

    /// A registrar beside the leader, and the process that it runs in.
    fn registrar(&self) -> (Arc<Registrar>, Process) {
        let process = process();
        let (broker, overview) = (self.shard.local.clone(), self.shard.local.clone());
        let metrics = process.metrics.members.clone();
        let registrar = self.wait(Registrar::start(broker, overview, LEASE, metrics, &process.tasks)).unwrap();
        (registrar, process)
    }

    fn join(&self, registrar: &Arc<Registrar>, incarnation: Incarnation, name: &'static str) -> Gateway {
        let (way, process) = (Way::default(), process());
        way.lead_to(registrar);
        let member = Member { incarnation, name: Text::from(name), address: Some(Text::from("host:7400")) };
        let (health, metrics) = (process.health.clone(), process.metrics.members.clone());
        let joined = Membership::join(Arc::new(way.clone()), member, health, metrics, &process.tasks);
        Gateway { way, membership: self.wait(joined).unwrap(), process }
    }

    /// Lets time pass as a process sees it that runs all the while.
    fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs().div_ceil(STEP.as_secs()) {
            self.leap(STEP);
        }
    }

    /// Lets time pass of which the processes see nothing.
    fn leap(&self, time: Duration) {
        self.runtime.block_on(async {
            tokio::time::pause();
            tokio::time::advance(time).await;
            // Enough for whoever is due, and for whoever waits on those.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tokio::time::resume();
        });
    }

    /// Waits until the log says of a gateway that was found silent that it is lost.
    fn until_lost(&self, registrar: &Registrar, incarnation: Incarnation) {
        assert_eq!(registrar.map().member(incarnation), None, "it is found silent");
        self.wait(async {
            while !self.states().await.contains(&(incarnation, GatewayState::Lost)) {
                tokio::task::yield_now().await;
            }
        });
    }

    async fn states(&self) -> Vec<(Incarnation, GatewayState)> {
        self.shard.local.gateways().await.unwrap()
    }

    /// Whether the log says that a client is connected; `None`: it has no session.
    fn is_connected(&self, client: &str) -> Option<bool> {
        let session = self.shard.local.client(Namespace::default(), ClientId(Text::from(client)));
        self.wait(session).unwrap().map(|session| session.connected)
    }

    fn client(&self) -> &Client {
        &self.shard.client
    }

    /// 600 persistent clients of a gateway, one of them with a subscription, 300 volatile ones and 300 wildcards.
    fn populate(&self, gateway: Incarnation) -> Opened {
        self.wait(async {
            let opened = self.client().open("p0", false, EXPIRY, gateway).await;
            let session = (opened.sid, opened.epoch);
            let owner = Owner::Session { sid: opened.sid, epoch: opened.epoch };
            let at = self.client().add("s/+", owner).await;
            self.client().subscribe(session, "s/+", SubscribeOptions::at(Qos::AtLeastOnce), at.0).await;
            let mut commands: Vec<_> = (1..600).map(|n| open(&format!("p{n}"), EXPIRY, gateway)).collect();
            commands.extend((0..300).map(|n| open(&format!("v{n}"), Duration::ZERO, gateway)));
            commands.extend((0..300).map(|n| interest(&format!("w/{n}/+"), Owner::Gateway(gateway))));
            let replies = self.client().propose(commands).await;
            assert!(replies.iter().all(|reply| matches!(reply, Reply::Opened(_) | Reply::Interest { .. })));
            opened
        })
    }

    /// The reasons for which sessions were closed, from the log.
    fn reasons(&self) -> Vec<CloseReason> {
        let batches = self.shard.local.log().batches(Position(0));
        let mut reasons = Vec::new();
        for batch in batches {
            let batch = batch.unwrap();
            let records = batch.records().map(|(_, payload)| Record::decode(&payload).unwrap());
            reasons.extend(records.filter_map(|record| {
                let Record::SessionClose(close) = record else { return None };
                Some(close.reason)
            }));
        }
        reasons
    }
}

fn names(map: &Map) -> Vec<&str> {
    map.members.iter().map(|member| &*member.name).collect()
}

fn open(client: &str, expiry: Duration, owner: Incarnation) -> Command {
    let (namespace, client) = (Namespace::default(), ClientId(Text::from(client)));
    Command::SessionOpen(SessionOpen { namespace, client, clean_start: false, expiry, owner, attempt: 0, will: None })
}

fn interest(filter: &str, owner: Owner) -> Command {
    let (namespace, filter) = (Namespace::default(), Filter::new(Text::from(filter)).unwrap());
    Command::Interest(Interest { add: true, namespace, filter, owner })
}

#[test]
fn a_silent_gateway_is_lost_and_its_clients_go_on_elsewhere_with_all_they_had() {
    let world = World::new(21);
    let (registrar, serving) = world.registrar();
    let hosted = world.join(&registrar, HOSTED, "hosted");
    let remote = world.join(&registrar, REMOTE, "remote");
    let opened = world.populate(REMOTE);
    world.wait(world.client().open("at hosted", false, EXPIRY, HOSTED));
    world.shard.publish("s/1", "before");
    world.pass(LEASE * 3);
    assert_eq!(names(&registrar.map()), ["hosted", "remote"], "whoever beats is alive for as long as it likes");
    assert_eq!(*hosted.membership.map().borrow(), registrar.map());

    remote.way.cut();
    world.pass(LEASE + TICK);
    world.until_lost(&registrar, REMOTE);
    assert!(remote.process.health.ready().is_err(), "it knows that it hears nothing");
    world.pass(LEASE / 3);
    assert_eq!(names(&hosted.membership.map().borrow()), ["hosted"]);
    assert_eq!(serving.metrics.members.declared_lost.get(), 1);
    // What the lost one still sends, before and after it is swept.
    let late = || {
        let fenced = Reply::Rejected(Rejected::Fenced);
        let commands = vec![open("late", EXPIRY, REMOTE), interest("late/+", Owner::Gateway(REMOTE))];
        assert_eq!(world.wait(world.client().propose(commands)), [fenced.clone(), fenced]);
        assert_eq!(world.wait(registrar.beat(REMOTE)).unwrap_err().kind, Kind::Fenced);
    };
    late();
    assert_eq!(world.is_connected("p0"), Some(true), "nothing is closed before the leader's duties come to it");
    world.shard.later(Duration::from_secs(1));
    late();

    for n in [0, 1, 255, 256, 257, 599] {
        assert_eq!(world.is_connected(&format!("p{n}")), Some(false), "session {n}");
    }
    assert_eq!(world.is_connected("v0"), None, "a volatile session ends with its connection");
    assert_eq!(world.is_connected("at hosted"), Some(true));
    assert_eq!(world.reasons(), vec![CloseReason::GatewayLost; 900]);
    world.shard.publish("w/7/x", "m");
    assert_eq!(world.shard.bodies("w/7/+").len(), 0, "its interest is gone");
    assert_eq!(world.wait(world.states()), [(HOSTED, GatewayState::Joined)]);

    // It comes back from its pause, finds itself fenced, and begins another run.
    world.shard.publish("s/2", "while it was away");
    remote.way.lead_to(&registrar);
    world.pass(LEASE / 3);
    world.wait(remote.membership.fenced());
    assert!(remote.process.health.ready().is_err());
    let again = Incarnation(51);
    let remote = world.join(&registrar, again, "remote");
    let resumed = world.wait(world.client().open("p0", false, EXPIRY, again));
    assert!(resumed.present && resumed.old_owner.is_none(), "{resumed:?}");
    assert_eq!((resumed.sid, resumed.epoch > opened.epoch), (opened.sid, true));
    assert_eq!(world.wait(world.client().session(resumed.sid)).subscriptions.len(), 1);
    world.shard.publish("s/3", "after");
    assert_eq!(world.shard.bodies("s/+"), ["before", "while it was away", "after"]);
    assert_eq!(names(&remote.membership.map().borrow()), ["hosted", "remote"]);
}

#[test]
fn a_gateway_that_leaves_is_lost_at_once() {
    let world = World::new(22);
    let (registrar, _serving) = world.registrar();
    let remote = world.join(&registrar, REMOTE, "remote");
    world.wait(world.client().open("c", false, EXPIRY, REMOTE));
    world.wait(remote.membership.leave());
    assert_eq!(world.wait(world.states()), [(HOSTED, GatewayState::Joined), (REMOTE, GatewayState::Lost)]);
    world.shard.later(Duration::from_secs(1));
    assert_eq!(world.is_connected("c"), Some(false));
    assert!(!remote.membership.is_fenced());
}

#[test]
fn a_broker_that_restarts_gives_every_gateway_a_lease_to_be_heard_of() {
    let world = World::new(23);
    let (first, serving) = world.registrar();
    let (alive, dead) = (world.join(&first, REMOTE, "alive"), world.join(&first, Incarnation(60), "dead"));
    world.wait(world.client().open("c", false, EXPIRY, REMOTE));
    serving.drain.close();
    world.wait(serving.tasks.ended(Wave::Back));
    alive.way.cut();
    dead.way.cut();
    // The gateways live on while the broker is away, for longer than a lease.
    world.pass(LEASE * 2);
    assert!(alive.process.health.ready().is_err());
    let world = world.restart(2);

    let (second, _serving) = world.registrar();
    assert!(second.map().epoch > first.map().epoch, "{:?} after {:?}", second.map().epoch, first.map().epoch);
    assert_eq!(second.map().members.iter().filter(|member| member.address.is_some()).count(), 0);
    world.pass(LEASE / 2);
    alive.way.lead_to(&second);
    world.pass(LEASE / 3);
    assert_eq!(second.map().member(REMOTE).map(|member| &*member.name), Some("alive"), "introduced again");
    assert_eq!(alive.process.health.ready(), Ok(()));
    world.pass(LEASE);
    world.until_lost(&second, Incarnation(60));
    assert_eq!(names(&second.map()), ["alive"], "nobody beats for the gateway that this broker hosts, either");
    dead.way.lead_to(&second);
    world.pass(LEASE / 3);
    world.wait(dead.membership.fenced());
    assert!(!alive.membership.is_fenced());
    world.shard.later(Duration::from_secs(1));
    assert_eq!(world.is_connected("c"), Some(true));
}

#[test]
fn a_broker_that_was_paused_declares_nobody_lost_who_was_alive() {
    let world = World::new(24);
    let (registrar, _serving) = world.registrar();
    let hosted = world.join(&registrar, HOSTED, "hosted");
    let (alive, dead) = (world.join(&registrar, REMOTE, "alive"), world.join(&registrar, Incarnation(60), "dead"));
    dead.way.cut();
    world.leap(LEASE * 20);
    world.pass(LEASE / 3);
    assert_eq!(names(&registrar.map()), ["hosted", "alive", "dead"], "who could not be heard is not silent");
    world.pass(LEASE);
    world.until_lost(&registrar, Incarnation(60));
    assert_eq!(names(&registrar.map()), ["hosted", "alive"]);
    assert!(!alive.membership.is_fenced() && !hosted.membership.is_fenced());
    assert_eq!(alive.process.health.ready(), Ok(()));
}
