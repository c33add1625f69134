//! Which queues there are: server topics and owned filters from the tables, topics from the end of the log, since
//! their ids are hashes and their names are in the records alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use causeway_apply::record::{Kind, MessageHead};
use causeway_apply::{Tables, read};
use causeway_gateway::api::{FilterView, LightView, List, Listing, TopicView};
use causeway_index::Db;
use causeway_local::Local;
use causeway_model::Position;
use causeway_storage::Reader;
use futures_util::future::BoxFuture;

/// Most rows of each kind in one listing.
const LIMIT: usize = 10_000;

/// Lists for the management API.
pub(crate) struct Lister(pub(crate) Arc<Local<Db>>);

impl List for Lister {
    fn list(&self, scan: u64) -> BoxFuture<'static, Result<Listing, String>> {
        let local = Arc::clone(&self.0);
        let listed = tokio::task::spawn_blocking(move || list(local.tables(), local.log(), scan));
        Box::pin(async move {
            match listed.await {
                Ok(listed) => listed.map_err(|error| format!("{error:#}")),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// Lists everything, scanning the last `scan` bytes of the log. Blocks on the disk.
pub(crate) fn list<T: Tables>(tables: &Arc<T>, log: &Reader, scan: u64) -> Result<Listing> {
    let mut listing = Listing::default();
    let topics = read::topics(&**tables, LIMIT)?;
    listing.truncated |= topics.len() == LIMIT;
    listing.topics.extend(topics.into_iter().map(|topic| TopicView {
        namespace: topic.namespace.as_str().to_owned(),
        name: topic.name.to_string(),
        queues: topic.queues,
    }));
    filters(&**tables, &mut listing)?;
    light(log, scan, &mut listing)?;
    Ok(listing)
}

fn filters<T: Tables>(tables: &T, listing: &mut Listing) -> Result<()> {
    let page = read::interest(tables, &[], LIMIT)?;
    listing.truncated |= page.next.is_some();
    // Rows come by filter, then owner: the owners of one filter are neighbours.
    for row in page.rows {
        let (namespace, filter) = (row.namespace.as_str(), row.filter.as_str());
        match listing.filters.last_mut() {
            Some(last) if last.namespace == namespace && last.filter == filter => {
                last.owners += 1;
                last.since = last.since.min(row.position.0);
            }
            _ => listing.filters.push(FilterView {
                namespace: namespace.to_owned(),
                filter: filter.to_owned(),
                owners: 1,
                since: row.position.0,
            }),
        }
    }
    Ok(())
}

fn light(log: &Reader, scan: u64, listing: &mut Listing) -> Result<()> {
    let from = Position(log.durable().0.saturating_sub(scan)).max(log.first());
    listing.scanned_from = from.0;
    let mut seen: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for batch in log.batches(from) {
        for (position, payload) in batch?.records() {
            let message = payload.first().copied().and_then(Kind::from_number) == Some(Kind::Message);
            let Some(head) = message.then(|| MessageHead::read(&payload).ok()).flatten() else { continue };
            let name = (head.namespace.to_owned(), head.topic.to_owned());
            if seen.len() >= LIMIT && !seen.contains_key(&name) {
                listing.truncated = true;
                continue;
            }
            let (messages, last) = seen.entry(name).or_default();
            *messages += 1;
            *last = position.0;
        }
    }
    listing.light.extend(seen.into_iter().map(|((namespace, topic), (messages, last))| LightView {
        namespace,
        topic,
        messages,
        last,
    }));
    Ok(())
}
