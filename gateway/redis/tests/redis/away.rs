//! A Redis that is killed, hangs, forgets or was never there.

use std::time::Duration;

use causeway_compute::port::{Lookup, Slot, SlotSet};
use causeway_model::Lineage;
use causeway_redis::{Error, Redis, Settings};

use crate::server::{LINEAGE, Server, entry, find, put, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_it_knows_nobody_and_back_it_wants_everybody_put_again_once() {
    let mut server = Server::start().await;
    let lookup = server.lookup();
    assert_eq!(lookup.put(vec![entry(1, 5)]).await, SlotSet::EMPTY);
    assert_eq!(find(&lookup, 1).await, Some(entry(1, 5)));
    server.kill();
    assert_eq!(find(&lookup, 1).await, None);
    for (done, number) in [(lookup.put(vec![entry(2, 5)]).await, 2), (lookup.remove(vec![entry(3, 5)]).await, 3)] {
        assert_eq!(done, [Slot::of(entry(number, 0).client)].into_iter().collect(), "that slot is to be put again");
    }
    server.restart().await;
    let again = put(&lookup, entry(2, 5)).await;
    assert_eq!(again, SlotSet::ALL, "it has forgotten all");
    assert_eq!(lookup.put(vec![entry(1, 5)]).await, SlotSet::EMPTY);
    assert_eq!(find(&lookup, 1).await, Some(entry(1, 5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_is_waited_for_until_the_deadline_and_then_left_alone() {
    let server = Server::start().await;
    let settings = Settings { deadline: Duration::from_millis(200), ..server.settings() };
    let lookup = Redis::new(settings, LINEAGE).unwrap();
    put(&lookup, entry(1, 5)).await;
    server.pause(true);
    let all = async {
        for _ in 0..50 {
            assert_eq!(find(&lookup, 1).await, None);
        }
    };
    // Fifty deadlines would be ten seconds; what is bounded here is only that nobody hangs with it.
    tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    server.pause(false);
    assert_eq!(until(async || find(&lookup, 1).await).await, entry(1, 5), "it has forgotten nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_never_there_is_no_error() {
    let settings = Settings::of("unix:///nowhere/redis.sock".to_owned());
    let lookup = Redis::new(settings, LINEAGE).unwrap();
    assert_eq!(find(&lookup, 1).await, None);
    assert_eq!(lookup.find(vec![entry(1, 0).client; 2000]).await, vec![None; 2000]);
    assert!(!lookup.put(vec![entry(1, 5)]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_nobody_puts_again_expire() {
    let server = Server::start().await;
    let lookup = Redis::new(Settings { ttl: Duration::from_secs(1), ..server.settings() }, LINEAGE).unwrap();
    assert_eq!(lookup.put(vec![entry(1, 5)]).await, SlotSet::EMPTY);
    let again = lookup.refresh().unwrap();
    assert!(again * 2 < Duration::from_secs(1), "twice may fail");
    until(async || find(&lookup, 1).await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_share_nothing_and_values_of_others_are_no_entries() {
    let server = Server::start().await;
    let (one, other) = (server.lookup(), Redis::new(server.settings(), Lineage(2)).unwrap());
    one.put(vec![entry(1, 5)]).await;
    assert_eq!(find(&other, 1).await, None);
    other.remove(vec![entry(1, 9)]).await;
    assert_eq!(find(&one, 1).await, Some(entry(1, 5)));
    let client = redis::Client::open(server.settings().url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let key = format!("causeway:{:032x}:{}", LINEAGE.0, entry(1, 0).client);
    redis::cmd("SET").arg(&key).arg("nonsense").exec_async(&mut connection).await.unwrap();
    assert_eq!(find(&one, 1).await, None);
    assert_eq!(one.put(vec![entry(1, 1)]).await, SlotSet::EMPTY);
    assert_eq!(find(&one, 1).await, Some(entry(1, 1)));
}

#[tokio::test]
async fn wrong_settings_are_told_and_passwords_are_not() {
    let of = |url: &str| Redis::new(Settings::of(url.to_owned()), LINEAGE);
    assert!(matches!(of("http://host"), Err(Error::Address(_))));
    let settings = Settings { ttl: Duration::from_millis(10), ..Settings::of("redis://host".to_owned()) };
    assert!(matches!(Redis::new(settings, LINEAGE), Err(Error::Ttl)));
    let lookup = of("redis://user:secret@127.0.0.1:1").unwrap();
    assert!(!format!("{lookup:?}").contains("secret"));
}
