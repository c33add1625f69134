//! One publisher over many distinct topics: whether a server pays for each topic, in time or in memory.

use anyhow::{Context, Result, bail};
use causeway_mqtt::codec::Qos;
use tokio::time::Instant;

use super::version;
use crate::args::Topics;
use crate::connection::{Connection, Login};
use crate::message::{Clock, Template};
use crate::publisher::{Publisher, Task};
use crate::report::{Better, Figure};
use crate::run::{Run, Schedule};

fn messages(args: &Topics) -> u64 {
    args.messages.unwrap_or_else(|| u64::from(args.distinct))
}

/// "1000000 messages over 10 topics, QoS 1, window 100, 256 B".
pub(crate) fn title(args: &Topics) -> String {
    let (messages, topics, window, size) = (messages(args), args.distinct, args.window, args.size);
    format!("{messages} messages over {topics} topics, QoS 1, window {window}, {size} B{}", version(&args.target))
}

/// Acknowledgements a second, and by how much the server's resident memory has grown.
pub(crate) async fn run(args: &Topics) -> Result<Vec<Figure>> {
    let address = args.target.resolve().await?;
    let connection = Connection::open(address, &args.target, Login::volatile("pub", 0)).await.context("publisher")?;
    let task = Task {
        template: Template::new(args.target.version, Qos::AtLeastOnce, "load/topic", args.size)?,
        qos: Qos::AtLeastOnce,
        window: args.window,
        first_topic: 0,
        topics: args.distinct,
        messages: Some(messages(args)),
        backlog: None,
    };
    let schedule = Schedule::counted(Instant::now());
    let mut run = Run::new(schedule, args.server.clone())?;
    run.publisher(Publisher::new(connection, task, schedule, Clock::start())?);
    let outcome = run.finish().await?;
    let published = &outcome.published;
    if published.counted != messages(args) {
        bail!("{} of {} messages were acknowledged", published.counted, messages(args));
    }
    let mut figures = vec![Figure::rate("acknowledged", published.counted, outcome.took).compared(Better::More)];
    figures.extend(Figure::quantiles("", &published.latency));
    figures.extend(outcome.cost.growth().map(|kib| Figure::new("growth", kib / 1024.0, "MiB")));
    figures.extend(outcome.cost.figures());
    Ok(figures)
}
