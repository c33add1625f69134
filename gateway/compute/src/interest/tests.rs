//! Interest with time that stands still: the book against a model, the wrapper against a scripted broker.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::double::{Double, process};
use crate::port::Rejected;
use crate::process::Process;

fn filter(name: &str) -> Filter {
    Filter::new(name.into()).unwrap()
}

fn key(name: &str) -> Key {
    (Namespace::default(), filter(name))
}

struct Bench {
    broker: Arc<Double>,
    process: Process,
    interests: Arc<Interests>,
}

fn bench(shards: u32) -> Bench {
    let (broker, process) = (Double::new(shards), process());
    let filters = process.metrics.interest_filters.clone();
    let interests = Interests::start(broker.clone(), Incarnation(7), &process.tasks, filters);
    Bench { broker, process, interests }
}

impl Bench {
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Vec<(ShardId, Position)>, Error>> + Send + 'static {
        let (interests, filter) = (Arc::clone(&self.interests), filter(name));
        async move { interests.acquire(&Namespace::default(), &filter).await }
    }

    fn release(&self, name: &str) {
        self.interests.release(&Namespace::default(), &filter(name));
    }

    /// Answers the next proposal with this position, and says whether it was an add.
    async fn answer(&self, position: u64) -> (bool, ShardId, usize) {
        let proposal = self.broker.proposal().await;
        let adds: HashSet<_> = proposal.commands.iter().map(is_add).collect();
        assert_eq!(adds.len(), 1);
        let (shard, count) = (proposal.shard, proposal.commands.len());
        proposal.answer(vec![Reply::Interest { position: Position(position) }; count]);
        (adds.contains(&true), shard, count)
    }

    async fn add(&self, name: &str, position: u64) {
        let (from, added) = tokio::join!(self.acquire(name), self.answer(position));
        assert!(added.0);
        assert_eq!(from.unwrap(), [(ShardId(0), Position(position))]);
        self.settled().await;
    }

    /// Until no outcome is on its way.
    async fn settled(&self) {
        // The listener for deadlines is the one task that stays.
        while self.process.tasks.count() > 1 {
            tokio::task::yield_now().await;
        }
    }
}

fn is_add(command: &Command) -> bool {
    let Command::Interest(interest) = command else { panic!("{command:?}") };
    assert_eq!(interest.owner, Owner::Gateway(Incarnation(7)));
    interest.add
}

#[tokio::test(start_paused = true)]
async fn thousands_of_subscribers_cost_one_record_a_shard() {
    let bench = bench(2);
    let waiting: Vec<_> = (0..1000).map(|_| tokio_spawn(&bench, bench.acquire("a/+"))).collect();
    let (first, second) = (bench.answer(10).await, bench.answer(20).await);
    assert_eq!((first, second), ((true, ShardId(0), 1), (true, ShardId(1), 1)));
    for each in waiting {
        assert_eq!(each.await.unwrap().unwrap(), [(ShardId(0), Position(10)), (ShardId(1), Position(20))]);
    }
    bench.settled().await;
    bench.broker.set_applied(0, 50);
    bench.broker.set_applied(1, 60);
    assert_eq!(bench.acquire("a/+").await.unwrap(), [(ShardId(0), Position(50)), (ShardId(1), Position(60))]);
    assert_eq!(bench.broker.waiting(), 0);
}

/// Runs a future as a connection would, with its result at hand.
fn tokio_spawn<T: Send + 'static>(
    bench: &Bench,
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::sync::oneshot::Receiver<T> {
    let (send, receive) = tokio::sync::oneshot::channel();
    bench.process.tasks.spawn(task::Kind::Connection, async move { drop(send.send(future.await)) });
    receive
}

