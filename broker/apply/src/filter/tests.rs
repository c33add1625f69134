use causeway_model::{Filter, HashKey, Namespace, QueueKind, Topic};
use proptest::prelude::*;

use super::*;

fn id(filter: &str) -> QueueId {
    HashKey([3; 16]).queue(QueueKind::Filter, &Namespace::default(), filter)
}

fn trie(filters: &[&str]) -> Trie {
    let mut trie = Trie::default();
    for filter in filters {
        trie.add(filter, id(filter));
    }
    trie
}

fn found(trie: &Trie, topic: &str, limit: usize) -> Option<Vec<QueueId>> {
    let mut out = vec![QueueId([0; 16])];
    let matched = trie.matches(topic, limit, &mut out);
    assert_eq!(out.remove(0), QueueId([0; 16]), "what was there stays");
    if matched == Matched::TooMany {
        assert_eq!(out, [], "too many leaves nothing behind");
        return None;
    }
    out.sort_unstable();
    Some(out)
}

fn level() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["", "a", "b", "$s", "é"])
}

fn topic() -> impl Strategy<Value = Topic> {
    let levels = proptest::collection::vec(level(), 1..5);
    levels.prop_filter_map("not a topic", |levels| Topic::new(levels.join("/").into()).ok())
}

fn filter() -> impl Strategy<Value = Filter> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    let parts = (proptest::collection::vec(level, 0..5), any::<bool>());
    parts.prop_filter_map("not a wildcard", |(mut levels, rest)| {
        if rest {
            levels.push("#");
        }
        Filter::new(levels.join("/").into()).ok().filter(Filter::is_wildcard)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_trie_finds_what_the_filters_match_whatever_came_and_went(
        changes in proptest::collection::vec((filter(), any::<bool>()), 0..60),
        topics in proptest::collection::vec(topic(), 1..10),
    ) {
        let (mut trie, mut owners) = (Trie::default(), HashMap::<Filter, u32>::new());
        for (filter, add) in changes {
            let count = owners.entry(filter.clone()).or_default();
            if add {
                *count += 1;
                prop_assert_eq!(trie.add(filter.as_str(), id(filter.as_str())), *count == 1);
            } else {
                let last = *count == 1;
                *count = count.saturating_sub(1);
                prop_assert_eq!(trie.remove(filter.as_str()), last);
            }
        }
        owners.retain(|_, count| *count > 0);
        prop_assert_eq!(trie.len(), owners.len());
        prop_assert!(owners.keys().all(|filter| trie.contains(filter.as_str())));
        for topic in topics {
            let mut expected: Vec<_> =
                owners.keys().filter(|filter| filter.matches(&topic)).map(|filter| id(filter.as_str())).collect();
            expected.sort_unstable();
            prop_assert_eq!(found(&trie, topic.as_str(), usize::MAX / 2), Some(expected.clone()));
            let limit = expected.len().saturating_sub(1);
            let expected = if expected.is_empty() { Some(expected) } else { None };
            prop_assert_eq!(found(&trie, topic.as_str(), limit), expected);
        }
        for (filter, count) in owners {
            for _ in 0..count {
                trie.remove(filter.as_str());
            }
        }
        prop_assert!(trie.is_empty());
        prop_assert_eq!(trie.free.len() + 1, trie.nodes.len(), "nodes of filters that are gone are free again");
    }
}

#[test]
fn wildcards_at_the_first_level_do_not_reach_system_topics() {
    let trie = trie(&["+", "+/#", "+/x", "$s/#", "$s/+"]);
    let mut expected = vec![id("$s/#"), id("$s/+")];
    expected.sort_unstable();
    assert_eq!(found(&trie, "$s/x", 10), Some(expected));
}

/// Every level of an eight-level topic either named or `+`, with and without `#`: 3·2⁸−1 filters match less `#`.
#[test]
fn a_filter_bomb_is_too_many_and_no_more() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut filters = Vec::new();
    for depth in 1..=names.len() {
        for mask in 0..1_u32 << depth {
            let level = |i: usize| if mask >> i & 1 == 1 { "+" } else { names[i] };
            let path: Vec<_> = (0..depth).map(level).collect();
            filters.push(format!("{}/#", path.join("/")));
            if depth == names.len() && mask > 0 {
                filters.push(path.join("/"));
            }
        }
    }
    assert_eq!(filters.len(), 3 * 256 - 1 - 2, "all but `#` and the exact name");
    let trie = trie(&filters.iter().map(String::as_str).collect::<Vec<_>>());
    let topic = names.join("/");
    assert_eq!(found(&trie, &topic, 128), None);
    assert_eq!(found(&trie, &topic, 765).map(|all| all.len()), Some(765), "the limit alone stops it");
    assert_eq!(found(&trie, "a/b", 128).map(|all| all.len()), Some(6), "a shorter topic matches few of them");
}

/// Sixteen levels of `x` or `+` that end in a name the topic does not have: nothing matches, at every node both ways go
/// on, and the search stops all the same.
#[test]
fn a_thicket_of_filters_that_almost_match_is_cut_short() {
    let mut trie = Trie::default();
    for mask in 0..1_u32 << 12 {
        let path: Vec<_> = (0..12).map(|i| if mask >> i & 1 == 1 { "+" } else { "x" }).collect();
        let filter = format!("{}/+/no", path.join("/"));
        trie.add(&filter, id(&filter));
    }
    assert_eq!(found(&trie, &["x"; 14].join("/"), 128), None);
    assert_eq!(found(&trie, "x/x/x", 128), Some(vec![]));
}
