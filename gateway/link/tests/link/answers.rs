//! Answers of every size, many at once: each comes, whole, whatever else is ready with it.

use std::sync::Arc;

use causeway_compute::port::{Broker, Reply};
use causeway_local::memory::Memory;
use causeway_model::{Position, Qos, ShardId};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::restart::message;
use crate::world::{PATIENCE, Server, client, process, server_settings};

const SHARD: ShardId = ShardId(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_fill_a_message_take_no_other_answer_with_them() {
    let server = Server::start(&Memory::new(1), &server_settings()).await;
    let process = process();
    let client: Arc<dyn Broker> = client(server.settings(), 1, &process).await;
    let sizes = [700 << 10, 10, 4 << 10, 512 << 10, 1, 100 << 10];
    let mut positions: Vec<(Position, usize)> = Vec::new();
    for size in sizes {
        let body = "x".repeat(size);
        let replies = client.propose(SHARD, vec![message("t", Qos::AtLeastOnce, &body)]).await.unwrap();
        let [Reply::Published { position }] = replies.as_slice() else { panic!("{replies:?}") };
        positions.push((*position, size));
    }
    for _ in 0..5 {
        let fetch = |number: usize| {
            let (position, size) = positions[number % positions.len()];
            let answer = client.fetch(SHARD, vec![position]);
            async move { assert_eq!(answer.await.unwrap()[0].as_ref().unwrap().body.len(), size) }
        };
        timeout(PATIENCE, join_all((0..120).map(fetch))).await.expect("an answer was lost");
    }
    server.stop().await;
}
