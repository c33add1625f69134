use causeway_model::{Namespace, Position, QueueKind};
use proptest::prelude::*;

use super::*;
use crate::sample::{KEY, Shard, publish};
use crate::{Mutations, Twin};

#[test]
fn an_empty_database_is_a_shard_before_its_first_record() {
    let tables = Twin::new();
    assert_eq!(applied(&tables).unwrap(), AppliedMark::default());
    assert_eq!(cluster(&tables).unwrap(), None);
    assert_eq!((level(&tables).unwrap(), first(&tables).unwrap()), (0, Position(0)));
    assert!(topics(&tables, 10).unwrap().is_empty() && gateways(&tables, 10).unwrap().is_empty());
}

proptest! {
    #[test]
    fn pages_of_any_size_join_to_the_entries_in_between(
        topics in proptest::collection::vec(0..3_u8, 0..60),
        limit in 1..20_usize, after in 0..3000_u64, span in 0..3000_u64, first in 0..1500_u64,
    ) {
        let mut shard = Shard::new();
        let names = ["a", "b", "c"];
        let records: Vec<_> = topics.iter().map(|topic| publish(names[usize::from(*topic)])).collect();
        for batch in records.chunks(7) {
            shard.batch(batch);
        }
        let queue = KEY.queue(QueueKind::Light, &Namespace::default(), "a");
        let (upto, first) = (Position(after + span), Position(first));
        let expected: Vec<_> = shard
            .page(queue)
            .into_iter()
            .filter(|e| e.stamp.position() > Position(after) && e.stamp.position() <= upto && e.position >= first)
            .collect();
        let (mut joined, mut after) = (Vec::new(), Position(after));
        loop {
            let page = entries(&shard.tables, &Scan { queue, after, upto, first, limit }).unwrap();
            prop_assert!(page.entries.len() <= limit);
            prop_assert!(page.next > after || !page.more);
            joined.extend(page.entries);
            after = page.next;
            if !page.more {
                prop_assert_eq!(page.next, upto.max(after));
                break;
            }
        }
        prop_assert_eq!(joined, expected);
    }
}

#[test]
fn a_page_of_nothing_moves_nowhere_and_says_whether_there_is_more() {
    let mut shard = Shard::new();
    let at = shard.publish("a");
    let queue = KEY.queue(QueueKind::Light, &Namespace::default(), "a");
    let scan = Scan { queue, after: Position(0), upto: Position(u64::MAX), first: Position(0), limit: 0 };
    assert_eq!(entries(&shard.tables, &scan).unwrap(), Page { entries: vec![], next: Position(0), more: true });
    let scan = Scan { after: at, ..scan };
    let expected = Page { entries: vec![], next: Position(u64::MAX), more: false };
    assert_eq!(entries(&shard.tables, &scan).unwrap(), expected);
    let backwards = Scan { after: at.plus(10), upto: at, limit: 5, ..scan };
    assert_eq!(entries(&shard.tables, &backwards).unwrap().next, at.plus(10), "never back");
}

#[test]
fn a_damaged_row_is_an_error_and_not_a_hole() {
    let mut shard = Shard::new();
    let at = shard.publish("a");
    let queue = KEY.queue(QueueKind::Light, &Namespace::default(), "a");
    let mut damage = Mutations::new();
    damage.put(Family::Entry, &key::entry(queue, at.stamp().offset()), b"\xff");
    shard.tables.write(&damage).unwrap();
    let scan = Scan { queue, after: Position(0), upto: at, first: Position(0), limit: 5 };
    assert!(matches!(entries(&shard.tables, &scan), Err(ApplyError::Damaged { row: "entry" })));
}