#[tokio::test(start_paused = true)]
async fn exact_topics_and_everything_need_no_record() {
    let bench = bench(1);
    bench.broker.set_applied(0, 5);
    for name in ["a/b", "#"] {
        assert_eq!(bench.acquire(name).await.unwrap(), [(ShardId(0), Position(5))]);
        bench.release(name);
    }
    assert!(bench.interests.is_empty());
    assert_eq!(bench.broker.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_subscribers_going_removes_the_wildcard_after_the_delay_in_one_batch() {
    let bench = bench(1);
    bench.add("a/+", 10).await;
    bench.add("b/+", 20).await;
    bench.release("a/+");
    bench.release("b/+");
    let begun = Instant::now();
    assert_eq!(bench.answer(30).await, (false, ShardId(0), 2));
    assert_eq!(begun.elapsed(), DELAY);
    bench.settled().await;
    assert!(bench.interests.is_empty());
    assert_eq!(bench.process.metrics.interest_filters.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_within_the_delay_cancels_the_removal() {
    let bench = bench(1);
    bench.add("a/+", 10).await;
    bench.release("a/+");
    tokio::time::sleep(DELAY / 2).await;
    bench.broker.set_applied(0, 15);
    assert_eq!(bench.acquire("a/+").await.unwrap(), [(ShardId(0), Position(15))]);
    tokio::time::sleep(10 * DELAY).await;
    assert_eq!(bench.broker.waiting(), 0);
    bench.release("a/+");
    assert_eq!(bench.answer(30).await, (false, ShardId(0), 1));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_during_the_removal_waits_for_the_add_that_follows_it() {
    let bench = bench(1);
    bench.add("a/+", 10).await;
    bench.release("a/+");
    let removal = bench.broker.proposal().await;
    assert!(!is_add(&removal.commands[0]));
    let newcomer = bench.acquire("a/+");
    let (from, ()) = tokio::join!(newcomer, async {
        let add = bench.broker.proposal().await;
        assert!(is_add(&add.commands[0]));
        // The removal's outcome comes late, and is not taken for the add's.
        add.answer(vec![Reply::Interest { position: Position(40) }]);
        removal.answer(vec![Reply::Interest { position: Position(30) }]);
    });
    assert_eq!(from.unwrap(), [(ShardId(0), Position(40))]);
    bench.settled().await;
    bench.broker.set_applied(0, 50);
    assert_eq!(bench.acquire("a/+").await.unwrap(), [(ShardId(0), Position(50))]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_add_fails_those_who_wait_and_holds_nothing() {
    let bench = bench(1);
    let (one, two, ()) = tokio::join!(bench.acquire("a/+"), bench.acquire("a/+"), async {
        bench.broker.proposal().await.answer(vec![Reply::Rejected(Rejected::Quota)]);
    });
    assert_eq!(one.unwrap_err().kind, Kind::Quota);
    assert_eq!(two.unwrap_err().kind, Kind::Quota);
    bench.settled().await;
    assert!(bench.interests.is_empty());
    bench.add("a/+", 10).await;
}

#[tokio::test(start_paused = true)]
async fn an_add_of_unknown_outcome_is_added_again_or_removed() {
    let bench = bench(1);
    let (lost, ()) = tokio::join!(bench.acquire("a/+"), async { bench.broker.proposal().await.fail(Kind::Unknown) });
    assert_eq!(lost.unwrap_err().kind, Kind::Unknown);
    bench.settled().await;
    assert_eq!(bench.interests.len(), 1);
    bench.add("a/+", 10).await;
    bench.release("a/+");
    bench.broker.proposal().await.fail(Kind::Unknown);
    // Nobody wants it and it may still be there: removed again after the delay.
    assert_eq!(bench.answer(30).await, (false, ShardId(0), 1));
    bench.settled().await;
    assert!(bench.interests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_shards_refusal_gives_back_what_the_others_granted() {
    let bench = bench(2);
    let (refused, ()) = tokio::join!(bench.acquire("a/+"), async {
        assert_eq!(bench.answer(10).await, (true, ShardId(0), 1));
        bench.broker.proposal().await.fail(Kind::Unavailable);
    });
    assert_eq!(refused.unwrap_err().shard, ShardId(1));
    assert_eq!(bench.answer(20).await, (false, ShardId(0), 1));
    bench.settled().await;
    assert!(bench.interests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_vanishes_while_it_waits_holds_nothing() {
    let bench = bench(1);
    {
        let mut vanishing = std::pin::pin!(bench.acquire("a/+"));
        assert!(futures_util::poll!(vanishing.as_mut()).is_pending());
    }
    assert_eq!(bench.answer(10).await, (true, ShardId(0), 1));
    assert_eq!(bench.answer(20).await, (false, ShardId(0), 1));
    bench.settled().await;
    assert!(bench.interests.is_empty());
}

/// A move in the life of one wildcard.
#[derive(Clone, Debug)]
enum Move {
    Want,
    Release,
    /// The oldest proposal of the shard takes effect (or not) and is answered (or not).
    Answer {
        shard: usize,
        outcome: u8,
    },
    Pass {
        seconds: u64,
    },
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        3 => Just(Move::Want),
        3 => Just(Move::Release),
        6 => (0..2_usize, 0..4_u8).prop_map(|(shard, outcome)| Move::Answer { shard, outcome }),
        2 => (1..100_u64).prop_map(|seconds| Move::Pass { seconds }),
    ]
}

/// The broker's side: proposals in order, and what they made true.
#[derive(Default)]
struct Truth {
    proposals: Vec<(bool, Turn)>,
    indexed: bool,
}

struct World {
    book: Book,
    now: Instant,
    shards: [Truth; 2],
    users: usize,
    proposed: HashMap<u64, bool>,
}

impl World {
    fn propose(&mut self, shard: usize, add: bool, turn: Turn) {
        assert_eq!(self.proposed.insert(turn.0, add), None, "a turn names one proposal");
        self.shards[shard].proposals.push((add, turn));
    }

    fn play(&mut self, next: &Move) {
        match *next {
            Move::Want => {
                self.users += 1;
                for (shard, want) in self.book.want(&key("a/+")).into_iter().enumerate() {
                    match want {
                        Want::Ready => assert!(self.shards[shard].indexed, "ready, and not indexed"),
                        Want::Wait => assert!(self.shards[shard].proposals.iter().any(|(add, _)| *add)),
                        Want::Add(turn) => self.propose(shard, true, turn),
                    }
                }
            }
            Move::Release if self.users > 0 => {
                self.users -= 1;
                self.book.release(&key("a/+"), self.now);
            }
            Move::Release => {}
            Move::Answer { shard, outcome } => self.answer(shard, outcome),
            Move::Pass { seconds } => self.pass(Duration::from_secs(seconds)),
        }
    }

    fn answer(&mut self, shard: usize, outcome: u8) {
        let truth = &mut self.shards[shard];
        if truth.proposals.is_empty() {
            return;
        }
        let (add, turn) = truth.proposals.remove(0);
        let (took, outcome) = match outcome {
            0 | 1 => (true, Outcome::Done),
            2 => (false, Outcome::Refused),
            _ => (turn.0.is_multiple_of(2), Outcome::Unknown),
        };
        if took {
            truth.indexed = add;
        }
        if add {
            self.book.added(&key("a/+"), shard, turn, outcome, self.now);
        } else {
            self.book.removed(&key("a/+"), shard, turn, outcome, self.now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for (_, shard, turn) in self.book.expire(self.now, 10) {
            assert_eq!(self.users, 0, "removed while in use");
            self.propose(shard, false, turn);
        }
    }
}

proptest! {
    #[test]
    fn whatever_fails_users_have_their_wildcard_and_unused_ones_go(script in vec(moves(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let now = runtime.block_on(async { Instant::now() });
        let mut world = World {
            book: Book::new(2, DELAY),
            now,
            shards: Default::default(),
            users: 0,
            proposed: HashMap::new(),
        };
        for next in &script {
            world.play(next);
        }
        // The network heals: everything is answered, a user who wants it gets it on every shard.
        world.play(&Move::Want);
        while world.shards.iter().any(|truth| !truth.proposals.is_empty()) {
            (0..2).for_each(|shard| world.answer(shard, 0));
        }
        prop_assert!(world.shards.iter().all(|truth| truth.indexed));
        prop_assert_eq!(world.book.want(&key("a/+")), vec![Want::Ready, Want::Ready]);
        world.users += 1;
        // All leave: nothing stays behind, in the book or on the broker.
        while world.users > 0 {
            world.play(&Move::Release);
        }
        for _ in 0..2 {
            world.pass(2 * DELAY);
            (0..2).for_each(|shard| world.answer(shard, 0));
        }
        prop_assert_eq!(world.book.len(), 0);
        prop_assert_eq!(world.book.next_deadline(), None);
        prop_assert!(world.shards.iter().all(|truth| !truth.indexed));
    }
}
