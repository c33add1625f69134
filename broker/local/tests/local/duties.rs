//! The leader's duties, driven by a clock that the test moves.

use std::time::Duration;

use crate::shard::{Shard, publish};
use causeway_apply::read;
use causeway_compute::port::{Broker, CloseReason, Command, GatewayEvent, Owner, Reply};
use causeway_local::{Settings, memory};
use causeway_model::{Incarnation, Kind, Qos, ShardId, SubscribeOptions};

const HOUR: Duration = Duration::from_hours(1);
const ALMOST: Duration = Duration::from_millis(3_599_999);

fn settings() -> Settings {
    let mut settings = memory::settings();
    settings.retention.max_age = Some(Duration::from_hours(10));
    settings.retention.min_age = HOUR;
    settings
}

/// Publishes about 100 KiB.
fn fill(shard: &Shard, count: usize) {
    for _ in 0..count {
        shard.publish("fill", &"x".repeat(100 << 10));
    }
}

#[test]
fn what_is_over_its_age_is_trimmed_and_its_files_go() {
    let shard = Shard::new(1, settings());
    fill(&shard, 30);
    shard.clock.advance(Duration::from_hours(9));
    let young = shard.publish("young", "stays");
    let before = shard.memory.disk.used();
    shard.later(HOUR);
    assert_eq!(shard.first().0, 0, "ten hours are not over ten hours");
    shard.later(Duration::from_secs(1));
    assert!(shard.first().0 > 3_000_000, "{}", shard.first());
    assert!(shard.first() <= young);
    assert_eq!(shard.bodies("fill").len(), 0);
    assert_eq!(shard.bodies("young"), ["stays"]);
    shard.local.flush().unwrap();
    // The log thread looks at the floor between two batches.
    shard.publish("young", "stays too");
    shard.publish("young", "and this");
    let log = shard.local.log();
    assert!(log.first().0 > 2_000_000, "segments went: the log begins at {}", log.first());
    assert!(shard.memory.disk.used() < before);
    let (memory, clock) = shard.stop();
    let again = Shard::start(memory, clock, settings(), 2);
    assert!(again.first().0 > 3_000_000, "a restart knows what was trimmed");
    assert_eq!(again.bodies("young"), ["stays", "stays too", "and this"]);
}

#[test]
fn what_is_over_the_size_is_trimmed_but_nothing_that_is_too_young() {
    let mut settings = settings();
    settings.retention.max_bytes = Some(2 << 20);
    let shard = Shard::new(2, settings);
    fill(&shard, 60);
    shard.later(ALMOST);
    assert_eq!(shard.first().0, 0, "a millisecond too young");
    fill(&shard, 5);
    shard.later(Duration::from_millis(2));
    let kept = shard.local.applied(ShardId(0)).0 - shard.first().0;
    assert!(kept <= (2 << 20) + (200 << 10), "{kept} bytes are kept");
    assert_eq!(shard.bodies("fill").len() as u64, kept / (100 << 10));
}

#[test]
fn a_disk_that_fills_refuses_writes_before_it_would_trim_what_is_too_young() {
    let mut settings = settings();
    settings.disk.trim_below = 8 << 20;
    settings.disk.refuse_below = 4 << 20;
    let shard = Shard::new(3, settings);
    fill(&shard, 80);
    shard.memory.disk.set_capacity(Some(shard.memory.disk.used() + (3 << 20)));
    shard.later(Duration::from_mins(1));
    assert_eq!(shard.first().0, 0);
    let refused = shard.wait(shard.local.propose(ShardId(0), vec![publish("more", String::new())])).unwrap_err();
    assert_eq!(refused.kind, Kind::DiskFull);
    assert!(refused.kind.retryable());
    assert_eq!(shard.bodies("fill").len(), 80, "reads go on");

    // Old enough: room is made by trimming, a little more than is missing, and writes resume.
    shard.later(HOUR);
    let first = shard.first();
    assert!(first.0 >= 4 << 20, "{first}");
    shard.later(Duration::from_secs(1));
    assert_eq!(shard.first(), first, "what is trimmed and not removed yet is not trimmed for again");
    shard.publish("more", "goes");
    assert_eq!(shard.bodies("more"), ["goes"]);

    // And space that comes back by itself is enough, too.
    shard.memory.disk.set_capacity(Some(shard.memory.disk.used()));
    shard.later(Duration::from_secs(1));
    shard.memory.disk.set_capacity(None);
    shard.later(Duration::from_secs(1));
    shard.publish("more", "goes again");
}

