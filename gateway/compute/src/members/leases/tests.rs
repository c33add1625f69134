use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const LENGTH: Duration = Duration::from_secs(9);
const PERIOD: Duration = Duration::from_secs(1);
/// A tick less than a lease.
const ALMOST: Duration = Duration::from_secs(8);

fn leases(joined: &[u128], now: Instant) -> Leases {
    Leases::new(7, LENGTH, PERIOD, joined.iter().copied().map(Incarnation), now)
}

fn member(number: u128, name: &'static str) -> Member {
    Member { incarnation: Incarnation(number), name: Text::from(name), address: Some(Text::from("host:7400")) }
}

/// Joins as a gateway does whose proposal succeeds at once.
fn enter(leases: &mut Leases, member: &Member, now: Instant) -> Result<Arc<Map>, Refused> {
    match leases.join(member, now)? {
        Entry::Known(map) => Ok(map),
        Entry::New => leases.joined(member.clone(), now),
    }
}

fn names(map: &Map) -> Vec<&str> {
    map.members.iter().map(|member| &*member.name).collect()
}

fn epoch(change: u64) -> MapEpoch {
    MapEpoch { term: 7, change }
}

/// Ticks at the usual pace up to a time; who was lost on the way.
fn run(leases: &mut Leases, from: Instant, length: Duration) -> Vec<Incarnation> {
    let ticks = length.as_secs() / PERIOD.as_secs();
    (1..=ticks).flat_map(|tick| leases.tick(from + PERIOD * u32::try_from(tick).unwrap())).collect()
}

#[test]
fn a_gateway_is_in_the_map_once_the_log_has_it_and_until_it_is_silent_for_a_lease() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    assert_eq!((leases.map().epoch, names(&leases.map()).len()), (epoch(0), 0));
    let a = member(1, "a");
    assert_eq!(leases.join(&a, start), Ok(Entry::New));
    assert_eq!(leases.map().epoch, epoch(0), "proposed is not joined");
    assert_eq!(leases.beat(Incarnation(1), start), Err(Refused::Unknown));
    let map = leases.joined(a, start).unwrap();
    assert_eq!((map.epoch, names(&map)), (epoch(1), vec!["a"]));
    assert_eq!(run(&mut leases, start, ALMOST), []);
    assert_eq!(leases.beat(Incarnation(1), start + ALMOST).unwrap().epoch, epoch(1));
    assert_eq!(run(&mut leases, start + ALMOST, ALMOST), []);
    assert_eq!(leases.tick(start + ALMOST + LENGTH), [Incarnation(1)]);
    assert_eq!((leases.map().epoch, leases.map().members.len()), (epoch(2), 0));
    assert_eq!(leases.undeclared(10), [Incarnation(1)]);
}

#[test]
fn a_lost_gateway_is_refused_before_and_after_the_log_says_so() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    let (a, b) = (member(1, "a"), member(2, "b"));
    enter(&mut leases, &a, start).unwrap();
    enter(&mut leases, &b, start).unwrap();
    leases.leave(Incarnation(2));
    assert_eq!(run(&mut leases, start, LENGTH), [Incarnation(1)], "who left is not lost again");
    for declared in [false, true] {
        for gone in [&a, &b] {
            assert_eq!(leases.is_undeclared(gone.incarnation), !declared);
            assert_eq!(leases.beat(gone.incarnation, start + LENGTH), Err(Refused::Fenced));
            assert_eq!(leases.join(gone, start + LENGTH), Err(Refused::Fenced));
            assert_eq!(leases.joined(gone.clone(), start + LENGTH), Err(Refused::Fenced));
        }
        let lost = leases.undeclared(10);
        leases.declared(&lost);
    }
    assert_eq!(leases.undeclared(10), []);
}

