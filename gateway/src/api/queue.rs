//! What queues hold, as people and scripts see it: read through the same port as every protocol.

use axum::Json;
use axum::extract::State;
use causeway_compute::port::{self, Broker, Entry, QueueRef, Read};
use causeway_model::{Filter, Message, Namespace, Position, QueueKind, ShardId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::answer::{Asked, Refusals, Refused, answered, limit, namespace};

/// Most entries of one page on one shard.
pub const MOST_ENTRIES: usize = 1000;
/// What is given when nothing is asked for.
const USUAL: usize = 100;

/// How much of a body is shown.
const SHOWN_BYTES: usize = 256;

/// Bodies are fetched whole to show their start: so many bytes are in memory at a time, unless one message alone is
/// larger,
const FETCH_BYTES: usize = 4 << 20;
/// and a page ends before its bodies have more, though at least one entry is on it.
const PAGE_BYTES: usize = 64 << 20;

/// One page of one queue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueuePage {
    /// Topic or filter.
    pub filter: String,
    /// `light`, `client`, `filter` or `log`.
    pub kind: String,
    /// The queue's id in the index.
    pub queue: String,
    /// One part a shard.
    pub shards: Vec<ShardPage>,
}

/// The part of a page that lies on one shard.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ShardPage {
    /// The shard.
    pub shard: u32,
    /// The first position that the log still holds.
    pub first: u64,
    /// Everything up to here was applied.
    pub applied: u64,
    /// The entries, by stamp.
    pub entries: Vec<EntryView>,
    /// Where the next page starts; absent when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// One entry with its message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EntryView {
    /// The position of the record that put it in the queue.
    pub stamp: u64,
    /// Where its body is.
    pub position: u64,
    /// When it was stored, in milliseconds since 1970.
    pub time: u64,
    /// The quality of service it was published with.
    pub qos: u8,
    /// Published with RETAIN.
    pub retain: bool,
    /// Absent when the log was trimmed past the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageView>,
}

/// A message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MessageView {
    /// Where it was published to.
    pub topic: String,
    /// The client that published it.
    pub publisher: String,
    /// The body's length.
    pub bytes: usize,
    /// The body's start as text; bytes that are no text are replaced.
    pub text: String,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskPage {
    /// A topic, `$p2p/` and a client, a wildcard that has an owner, or `#`: the log.
    filter: String,
    /// Tenant.
    namespace: Option<String>,
    /// Entries with a greater stamp.
    after: Option<u64>,
    /// At most so many entries a shard; 100 unless told otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of one queue: a topic's, a client's, a wildcard's that has an owner, or the log as `#` sees it.
#[utoipa::path(get, path = "/queue", tag = "queues", params(AskPage), responses(
    (status = 200, description = "A page", body = QueuePage), Refusals))]
pub(super) async fn queue(State(api): State<Api>, Asked(ask): Asked<AskPage>) -> Result<Json<QueuePage>, Refused> {
    let filter = Filter::new(ask.filter.into()).map_err(|error| Refused::invalid(format!("filter: {error}")))?;
    let (namespace, limit) = (namespace(ask.namespace)?, limit(ask.limit, USUAL, MOST_ENTRIES)?);
    let serving = api.serving()?;
    let after = Position(ask.after.unwrap_or_default());
    Ok(Json(answered(queue_page(&*serving.context.broker, &namespace, &filter, after, limit)).await?))
}

/// Reads a page of the queue of a topic or filter: at most `limit` entries above `after` on every shard.
///
/// # Errors
/// What the port answers.
pub async fn queue_page(
    broker: &dyn Broker,
    namespace: &Namespace,
    filter: &Filter,
    after: Position,
    limit: usize,
) -> Result<QueuePage, port::Error> {
    let cluster = broker.cluster();
    let id = cluster.key.filter_queue(namespace, filter);
    let queue = if filter.is_all() { QueueRef::All(namespace.clone()) } else { QueueRef::Sparse(id) };
    let kind = kind_name(filter.queue_kind());
    let mut shards = Vec::new();
    for shard in cluster.shards() {
        shards.push(shard_page(broker, shard, queue.clone(), after, limit).await?);
    }
    Ok(QueuePage { filter: filter.as_str().to_owned(), kind: kind.to_owned(), queue: id.to_string(), shards })
}

fn kind_name(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Server => "server",
        QueueKind::Light => "light",
        QueueKind::Filter => "filter",
        QueueKind::Client => "client",
        QueueKind::Overflow => "overflow",
        QueueKind::All => "log",
    }
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
    let (found, mut next) = page.map(|page| (page.entries, page.more.then_some(page.next.0))).unwrap_or_default();
    let shown = within(&found, PAGE_BYTES);
    if let Some(last) = shown.last().filter(|_| shown.len() < found.len()) {
        next = Some(last.stamp.0);
    }
    let mut entries = Vec::with_capacity(shown.len());
    let mut rest = shown;
    while !rest.is_empty() {
        let (part, later) = rest.split_at(within(rest, FETCH_BYTES).len());
        let messages = broker.fetch(shard, part.iter().map(|entry| entry.position).collect()).await?;
        entries.extend(part.iter().zip(messages).map(|(entry, message)| entry_view(entry, message.as_deref())));
        rest = later;
    }
    Ok(ShardPage { shard: shard.0, first: broker.first(shard).0, applied: upto.0, entries, next })
}

/// The first entries, as many as have so many bytes together; at least one if there is one.
fn within(entries: &[Entry], bytes: usize) -> &[Entry] {
    let mut sum = 0_usize;
    let fits = |entry: &&Entry| {
        sum = sum.saturating_add(usize::try_from(entry.length).unwrap_or(usize::MAX));
        sum <= bytes
    };
    let count = entries.iter().take_while(fits).count().max(1);
    entries.get(..count).unwrap_or(entries)
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
            text: String::from_utf8_lossy(message.body.get(..SHOWN_BYTES).unwrap_or(&message.body)).into_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use causeway_compute::port::EntryFlags;
    use causeway_model::{Millis, Offset, Stamp};

    use super::*;

    #[test]
    fn a_part_of_a_page_has_so_many_bytes_and_never_none() {
        let entry = |length| Entry {
            offset: Offset(0),
            stamp: Stamp(0),
            position: Position(0),
            length,
            time: Millis(0),
            flags: EntryFlags::default(),
        };
        let entries = [entry(40), entry(60), entry(1), entry(u32::MAX), entry(u32::MAX)];
        assert_eq!(within(&entries, 100).len(), 2);
        assert_eq!(within(&entries, 39).len(), 1);
        assert_eq!(within(&entries, usize::MAX).len(), 5);
        assert_eq!(within(&[], 100).len(), 0);
    }
}
