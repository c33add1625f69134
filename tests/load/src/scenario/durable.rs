//! The first half of the durability test: a persistent session goes offline, then messages for it are acknowledged.
//! Whoever runs this kills the server next, starts it again, and lets `drain` count.

use anyhow::{Context, Result, bail};
use causeway_mqtt::codec::Qos;
use tokio::time::Instant;

use super::version;
use crate::args::Durable;
use crate::connection::{Connection, Login};
use crate::message::{Clock, Template, topic};
use crate::publisher::{Publisher, Task};
use crate::report::{Better, Figure};
use crate::run::{Run, Schedule};

const PREFIX: &str = "load/durable";

/// "20000 messages to an offline session, QoS 1, window 20, 256 B".
pub(crate) fn title(args: &Durable) -> String {
    let (messages, window, size) = (args.messages, args.window, args.size);
    format!("{messages} messages to an offline session, QoS 1, window {window}, {size} B{}", version(&args.target))
}

/// Acknowledgements a second.
pub(crate) async fn run(args: &Durable) -> Result<Vec<Figure>> {
    let address = args.target.resolve().await?;
    let login = |persistent| Login { client_id: args.client_id.clone(), persistent, source: None };
    // What an earlier run has left behind would be counted by `drain`.
    Connection::open(address, &args.target, login(false)).await.context("clearing the session")?.close().await?;
    let mut session = Connection::open(address, &args.target, login(true)).await.context("session")?;
    session.subscribe(&topic(PREFIX, 0), Qos::AtLeastOnce).await?;
    session.close().await?;

    let connection = Connection::open(address, &args.target, Login::volatile("pub", 0)).await.context("publisher")?;
    let task = Task {
        template: Template::new(args.target.version, Qos::AtLeastOnce, PREFIX, args.size)?,
        qos: Qos::AtLeastOnce,
        window: args.window,
        first_topic: 0,
        topics: 1,
        messages: Some(args.messages),
        backlog: None,
    };
    let schedule = Schedule::counted(Instant::now());
    let mut run = Run::new(schedule, args.server.clone())?;
    run.publisher(Publisher::new(connection, task, schedule, Clock::start())?);
    let outcome = run.finish().await?;
    let published = &outcome.published;
    if published.counted != args.messages {
        bail!("{} of {} messages were acknowledged", published.counted, args.messages);
    }
    let mut figures = vec![Figure::rate("acknowledged", published.counted, outcome.took).compared(Better::More)];
    figures.extend(Figure::quantiles("", &published.latency));
    figures.extend(outcome.cost.figures());
    Ok(figures)
}