#[test]
fn a_join_that_the_log_refused_leaves_nothing_and_one_in_doubt_runs_out() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    let (sure, doubtful, twice) = (member(1, "sure"), member(2, "doubtful"), member(3, "twice"));
    for member in [&sure, &doubtful, &twice, &twice] {
        assert_eq!(leases.join(member, start), Ok(Entry::New));
    }
    leases.not_joined(sure.incarnation, true);
    leases.not_joined(doubtful.incarnation, false);
    leases.not_joined(twice.incarnation, true);
    assert_eq!(leases.joined(twice, start).unwrap().epoch, epoch(1), "another attempt was still under way");
    leases.beat(Incarnation(3), start + ALMOST).unwrap();
    assert_eq!(run(&mut leases, start, LENGTH), [Incarnation(2)], "the log may have it");
    assert_eq!(leases.map().epoch, epoch(1), "it was in no map");
}

#[test]
fn whoever_the_log_refuses_as_lost_is_remembered() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    assert_eq!(leases.join(&member(1, "a"), start), Ok(Entry::New));
    leases.fenced(Incarnation(1));
    assert_eq!(leases.beat(Incarnation(1), start), Err(Refused::Fenced));
    assert_eq!(leases.undeclared(10), [], "the log says so already");
    assert_eq!(run(&mut leases, start, LENGTH * 2), []);
}

#[test]
fn those_whom_the_log_knows_have_a_lease_of_grace_and_are_asked_to_introduce_themselves() {
    let start = Instant::now();
    let mut leases = leases(&[1, 2, 3], start);
    let first = leases.map();
    assert_eq!(first.epoch, epoch(0));
    assert_eq!(first.members.iter().map(|member| member.address.clone()).collect::<Vec<_>>(), [None, None, None]);
    assert_eq!(run(&mut leases, start, ALMOST), []);
    let late = start + ALMOST;
    assert_eq!(leases.beat(Incarnation(1), late), Err(Refused::Unknown));
    assert!(matches!(leases.join(&member(2, "b"), late), Ok(Entry::Known(map)) if map.epoch == epoch(1)));
    assert_eq!(leases.tick(start + LENGTH), [Incarnation(3)], "a beat is a sign of life, introduced or not");
    let one = format!("{}", Incarnation(1));
    assert_eq!(names(&leases.map()), [one.as_str(), "b"]);
}

#[test]
fn a_new_name_or_address_is_a_change_and_the_same_again_is_none() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    enter(&mut leases, &member(1, "a"), start).unwrap();
    assert_eq!(enter(&mut leases, &member(1, "a"), start).unwrap().epoch, epoch(1));
    assert_eq!(enter(&mut leases, &member(1, "b"), start).unwrap().epoch, epoch(2));
    let moved = Member { address: None, ..member(1, "b") };
    assert_eq!(enter(&mut leases, &moved, start).unwrap().epoch, epoch(3));
}

#[test]
fn what_is_remembered_of_the_lost_is_bounded() {
    let start = Instant::now();
    let mut leases = leases(&[], start);
    let many = u128::try_from(REMEMBERED).unwrap() + 10;
    (0..many).for_each(|number| leases.declared(&[Incarnation(number)]));
    assert_eq!((leases.declared.set.len(), leases.declared.order.len()), (REMEMBERED, REMEMBERED));
    assert_eq!(leases.beat(Incarnation(9), start), Err(Refused::Unknown), "it must join, and the log refuses it");
    assert_eq!(leases.beat(Incarnation(10), start), Err(Refused::Fenced));
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes and the leases are looked at.
    Tick(u64),
    /// Time passes unseen: the process does not run. A beat may be read before the next tick.
    Pause(u64),
    Join(u8, &'static str),
    Beat(u8),
    Leave(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_u64..=2000).prop_map(Step::Tick),
        1 => (1_u64..=60_000).prop_map(Step::Pause),
        2 => (0_u8..6, prop_oneof![Just("a"), Just("b")]).prop_map(|(number, name)| Step::Join(number, name)),
        4 => (0_u8..6).prop_map(Step::Beat),
        1 => (0_u8..6).prop_map(Step::Leave),
    ]
}

