//! The hub where frames name only what it wants.

use super::*;
use crate::port::Change;

/// A hub of one shard, and the list that its stream would be narrowed to.
fn narrowed() -> (Arc<Hub>, Arc<Wants>) {
    let wants = Arc::<Wants>::default();
    let hub = Hub::new(Double::new(1), vec![Arc::clone(&wants)], process().metrics.notify);
    (Arc::new(hub), wants)
}

/// The next change, which is answered at once.
fn change(wants: &Wants) -> Option<(Vec<QueueId>, Vec<QueueId>)> {
    let Change { number, mut add, remove, .. } = wants.change(0).now_or_never()??;
    wants.answered(number, Position(100));
    add.sort_unstable();
    Some((add, remove))
}

#[tokio::test]
async fn whoever_attaches_waits_until_frames_name_the_queue_and_starts_there() {
    let (hub, wants) = narrowed();
    let (one, two) = (hub.mailbox(8), hub.mailbox(8));
    let mut first = std::pin::pin!(hub.attach(&[queue(1), queue(2)], &one).above());
    let mut second = std::pin::pin!(hub.attach(&[queue(1)], &two).above());
    assert!(poll!(first.as_mut()).is_pending() && poll!(second.as_mut()).is_pending());
    deliver(&hub, frame(0, 0, 60, &[]));
    assert_eq!(change(&wants), Some((vec![queue(1), queue(2)], vec![])));
    assert_eq!(first.await, [(SHARD, Position(100))]);
    assert_eq!(second.await, [(SHARD, Position(100))]);
    // The frame that ends at 100 has not been handed out, and does not name it.
    let third = hub.mailbox(8);
    let known = hub.attach(&[queue(2)], &third);
    assert!(known.is_known());
    assert_eq!(known.above().await, [(SHARD, Position(100))]);
    deliver(&hub, frame(0, 60, 200, &[(150, &[1, 2])]));
    assert_eq!((stamps(&one), stamps(&two), stamps(&third)), (vec![150], vec![150], vec![150]));
    let fourth = hub.attach(&[queue(2)], &hub.mailbox(8)).above().await;
    assert_eq!(fourth, [(SHARD, Position(200))], "or where frames are, if that is further on");
}

#[test]
fn a_queue_is_wanted_while_a_mailbox_is_attached_to_it() {
    let (hub, wants) = narrowed();
    let (one, two) = (hub.mailbox(8), hub.mailbox(8));
    drop(hub.attach(&[queue(1), queue(2)], &one));
    drop(hub.attach(&[queue(1)], &two));
    drop(hub.attach(&[queue(1)], &two));
    assert_eq!(change(&wants), Some((vec![queue(1), queue(2)], vec![])));
    hub.detach(queue(1), &one);
    assert_eq!(change(&wants), None, "the other is there");
    drop(two);
    assert_eq!(change(&wants), Some((vec![], vec![queue(1)])));
    drop(one);
    assert_eq!(change(&wants), Some((vec![], vec![queue(2)])));
    assert!(wants.is_empty());
}
