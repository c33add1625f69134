use causeway_model::Text;

use super::*;
use crate::double::{Double, Proposal, process};
use crate::port::MapEpoch;
use crate::process::Process;

const LEASE: Duration = Duration::from_secs(9);

/// More than any wait of a test, which costs nothing: time is paused.
const PATIENCE: Duration = Duration::from_hours(1);

struct Fixture {
    broker: Arc<Double>,
    registrar: Arc<Registrar>,
    process: Process,
}

async fn start(gateways: Vec<(Incarnation, GatewayState)>) -> Fixture {
    let (broker, process) = (Double::new(1), process());
    broker.set_gateways(4, gateways);
    let metrics = process.metrics.members.clone();
    let registrar = Registrar::start(broker.clone(), broker.clone(), LEASE, metrics, &process.tasks).await.unwrap();
    Fixture { broker, registrar, process }
}

fn member(number: u128) -> Member {
    Member { incarnation: Incarnation(number), name: Text::from("gw"), address: None }
}

fn epoch(change: u64) -> MapEpoch {
    MapEpoch { term: 4, change }
}

impl Fixture {
    async fn proposal(&self, event: GatewayEvent, gateways: &[u128]) -> Proposal {
        let proposal = tokio::time::timeout(PATIENCE, self.broker.proposal()).await.unwrap();
        let command = |number: &u128| Command::Gateway { incarnation: Incarnation(*number), event };
        assert_eq!(proposal.shard, ShardId(0));
        assert_eq!(proposal.commands, gateways.iter().map(command).collect::<Vec<_>>());
        proposal
    }

    async fn joined(&self, number: u128) {
        let join = self.registrar.join(member(number));
        self.proposal(GatewayEvent::Joined, &[number]).await.answer(vec![Reply::Done]);
        join.await.unwrap();
    }

    async fn beat(&self, number: u128) -> Result<Lease, Kind> {
        self.registrar.beat(Incarnation(number)).await.map_err(|error| error.kind)
    }