/// What should be true, told in other words: how long each has been silent while somebody listened.
#[derive(Default)]
struct Oracle {
    heard: BTreeMap<Incarnation, Duration>,
    lost: BTreeSet<Incarnation>,
}

impl Oracle {
    /// Time up to a tick; `gap` since the last one.
    fn tick(&mut self, since: &BTreeMap<Incarnation, Instant>, now: Instant, gap: Duration) -> Vec<Incarnation> {
        let deaf = if gap > PERIOD * 2 { gap.saturating_sub(PERIOD) } else { Duration::ZERO };
        let mut lost = Vec::new();
        for (incarnation, forgiven) in &mut self.heard {
            let silent = now.duration_since(since[incarnation]);
            // Deaf time counts for nobody, and nobody gets more out of it than silence forgiven.
            *forgiven = (*forgiven + deaf).min(silent);
            if silent.saturating_sub(*forgiven) >= LENGTH {
                lost.push(*incarnation);
            }
        }
        for incarnation in &lost {
            self.heard.remove(incarnation);
            self.lost.insert(*incarnation);
        }
        lost
    }
}

proptest! {
    #[test]
    fn nobody_heard_of_within_a_lease_is_lost_and_everybody_silent_is(
        steps in prop::collection::vec(step(), 0..200),
        joined in prop::collection::btree_set(0_u128..3, 0..3),
    ) {
        let start = Instant::now();
        let mut leases = leases(&joined.iter().copied().collect::<Vec<_>>(), start);
        let (mut now, mut ticked) = (start, start);
        let mut oracle = Oracle::default();
        let mut since = BTreeMap::new();
        for number in joined {
            oracle.heard.insert(Incarnation(number), Duration::ZERO);
            since.insert(Incarnation(number), start);
        }
        let mut map = leases.map();
        for step in steps {
            match step {
                Step::Pause(ms) => now += Duration::from_millis(ms),
                Step::Tick(ms) => {
                    now += Duration::from_millis(ms);
                    let expected = oracle.tick(&since, now, now - ticked);
                    ticked = now;
                    prop_assert_eq!(leases.tick(now), expected);
                }
                Step::Join(number, name) => {
                    let member = member(number.into(), name);
                    let incarnation = member.incarnation;
                    let entered = enter(&mut leases, &member, now);
                    if oracle.lost.contains(&incarnation) {
                        prop_assert_eq!(entered, Err(Refused::Fenced));
                    } else {
                        let entered = entered.unwrap();
                        prop_assert_eq!(entered.member(incarnation), Some(&member));
                        oracle.heard.insert(incarnation, Duration::ZERO);
                        since.insert(incarnation, now);
                    }
                }
                Step::Beat(number) => {
                    let incarnation = Incarnation(number.into());
                    let beat = leases.beat(incarnation, now);
                    if oracle.lost.contains(&incarnation) {
                        prop_assert_eq!(beat, Err(Refused::Fenced));
                    } else if let Some(forgiven) = oracle.heard.get_mut(&incarnation) {
                        *forgiven = Duration::ZERO;
                        since.insert(incarnation, now);
                        prop_assert_ne!(beat, Err(Refused::Fenced));
                    } else {
                        prop_assert_eq!(beat, Err(Refused::Unknown));
                    }
                }
                Step::Leave(number) => {
                    let incarnation = Incarnation(number.into());
                    leases.leave(incarnation);
                    if oracle.heard.remove(&incarnation).is_some() {
                        oracle.lost.insert(incarnation);
                    }
                }
            }
            let next = leases.map();
            prop_assert_eq!(next.epoch > map.epoch, next.members != map.members);
            prop_assert!(next.epoch >= map.epoch);
            prop_assert!(next.members.iter().map(|member| member.incarnation).eq(oracle.heard.keys().copied()));
            map = next;
        }
        prop_assert_eq!(leases.undeclared(usize::MAX), oracle.lost.into_iter().collect::<Vec<_>>());
    }
}