#[test]
fn a_disk_that_lacks_less_than_a_step_is_given_a_step() {
    let mut settings = settings();
    settings.disk.trim_below = 4 << 20;
    settings.disk.refuse_below = 4 << 20;
    let shard = Shard::new(8, settings);
    fill(&shard, 40);
    shard.memory.disk.set_capacity(Some(shard.memory.disk.used() + (4 << 20) - 10));
    shard.later(HOUR + Duration::from_millis(1));
    assert!(shard.first().0 >= 1 << 20, "{}", shard.first());
    shard.later(Duration::from_secs(1));
    shard.publish("more", "goes");
}

#[test]
fn a_session_is_gone_when_its_time_is_over_however_many_rows_it_has() {
    let shard = Shard::new(4, settings());
    let open = |clean| shard.wait(shard.client.open("c", clean, HOUR * 5, Incarnation(1)));
    let opened = open(false);
    assert_eq!(opened.expiry, HOUR, "granted no longer than messages are surely kept");
    for n in 0..600 {
        let options = SubscribeOptions::at(Qos::AtLeastOnce);
        shard.wait(shard.client.subscribe((opened.sid, opened.epoch), &format!("f/{n}"), options, 1));
    }
    let close = Command::SessionClose {
        sid: opened.sid,
        epoch: opened.epoch,
        reason: CloseReason::ConnectionLost,
        expiry: None,
    };
    assert_eq!(shard.wait(shard.client.one(close)), Reply::Done);
    shard.later(ALMOST);
    assert_eq!(shard.wait(shard.client.session(opened.sid)).subscriptions.len(), 600, "not yet");
    shard.later(Duration::from_millis(1));
    assert_eq!(shard.wait(shard.client.session(opened.sid)).subscriptions, []);
    let next = open(false);
    assert!(!next.present);
    assert_ne!(next.sid, opened.sid);
    shard.later(HOUR * 100);
    assert!(open(false).present, "a connected session does not expire");
}

#[test]
fn a_lost_gateway_s_sessions_are_closed_and_its_interest_ends() {
    let shard = Shard::new(5, settings());
    let (lost, alive) = (Incarnation(50), Incarnation(51));
    for gateway in [lost, alive] {
        let joined = Command::Gateway { incarnation: gateway, event: GatewayEvent::Joined };
        assert_eq!(shard.wait(shard.client.one(joined)), Reply::Done);
    }
    for n in 0..600 {
        let owner = if n % 3 == 0 { alive } else { lost };
        shard.wait(shard.client.open(&format!("c{n}"), false, HOUR, owner));
        shard.wait(shard.client.add(&format!("w/{n}/+"), Owner::Gateway(owner)));
    }
    let command = Command::Gateway { incarnation: lost, event: GatewayEvent::Lost };
    assert_eq!(shard.wait(shard.client.one(command)), Reply::Done);
    shard.later(Duration::from_secs(1));
    shard.later(Duration::from_secs(1));

    let known: Vec<_> = read::gateways(&**shard.local.tables(), 10).unwrap().into_iter().map(|row| row.0).collect();
    assert_eq!(known, [Incarnation(1), alive], "nothing is left of it");
    for n in 0..600 {
        shard.publish(&format!("w/{n}/x"), "m");
        let entries = shard.bodies(&format!("w/{n}/+"));
        assert_eq!(entries.len(), usize::from(n % 3 == 0), "filter {n}");
        let again = shard.wait(shard.client.open(&format!("c{n}"), false, HOUR, alive));
        assert_eq!(again.old_owner, (n % 3 == 0).then_some(alive), "session {n}");
        assert!(again.present);
    }
}

