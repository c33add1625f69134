//! `queue read` and `queue list`: from a running broker's admin port, or from a stopped broker's data.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use causeway_compute::admin::Token;
use causeway_compute::port::Broker;
use causeway_gateway::api::{EntryView, Listing, MOST_ENTRIES, QueuePage, queue_page};
use causeway_index::Db;
use causeway_local::Local;
use causeway_model::{Filter, Millis, Namespace, Position};
use serde::de::DeserializeOwned;

use crate::listing;
use crate::open::{self, Opened};
use crate::settings::Settings;

/// Where a queue is looked at.
pub(crate) enum Source {
    /// A running broker's, or a gateway's, admin HTTP.
    Admin {
        /// Its address.
        at: SocketAddr,
        /// What it may want to see.
        token: Option<Token>,
    },
    /// A stopped broker's data.
    Data(Box<Settings>),
}

/// Which part of which queue.
pub(crate) struct Ask {
    pub(crate) namespace: String,
    pub(crate) filter: String,
    pub(crate) after: u64,
    pub(crate) limit: usize,
}

/// Prints a page of a queue.
pub(crate) fn read(source: &Source, ask: &Ask, out: &mut dyn Write) -> Result<()> {
    // Checked here too, so that a typing mistake is told without a broker.
    let filter = Filter::new(ask.filter.clone().into()).with_context(|| format!("{:?}", ask.filter))?;
    let namespace = Namespace::new(ask.namespace.clone().into()).with_context(|| format!("{:?}", ask.namespace))?;
    let page: QueuePage = match source {
        Source::Admin { at, token } => {
            // What the API gives at once; the rest is printed as "more".
            let (after, limit) = (ask.after.to_string(), ask.limit.clamp(1, MOST_ENTRIES).to_string());
            let query =
                [("filter", ask.filter.as_str()), ("namespace", &ask.namespace), ("after", &after), ("limit", &limit)];
            get(*at, token.as_ref(), "/api/v1/queue", &query)?
        }
        Source::Data(settings) => with_data(settings, |local| {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let broker: &dyn Broker = local;
            let page = queue_page(broker, &namespace, &filter, Position(ask.after), ask.limit);
            Ok(runtime.block_on(page)?)
        })?,
    };
    Ok(print_page(&page, out)?)
}

/// Prints which queues there are.
pub(crate) fn list(source: &Source, scan: u64, out: &mut dyn Write) -> Result<()> {
    let listing: Listing = match source {
        Source::Admin { at, token } => get(*at, token.as_ref(), "/api/v1/queues", &[("scan", &scan.to_string())])?,
        Source::Data(settings) => with_data(settings, |local| listing::list(local.tables(), local.log(), scan))?,
    };
    Ok(print_listing(&listing, out)?)
}

fn with_data<R>(settings: &Settings, look: impl FnOnce(&Local<Db>) -> Result<R>) -> Result<R> {
    if !settings.data.join("log").try_exists()? {
        bail!("{} holds no log", settings.data.display());
    }
    let Opened { started, lock: _lock } = open::open(settings, None)?;
    let seen = look(&started.local);
    started.stopper.stop();
    seen
}

fn get<T: DeserializeOwned>(admin: SocketAddr, token: Option<&Token>, path: &str, query: &[(&str, &str)]) -> Result<T> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(format!("http://{admin}{path}")).query_pairs(query.iter().copied());
    if let Some(token) = token {
        request = request.header("Authorization", token.authorization());
    }
    let mut answer = request.call().with_context(|| {
        format!(
            "no broker answers at http://{admin}: name its admin address with --admin, or a stopped broker's --data"
        )
    })?;
    let text = answer.body_mut().read_to_string()?;
    if answer.status() == 401 {
        bail!("the broker wants a token: name the file that holds it with --token-file");
    }
    if !answer.status().is_success() {
        bail!("the broker answered {}: {text}", answer.status());
    }
    serde_json::from_str(&text).context("the broker's answer is not understood: is it of another version?")
}

fn print_page(page: &QueuePage, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} queue of {} ({})", page.kind, page.filter, page.queue)?;
    for shard in &page.shards {
        writeln!(out, "shard {}: log from {}, applied to {}", shard.shard, shard.first, shard.applied)?;
        for entry in &shard.entries {
            print_entry(entry, out)?;
        }
        match shard.next {
            Some(next) => writeln!(out, "… more: --after {next}")?,
            None => writeln!(out, "{} entries", shard.entries.len())?,
        }
    }
    Ok(())
}

fn print_entry(entry: &EntryView, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{:>14}  {}  QoS {}", entry.stamp, Millis(entry.time), entry.qos)?;
    if entry.position != entry.stamp {
        write!(out, "  body at {}", entry.position)?;
    }
    match &entry.message {
        Some(message) => writeln!(
            out,
            "{}  {}  from {:?}  {} bytes  {:?}",
            if entry.retain { "  retain" } else { "" },
            message.topic,
            message.publisher,
            message.bytes,
            message.text
        ),
        None => writeln!(out, "  (its body was trimmed)"),
    }
}

fn print_listing(listing: &Listing, out: &mut dyn Write) -> io::Result<()> {
    let name = |namespace: &str, name: &str| match namespace {
        "" => name.to_owned(),
        namespace => format!("{namespace}: {name}"),
    };
    writeln!(out, "server topics: {}", listing.topics.len())?;
    for topic in &listing.topics {
        writeln!(out, "  {}  {} queues", name(&topic.namespace, &topic.name), topic.queues)?;
    }
    writeln!(out, "filters with owners: {}", listing.filters.len())?;
    for filter in &listing.filters {
        let shown = name(&filter.namespace, &filter.filter);
        writeln!(out, "  {shown}  {} owners, since {}", filter.owners, filter.since)?;
    }
    writeln!(out, "topics in the log from {} on: {}", listing.scanned_from, listing.light.len())?;
    for light in &listing.light {
        let shown = name(&light.namespace, &light.topic);
        writeln!(out, "  {shown}  {} messages, the last at {}", light.messages, light.last)?;
    }
    if listing.truncated {
        writeln!(out, "… and more than one listing shows")?;
    }
    Ok(())
}
