use std::collections::VecDeque;

use causeway_model::{ShardId, Text};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::double::process;
use crate::port::{self, MapEpoch};
use crate::process::Process;

const LEASE: Duration = Duration::from_secs(9);

/// More than any wait of a test, which costs nothing: time is paused.
const PATIENCE: Duration = Duration::from_hours(1);

const ME: Incarnation = Incarnation(5);

#[derive(Debug, PartialEq)]
enum Ask {
    Join(Member),
    Beat,
    Leave,
}

/// A registrar that answers as a test says.
#[derive(Default)]
struct Desk {
    calls: Mutex<VecDeque<Call>>,
    called: Notify,
}

struct Call {
    ask: Ask,
    reply: oneshot::Sender<Result<Lease, Kind>>,
}

impl Call {
    /// Answers; nobody may be waiting any more.
    fn answer(self, answer: Result<Lease, Kind>) {
        let _ = self.reply.send(answer);
    }
}

impl Desk {
    fn call(&self, ask: Ask) -> BoxFuture<'static, Result<Lease, port::Error>> {
        let (reply, replied) = oneshot::channel();
        self.calls.lock().push_back(Call { ask, reply });
        self.called.notify_one();
        Box::pin(async move {
            let answer = replied.await.unwrap_or(Err(Kind::Unknown));
            answer.map_err(|kind| port::Error { operation: "ask", shard: ShardId(0), kind })
        })
    }

    async fn asked(&self) -> Call {
        let next = async {
            loop {
                let called = self.called.notified();
                if let Some(call) = self.calls.lock().pop_front() {
                    return call;
                }
                called.await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    async fn expect(&self, ask: Ask) -> Call {
        let call = self.asked().await;
        assert_eq!(call.ask, ask);
        call
    }
}

impl Members for Desk {
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, port::Error>> {
        self.call(Ask::Join(member))
    }

    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, port::Error>> {
        assert_eq!(incarnation, ME);
        self.call(Ask::Beat)
    }

    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), port::Error>> {
        assert_eq!(incarnation, ME);
        let call = self.call(Ask::Leave);
        Box::pin(async move { call.await.map(|_| ()) })
    }
}

fn me() -> Member {
    Member { incarnation: ME, name: Text::from("me"), address: Some(Text::from("me:7400")) }
}

fn lease(change: u64) -> Lease {
    let map = Map { epoch: MapEpoch { term: 1, change }, members: vec![me()] };
    Lease { length: LEASE, map: Arc::new(map) }
}

fn busy() -> Kind {
    Kind::Busy { retry_after: Duration::from_secs(1) }
}

struct Fixture {
    desk: Arc<Desk>,
    process: Process,
}

impl Fixture {
    fn new() -> Self {
        let process = process();
        process.health.started();
        Self { desk: Arc::default(), process }
    }

    async fn join(&self) -> Result<Arc<Membership>, Error> {
        let metrics = self.process.metrics.members.clone();
        Membership::join(self.desk.clone(), me(), self.process.health.clone(), metrics, &self.process.tasks).await
    }

    /// A membership that was let in with the first map.
    async fn joined(&self) -> Arc<Membership> {
        let let_in = async { self.desk.expect(Ask::Join(me())).await.answer(Ok(lease(1))) };
        let (membership, ()) = tokio::join!(self.join(), let_in);
        membership.unwrap()
    }

    fn ready(&self) -> Result<(), String> {
        self.process.health.ready()
    }

    /// Lets the task act on what it was answered.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_is_not_ready_until_it_was_let_in_however_often_it_has_to_ask() {
    let fixture = Fixture::new();
    let let_in = async {
        for kind in [Kind::Unavailable, Kind::Unknown, busy(), Kind::DiskFull, Kind::NotLeader { hint: None }] {
            let call = fixture.desk.expect(Ask::Join(me())).await;
            assert_eq!(fixture.ready(), Err(NOT_JOINED.to_owned()));
            call.answer(Err(kind));
        }
        fixture.desk.expect(Ask::Join(me())).await.answer(Ok(lease(1)));
    };
    let (membership, ()) = tokio::join!(fixture.join(), let_in);
    let membership = membership.unwrap();
    assert_eq!(fixture.ready(), Ok(()));
    assert_eq!(*membership.map().borrow(), lease(1).map);
    assert_eq!(membership.incarnation(), ME);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_for_good_does_not_ask_again() {
    for kind in [Kind::Fenced, Kind::Denied] {
        let fixture = Fixture::new();
        let refuse = async { fixture.desk.expect(Ask::Join(me())).await.answer(Err(kind.clone())) };
        let (refused, ()) = tokio::join!(fixture.join(), refuse);
        let error = refused.unwrap_err();
        assert!(matches!(&error, Error::Join { incarnation: ME, .. }), "{error}");
        assert_eq!(error.kind(), kind);
        assert_eq!(fixture.ready(), Err(NOT_JOINED.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_the_wait_to_be_let_in() {
    let fixture = Fixture::new();
    let drain = async {
        fixture.desk.expect(Ask::Join(me())).await.answer(Err(Kind::Unavailable));
        let _unanswered = fixture.desk.expect(Ask::Join(me())).await;
        fixture.process.drain.begin();
    };
    let (refused, ()) = tokio::join!(fixture.join(), drain);
    assert!(matches!(refused.unwrap_err(), Error::Draining { incarnation: ME }));
}

#[tokio::test(start_paused = true)]
async fn a_beat_follows_the_last_answer_by_a_third_of_the_lease_and_newer_maps_are_published() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let mut map = membership.map();
    map.mark_unchanged();
    for (answer, newest) in [(1, 1), (3, 3), (2, 3), (3, 3), (4, 4)] {
        let answered = Instant::now();
        let beat = fixture.desk.expect(Ask::Beat).await;
        assert_eq!(answered.elapsed(), LEASE / 3);
        // An answer that takes a while does not bring the next beat forward.
        tokio::time::sleep(LEASE / 9).await;
        let before = map.borrow_and_update().epoch.change;
        beat.answer(Ok(lease(answer)));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(map.has_changed().unwrap(), before != newest, "an older map, or the same, is no news");
        assert_eq!(map.borrow_and_update().epoch.change, newest);
    }
    assert_eq!(fixture.process.metrics.members.beats_failed.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_hears_nothing_for_a_lease_serves_on_but_is_not_ready() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let last = Instant::now();
    let beat = fixture.desk.expect(Ask::Beat).await;
    tokio::time::sleep_until(last + LEASE.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(fixture.ready(), Ok(()));
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(fixture.ready(), Err(SILENT.to_owned()));
    assert!(!membership.is_fenced());
    beat.answer(Err(Kind::Unavailable));
    fixture.desk.expect(Ask::Beat).await.answer(Err(busy()));
    assert_eq!(fixture.ready(), Err(SILENT.to_owned()));
    fixture.desk.expect(Ask::Beat).await.answer(Ok(lease(1)));
    fixture.settle().await;
    assert_eq!(fixture.ready(), Ok(()));
    assert_eq!(fixture.process.metrics.members.beats_failed.get(), 2);
    fixture.process.drain.begin();
    assert_eq!(fixture.ready(), Err("draining".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn failed_beats_alone_make_it_unready_too() {
    let fixture = Fixture::new();
    let _membership = fixture.joined().await;
    let last = Instant::now();
    while last.elapsed() < LEASE * 2 {
        fixture.desk.expect(Ask::Beat).await.answer(Err(Kind::Unavailable));
        let silent = last.elapsed() >= LEASE;
        assert_eq!(fixture.ready(), if silent { Err(SILENT.to_owned()) } else { Ok(()) }, "{:?}", last.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_does_not_know_it_is_introduced_to_it_again() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    fixture.desk.expect(Ask::Beat).await.answer(Err(Kind::NotFound));
    fixture.desk.expect(Ask::Join(me())).await.answer(Err(Kind::DiskFull));
    let newer = Lease { map: Arc::new(Map { epoch: MapEpoch { term: 2, change: 0 }, members: vec![] }), length: LEASE };
    fixture.desk.expect(Ask::Join(me())).await.answer(Ok(newer.clone()));
    fixture.desk.expect(Ask::Beat).await.answer(Ok(newer));
    assert_eq!(membership.map().borrow().epoch.term, 2);
    assert!(!membership.is_fenced());
}

#[tokio::test(start_paused = true)]
async fn a_fenced_gateway_is_over() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let fenced = membership.fenced();
    fixture.desk.expect(Ask::Beat).await.answer(Err(Kind::NotFound));
    assert!(!membership.is_fenced());
    fixture.desk.expect(Ask::Join(me())).await.answer(Err(Kind::Fenced));
    tokio::time::timeout(PATIENCE, fenced).await.unwrap();
    assert_eq!(fixture.ready(), Err(NOT_JOINED.to_owned()));
    tokio::time::sleep(LEASE * 3).await;
    assert!(fixture.desk.calls.lock().is_empty(), "it asks no more");
    assert_eq!(*fixture.process.tasks.failure().borrow(), None, "the process goes on, as another incarnation");
    let again = fixture.joined().await;
    assert_eq!(fixture.ready(), Ok(()));
    assert!(!again.is_fenced());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_was_away_for_longer_than_anybody_remembers_is_over_too() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let beat = fixture.desk.expect(Ask::Beat).await;
    tokio::time::sleep(TOO_LONG).await;
    beat.answer(Err(Kind::NotFound));
    tokio::time::timeout(PATIENCE, membership.fenced()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_beats_no_more_and_does_not_wait_for_ever() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let answer = async { fixture.desk.expect(Ask::Leave).await.answer(Ok(lease(2))) };
    tokio::join!(membership.leave(), answer);
    tokio::time::sleep(LEASE * 3).await;
    assert!(fixture.desk.calls.lock().is_empty());
    assert!(!membership.is_fenced());
    tokio::time::timeout(PATIENCE, membership.leave()).await.unwrap();
    assert_eq!(fixture.process.tasks.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_a_newer_map_asks_for_it_at_once_and_of_one_that_it_has_it_does_not() {
    let fixture = Fixture::new();
    let membership = fixture.joined().await;
    let heard = watch::Sender::new(MapEpoch::default());
    membership.follow(heard.subscribe(), &fixture.process.tasks);
    fixture.settle().await;
    let begun = Instant::now();
    heard.send_replace(MapEpoch { term: 1, change: 2 });
    fixture.desk.expect(Ask::Beat).await.answer(Ok(lease(2)));
    assert!(begun.elapsed() < LEASE / 3, "before the next beat is due");
    fixture.settle().await;
    assert_eq!(membership.map().borrow().epoch.change, 2);
    let begun = Instant::now();
    heard.send_replace(MapEpoch { term: 1, change: 1 });
    fixture.desk.expect(Ask::Beat).await.answer(Ok(lease(2)));
    assert!(begun.elapsed() > LEASE / 4, "with the next beat");
}