#[test]
fn a_broker_that_restarts_declares_its_previous_hosted_gateway_lost() {
    let shard = Shard::new(6, settings());
    let opened = shard.wait(shard.client.open("c", false, HOUR, Incarnation(1)));
    assert!(!opened.present);
    shard.wait(shard.client.add("v/+", Owner::Gateway(Incarnation(1))));
    let (memory, clock) = shard.stop();

    let shard = Shard::start(memory, clock, settings(), 2);
    let fenced = shard.wait(shard.client.one(Command::SessionOpen(causeway_compute::port::SessionOpen {
        namespace: causeway_model::Namespace::default(),
        client: causeway_model::ClientId("late".into()),
        clean_start: false,
        expiry: HOUR,
        owner: Incarnation(1),
        attempt: 0,
        will: None,
    })));
    assert!(matches!(fenced, Reply::Rejected(_)), "the lost one owns nothing new: {fenced:?}");
    shard.later(Duration::from_secs(1));
    shard.publish("v/1", "m");
    assert_eq!(shard.bodies("v/+").len(), 0);
    let resumed = shard.wait(shard.client.open("c", false, HOUR, Incarnation(2)));
    assert!(resumed.present);
    assert_eq!(resumed.old_owner, None, "its connection was closed");
    let known: Vec<_> = read::gateways(&**shard.local.tables(), 10).unwrap().into_iter().map(|row| row.0).collect();
    assert_eq!(known, [Incarnation(2)]);
}

/// Gateways that came and went, all of them swept.
fn departed(shard: &Shard, gateways: std::ops::Range<u128>) {
    let events = [GatewayEvent::Joined, GatewayEvent::Lost];
    let commands = gateways.flat_map(|n| events.map(|event| Command::Gateway { incarnation: Incarnation(n), event }));
    let replies = shard.wait(shard.client.propose(commands.collect()));
    assert!(replies.iter().all(|reply| *reply == Reply::Done));
    // Two pages a gateway.
    for _ in 0..replies.len() {
        shard.later(Duration::from_millis(1));
    }
}

#[test]
fn departed_gateways_are_forgotten_a_page_a_tick_once_none_of_them_can_come_back() {
    let shard = Shard::new(9, settings());
    departed(&shard, 1000..1300);
    let known = || read::departed(&**shard.local.tables(), None, 1000).unwrap().len();
    assert_eq!(known(), 300);
    shard.later(Duration::from_hours(12));
    departed(&shard, 5000..5010);
    // A day and the shortest life of a message after the first were swept.
    shard.later(Duration::from_hours(12));
    assert_eq!(known(), 310);
    let mut most = 0;
    for _ in 0..10 {
        let before = known();
        shard.later(Duration::from_mins(30));
        most = most.max(before - known());
    }
    assert_eq!((known(), most), (10, 256), "the young ones stay, and a tick is one page");
    let end = shard.local.applied(ShardId(0));
    shard.later(Duration::from_secs(1));
    assert_eq!(shard.local.applied(ShardId(0)), end, "and nothing is logged for them");
    shard.later(Duration::from_hours(13));
    assert_eq!(known(), 0);
    let again = Command::Gateway { incarnation: Incarnation(1000), event: GatewayEvent::Joined };
    assert_eq!(shard.wait(shard.client.one(again)), Reply::Done, "nobody remembers it");
}

#[test]
fn a_digest_is_logged_now_and_then_and_not_on_an_idle_log() {
    let shard = Shard::new(7, settings());
    shard.publish("a", "1");
    let end = || shard.local.applied(ShardId(0));
    shard.later(Duration::from_secs(1));
    let first = end();
    shard.later(Duration::from_secs(59));
    assert_eq!(end(), first, "the interval is not over");
    shard.publish("a", "2");
    let before = end();
    shard.later(Duration::from_mins(2));
    assert!(end() > before);
    let checked = end();
    shard.later(Duration::from_mins(2));
    shard.later(Duration::from_mins(2));
    assert_eq!(end(), checked, "nothing happened since");
}
