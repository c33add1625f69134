//! Reads that the suite cannot see from outside: what comes from memory, what from files, and the budgets of both.

use std::time::Duration;

use causeway_compute::port::{Broker, QueueRef, Read};
use causeway_local::{Settings, memory};
use causeway_model::{Kind, Namespace, Position, ShardId};
use futures_util::FutureExt;

use crate::fragile::Fragile;
use crate::restart::{Machine, Running, runtime};
use crate::shard::Shard;

const SHARD: ShardId = ShardId(0);
const ALL: Position = Position(u64::MAX);

/// Memory for the last few batches.
fn forgetful() -> Settings {
    let mut settings = memory::settings();
    settings.log.tail_bytes = 64 << 10;
    settings
}

#[test]
fn at_the_tail_a_fetch_is_ready_at_once_and_older_messages_come_from_files() {
    let shard = Shard::new(1, forgetful());
    let positions: Vec<_> = (0..300).map(|n| shard.publish("f", &format!("{n} {}", "x".repeat(n * 40)))).collect();
    let newest = shard.local.fetch(SHARD, vec![positions[299]]).now_or_never();
    assert!(newest.is_some(), "nothing waits for the pool at the tail");
    let oldest = shard.local.fetch(SHARD, vec![positions[0]]);
    assert!(shard.local.log().cached(positions[0]).is_none(), "the memory is small");
    assert_eq!(shard.wait(oldest).unwrap()[0].as_ref().unwrap().body, "0 ");

    let mut shuffled: Vec<_> = (0..300).map(|n| (n * 7) % 300).collect();
    shuffled.extend([299, 0, 299]);
    let asked = shuffled.iter().map(|n| positions[*n]).collect();
    let messages = shard.wait(shard.local.fetch(SHARD, asked)).unwrap();
    for (n, message) in shuffled.iter().zip(messages) {
        assert_eq!(message.unwrap().body, format!("{n} {}", "x".repeat(n * 40)));
    }
    assert_eq!(shard.bodies("#").len(), 300, "the log is scanned from files, too");
}

#[test]
fn a_position_that_nobody_named_is_an_error_and_not_a_message() {
    let shard = Shard::new(2, memory::settings());
    let at = shard.publish("p", &"y".repeat(1000));
    let end = shard.local.applied(SHARD);
    for wrong in [Position(at.0 + 1), Position(at.0 + 500), end, end.plus(1), Position(u64::MAX)] {
        let error = shard.wait(shard.local.fetch(SHARD, vec![at, wrong])).unwrap_err();
        assert!(matches!(error.kind, Kind::Invalid | Kind::Corrupt), "{wrong}: {error}");
        assert!(!error.kind.retryable());
    }
    assert!(shard.wait(shard.local.fetch(SHARD, vec![at])).unwrap()[0].is_some());
}

#[test]
fn a_page_has_a_budget_of_its_own_whatever_its_reader_asks_for() {
    let mut settings = memory::settings();
    settings.reads.page_entries = 7;
    settings.reads.scan_bytes = 10_000;
    let shard = Shard::new(3, settings);
    for n in 0..20 {
        shard.publish("b", &n.to_string());
    }
    let sparse = shard.wait(shard.client.page(shard.client.queue("b"), Position(0), ALL, usize::MAX));
    assert_eq!((sparse.entries.len(), sparse.more), (7, true));
    let all = shard.wait(shard.client.page(shard.client.queue("#"), Position(0), ALL, usize::MAX));
    assert_eq!((all.entries.len(), all.more), (7, true));

    // A long stretch of another namespace's messages: pages without entries that move on all the same.
    for _ in 0..100 {
        shard.publish("$hidden", &"z".repeat(1000));
    }
    shard.publish("b", "behind");
    let (mut after, mut empty, mut bodies) = (all.next, 0, Vec::new());
    loop {
        let page = shard.wait(shard.client.page(QueueRef::All(Namespace::default()), after, ALL, usize::MAX));
        assert!(page.next > after);
        after = page.next;
        empty += usize::from(page.entries.is_empty());
        bodies.extend(shard.wait(shard.client.fetch(&page.entries)));
        if !page.more {
            break;
        }
    }
    assert!(empty > 3, "{empty} pages had a budget of bytes and found nothing");
    let mut expected: Vec<_> = (7..20).map(|n| n.to_string()).collect();
    expected.push("behind".into());
    assert_eq!(bodies, expected);
}

#[test]
fn reads_over_the_pool_s_budget_are_busy_and_the_others_answered() {
    let mut machine = Machine::new(4);
    machine.settings.reads.threads = 1;
    machine.settings.reads.waiting = 2;
    let Running { local, client, stopper } = machine.start().unwrap();
    let wait = runtime();
    wait.block_on(client.publish("r", "x"));
    let read = || {
        let read = Read { queue: client.queue("r"), after: Position(0), upto: ALL, limit: 10 };
        local.read(SHARD, vec![read])
    };
    let tables: &Fragile = &machine.tables;
    let held = tables.scans.write();
    // One is with the thread, at most, and two wait.
    let calls: Vec<_> = (0..5).map(|_| read()).collect();
    drop(held);
    let (answered, busy): (Vec<_>, Vec<_>) = calls.into_iter().map(|call| wait.block_on(call)).partition(Result::is_ok);
    assert!((2..=3).contains(&answered.len()), "{} answered", answered.len());
    assert!(answered.into_iter().all(|pages| pages.unwrap()[0].entries.len() == 1));
    for error in busy {
        assert_eq!(error.unwrap_err().kind, Kind::Busy { retry_after: Duration::from_millis(20) });
    }
    assert_eq!(wait.block_on(read()).unwrap()[0].entries.len(), 1);
    stopper.stop();
}
