//! Publishers without subscribers: what an acknowledgement costs. With a window of one it is the latency of a message
//! that is safe before the next is sent.

use anyhow::{Context, Result, bail};

use super::{describe, version};
use crate::args::Publish;
use crate::connection::{Connection, Login};
use crate::message::{Clock, Template};
use crate::publisher::{Publisher, Task};
use crate::report::{Better, Figure};
use crate::run::{Run, Schedule, share};

/// "publish QoS 1, 1 publisher, window 20, 256 B".
pub(crate) fn title(args: &Publish) -> String {
    let plural = if args.publishers == 1 { "" } else { "s" };
    let (qos, publishers, load) = (args.load.qos.number(), args.publishers, describe(&args.load));
    format!("publish QoS {qos}, {publishers} publisher{plural}, {load}{}", version(&args.target))
}

/// Acknowledgements a second and how long one takes.
pub(crate) async fn run(args: &Publish) -> Result<Vec<Figure>> {
    let load = &args.load;
    if load.qos.number() == 0 {
        bail!("QoS 0 has no acknowledgement to measure: --qos 1 or 2, or p2p for what is delivered at QoS 0");
    }
    let address = args.target.resolve().await?;
    let mut connections = Vec::new();
    for number in 0..args.publishers {
        let login = Login::volatile("pub", number);
        connections.push(Connection::open(address, &args.target, login).await.context("publisher")?);
    }
    let (clock, schedule) = (Clock::start(), Schedule::of(load));
    let mut run = Run::new(schedule, args.server.clone())?;
    for (number, connection) in (0..).zip(connections) {
        let task = Task {
            template: Template::new(args.target.version, load.qos, "load/publish", load.size)?,
            qos: load.qos,
            window: load.window,
            first_topic: number,
            topics: 1,
            messages: share(load.messages, args.publishers, number),
            backlog: None,
        };
        run.publisher(Publisher::new(connection, task, schedule, clock)?);
    }
    let outcome = run.finish().await?;
    let published = &outcome.published;
    let mut figures = vec![Figure::rate("acknowledged", published.counted, outcome.took).compared(Better::More)];
    figures.extend(Figure::quantiles("", &published.latency));
    // One at a time it is the latency that is asked for.
    if load.window.get() == 1 {
        figures.iter_mut().filter(|figure| figure.name == "p50").for_each(|p50| p50.better = Some(Better::Less));
    }
    figures.extend(outcome.cost.figures());
    figures.push(Figure::count("refused", published.refused + published.unanswered));
    Ok(figures)
}
