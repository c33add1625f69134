//! Which queues there are: server topics and owned filters from the tables, light topics from the end of the log, since
//! their ids are hashes and their names are in the records alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use causeway_apply::record::{Kind, MessageHead};
use causeway_apply::{Tables, read};
use causeway_model::Position;
use causeway_storage::Reader;
use serde::{Deserialize, Serialize};

/// Most rows of each kind in one listing.
const LIMIT: usize = 10_000;

/// What there is.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Listing {
    pub(crate) topics: Vec<TopicView>,
    pub(crate) filters: Vec<FilterView>,
    pub(crate) light: Vec<LightView>,
    /// Light topics were looked for above this position.
    pub(crate) scanned_from: u64,
    /// Something was left out: there is more than one listing shows.
    pub(crate) truncated: bool,
}

/// A server topic.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TopicView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) queues: u16,
}

/// A wildcard with its owners.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FilterView {
    pub(crate) namespace: String,
    pub(crate) filter: String,
    pub(crate) owners: usize,
    /// Entries above this position are its.
    pub(crate) since: u64,
}

/// A topic that messages were published to.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LightView {
    pub(crate) namespace: String,
    pub(crate) topic: String,
    /// Messages in the scanned part of the log.
    pub(crate) messages: u64,
    pub(crate) last: u64,
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
