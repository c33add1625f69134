//! What queues hold, as people and scripts see it: read through the same port as every protocol.

use causeway_compute::port::{self, Broker, Entry, QueueRef, Read};
use causeway_model::{Filter, Message, Namespace, Position, ShardId};
use serde::{Deserialize, Serialize};

/// One page of one queue.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QueuePage {
    /// Topic or filter.
    pub(crate) filter: String,
    /// `light`, `filter` or `log`.
    pub(crate) kind: String,
    /// The queue's id in the index.
    pub(crate) queue: String,
    /// One part a shard.
    pub(crate) shards: Vec<ShardPage>,
}

/// The part of a page that lies on one shard.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ShardPage {
    /// The shard.
    pub(crate) shard: u32,
    /// The first position that the log still holds.
    pub(crate) first: u64,
    /// Everything up to here was applied.
    pub(crate) applied: u64,
    /// The entries, by stamp.
    pub(crate) entries: Vec<EntryView>,
    /// Where the next page starts; none when this was the last.
    pub(crate) next: Option<u64>,
}

/// One entry with its message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EntryView {
    pub(crate) stamp: u64,
    pub(crate) position: u64,
    /// Milliseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// None when the log was trimmed past the body.
    pub(crate) message: Option<MessageView>,
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MessageView {
    pub(crate) topic: String,
    pub(crate) publisher: String,
    pub(crate) bytes: usize,
    /// The body's start as text; bytes that are no text are replaced.
    pub(crate) text: String,
}

/// How much of a body is shown.
const SHOWN_BYTES: usize = 256;

/// Reads a page of the queue of a topic or filter on every shard.
///
/// # Errors
/// What the port answers.
pub(crate) async fn queue_page(
    broker: &dyn Broker,
    namespace: &Namespace,
    filter: &Filter,
    after: Position,
    limit: usize,
) -> Result<QueuePage, port::Error> {
    let cluster = broker.cluster();
    let id = cluster.key.queue(filter.queue_kind(), namespace, filter.as_str());
    let (kind, queue) = match (filter.is_all(), filter.is_wildcard()) {
        (true, _) => ("log", QueueRef::All(namespace.clone())),
        (_, true) => ("filter", QueueRef::Sparse(id)),
        (_, false) => ("light", QueueRef::Sparse(id)),
    };
    let mut shards = Vec::new();
    for shard in cluster.shards() {
        shards.push(shard_page(broker, shard, queue.clone(), after, limit).await?);
    }
    Ok(QueuePage { filter: filter.as_str().to_owned(), kind: kind.to_owned(), queue: id.to_string(), shards })
}

async fn shard_page(
    broker: &dyn Broker,
    shard: ShardId,
    queue: QueueRef,
    after: Position,
    limit: usize,
) -> Result<ShardPage, port::Error> {
    let upto = broker.applied(shard);
    let pages = broker.read(shard, vec![Read { queue, after, upto, limit }]).await?;
    let page = pages.into_iter().next();
    let (entries, next) = page.map(|page| (page.entries, page.more.then_some(page.next.0))).unwrap_or_default();
    let messages = broker.fetch(shard, entries.iter().map(|entry| entry.position).collect()).await?;
    let entries = entries.iter().zip(messages).map(|(entry, message)| entry_view(entry, message.as_deref())).collect();
    Ok(ShardPage { shard: shard.0, first: broker.first(shard).0, applied: upto.0, entries, next })
}

fn entry_view(entry: &Entry, message: Option<&Message>) -> EntryView {
    EntryView {
        stamp: entry.stamp.0,
        position: entry.position.0,
        time: entry.time.0,
        qos: entry.flags.qos.number(),
        retain: entry.flags.retain,
        message: message.map(|message| MessageView {
            topic: message.topic.as_str().to_owned(),
            publisher: message.publisher.client.0.to_string(),
            bytes: message.body.len(),
            text: String::from_utf8_lossy(&message.body[..message.body.len().min(SHOWN_BYTES)]).into_owned(),
        }),
    }
}