    fn lost(&self) -> u64 {
        self.process.metrics.members.declared_lost.get()
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_has_its_lease_once_the_log_has_it_as_joined() {
    let fixture = start(vec![]).await;
    let mut join = fixture.registrar.join(member(1));
    assert_eq!(futures_util::poll!(&mut join).map_err(|error| error.kind), std::task::Poll::Pending);
    fixture.proposal(GatewayEvent::Joined, &[1]).await.answer(vec![Reply::Done]);
    let lease = join.await.unwrap();
    assert_eq!((lease.length, lease.map.epoch, &lease.map.members), (LEASE, epoch(1), &vec![member(1)]));
    assert_eq!(fixture.beat(1).await, Ok(lease.clone()));
    assert_eq!(fixture.registrar.join(member(1)).await.unwrap(), lease, "nothing is logged for one that is joined");
    assert_eq!(fixture.broker.waiting(), 0);
    assert_eq!(fixture.beat(2).await, Err(Kind::NotFound));
    assert_eq!(fixture.process.metrics.members.members.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_fenced_while_it_is_declared_lost_and_declared_until_the_log_has_it() {
    let fixture = start(vec![]).await;
    fixture.joined(1).await;
    fixture.joined(2).await;
    let begun = Instant::now();
    let lost = fixture.proposal(GatewayEvent::Lost, &[1, 2]).await;
    assert!(begun.elapsed() >= LEASE && begun.elapsed() <= LEASE + LEASE / TICKS, "{:?}", begun.elapsed());
    assert_eq!(fixture.registrar.map().members, []);
    assert_eq!(fixture.beat(1).await, Err(Kind::Fenced));
    lost.fail(Kind::DiskFull);
    let again = fixture.proposal(GatewayEvent::Lost, &[1, 2]).await;
    assert_eq!(fixture.registrar.join(member(2)).await.unwrap_err().kind, Kind::Fenced);
    again.fail(Kind::Unknown);
    assert_eq!(fixture.lost(), 0);
    let leave = fixture.registrar.leave(Incarnation(1));
    fixture.proposal(GatewayEvent::Lost, &[1, 2]).await.answer(vec![Reply::Done, Reply::Done]);
    tokio::time::timeout(PATIENCE, leave).await.unwrap().unwrap();
    assert_eq!(fixture.lost(), 2);
    assert_eq!(fixture.beat(1).await, Err(Kind::Fenced));
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(fixture.broker.waiting(), 0, "declared once");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_the_log_knows_as_lost_is_fenced() {
    let fixture = start(vec![]).await;
    let join = fixture.registrar.join(member(1));
    fixture.proposal(GatewayEvent::Joined, &[1]).await.answer(vec![Reply::Rejected(Rejected::Fenced)]);
    assert_eq!(join.await.unwrap_err().kind, Kind::Fenced);
    assert_eq!(fixture.beat(1).await, Err(Kind::Fenced));
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(fixture.broker.waiting(), 0, "the log has it already");
}

#[tokio::test(start_paused = true)]
async fn a_join_whose_answer_was_lost_runs_out_and_a_refused_one_leaves_nothing() {
    let fixture = start(vec![]).await;
    for (number, kind) in [(1, Kind::Unknown), (2, Kind::DiskFull)] {
        let join = fixture.registrar.join(member(number));
        fixture.proposal(GatewayEvent::Joined, &[number]).await.fail(kind.clone());
        assert_eq!(join.await.unwrap_err().kind, kind);
    }
    // Whoever asked may also go away before the answer: the log may have it all the same.
    drop(fixture.registrar.join(member(3)));
    fixture.proposal(GatewayEvent::Joined, &[3]).await.answer(vec![Reply::Done]);
    fixture.proposal(GatewayEvent::Lost, &[1, 3]).await.answer(vec![Reply::Done; 2]);
    tokio::time::sleep(LEASE * 3).await;
    assert_eq!(fixture.broker.waiting(), 0);
    assert_eq!(fixture.registrar.map().epoch, epoch(0), "none of them was in a map");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_gives_those_who_had_joined_one_lease_to_be_heard_of() {
    let known = [(1, GatewayState::Joined), (2, GatewayState::Lost), (3, GatewayState::Joined)];
    let fixture = start(known.map(|(number, state)| (Incarnation(number), state)).to_vec()).await;
    assert_eq!(fixture.registrar.map().epoch, epoch(0));
    tokio::time::sleep(LEASE / 2).await;
    assert_eq!(fixture.beat(1).await, Err(Kind::NotFound));
    let lease = fixture.registrar.join(member(1)).await.unwrap();
    assert_eq!(lease.map.epoch, epoch(1), "joined in the log already: nothing to wait for");
    assert_eq!(lease.map.members.len(), 2, "who has not introduced itself serves all the same");
    fixture.proposal(GatewayEvent::Lost, &[3]).await.answer(vec![Reply::Done]);
    assert_eq!(fixture.registrar.map().members, [member(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_paused_takes_nobody_s_silence_for_death() {
    let fixture = start(vec![]).await;
    fixture.joined(1).await;
    fixture.joined(2).await;
    tokio::time::sleep(LEASE / 2).await;
    // All timers come at once, as after SIGSTOP and SIGCONT.
    tokio::time::advance(LEASE * 10).await;
    tokio::time::sleep(LEASE / 3).await;
    assert_eq!(fixture.broker.waiting(), 0);
    fixture.beat(1).await.unwrap();
    fixture.proposal(GatewayEvent::Lost, &[2]).await.answer(vec![Reply::Done]);
    fixture.beat(1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_leaves_is_lost_at_once_and_a_drain_answers_who_waits() {
    let fixture = start(vec![]).await;
    fixture.joined(1).await;
    fixture.joined(2).await;
    let leave = fixture.registrar.leave(Incarnation(1));
    assert_eq!(fixture.beat(1).await, Err(Kind::Fenced));
    fixture.proposal(GatewayEvent::Lost, &[1]).await.answer(vec![Reply::Done]);
    leave.await.unwrap();
    fixture.registrar.leave(Incarnation(99)).await.unwrap();
    let late = fixture.registrar.leave(Incarnation(2));
    let _unanswered = fixture.proposal(GatewayEvent::Lost, &[2]).await;
    fixture.process.drain.close();
    assert_eq!(late.await.unwrap_err().kind, Kind::Unavailable);
    tokio::time::timeout(PATIENCE, fixture.process.tasks.ended(task::Kind::Lease.wave())).await.unwrap();
    assert_eq!(*fixture.process.tasks.failure().borrow(), None);
}

#[tokio::test]
async fn brokers_that_do_not_say_who_had_joined_are_an_error() {
    let (broker, process) = (Double::new(1), process());
    let metrics = process.metrics.members.clone();
    let error = Registrar::start(broker.clone(), broker, LEASE, metrics, &process.tasks).await.unwrap_err();
    assert!(matches!(error, super::super::Error::Load { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
}
