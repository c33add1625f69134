//! Publishers and their subscribers: what `p2p` and `fanout` are made of.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::args::{Load, Server, Target};
use crate::connection::{Connection, Login};
use crate::message::{Clock, Template, topic};
use crate::publisher::{Publisher, Task};
use crate::report::{Better, Figure};
use crate::run::{Outcome, Run, Schedule, backlog, share};
use crate::subscriber::Subscriber;

const PREFIX: &str = "load/pair";

/// `publishers` publishers, each with a topic of its own and `copies` subscribers of it. Over several servers, the copies
/// of a topic are spread evenly, and a publisher is not where its first subscriber is.
pub(super) async fn run(
    target: &Target,
    server: Server,
    load: &Load,
    publishers: u32,
    copies: u32,
) -> Result<Vec<Figure>> {
    let addresses = target.resolve_all().await?;
    let address = |number: u32| addresses.get(number as usize % addresses.len()).copied();
    let mut receivers = Vec::new();
    let mut senders = Vec::new();
    for number in 0..publishers {
        for copy in 0..copies {
            let Some(address) = address(number + copy) else { continue };
            let login = Login::volatile("sub", number * copies + copy);
            let mut connection = Connection::open(address, target, login).await.context("subscriber")?;
            connection.subscribe(&topic(PREFIX, number), load.qos).await?;
            receivers.push((number, connection));
        }
    }
    for number in 0..publishers {
        let Some(address) = address(number + 1) else { continue };
        let login = Login::volatile("pub", number);
        senders.push(Connection::open(address, target, login).await.context("publisher")?);
    }
    let (clock, schedule) = (Clock::start(), Schedule::of(load));
    let backlogs: Vec<_> = senders.iter().map(|_| Arc::new(backlog(load, copies))).collect();
    let mut run = Run::new(schedule, server)?;
    for (number, connection) in receivers {
        let Some(backlog) = backlogs.get(number as usize) else { continue };
        run.subscriber(Subscriber::new(connection, Arc::clone(backlog), schedule, clock)?);
    }
    for (number, (connection, backlog)) in (0..).zip(senders.into_iter().zip(backlogs)) {
        let task = Task {
            template: Template::new(target.version, load.qos, PREFIX, load.size)?,
            qos: load.qos,
            window: load.window,
            first_topic: number,
            topics: 1,
            messages: share(load.messages, publishers, number),
            backlog: Some(Arc::clone(&backlog)),
        };
        run.backlog(backlog);
        run.publisher(Publisher::new(connection, task, schedule, clock)?);
    }
    Ok(figures(load, &run.finish().await?))
}

fn figures(load: &Load, outcome: &Outcome) -> Vec<Figure> {
    let (published, received) = (&outcome.published, &outcome.received);
    let mut figures = vec![Figure::rate("delivered", received.counted, outcome.took).compared(Better::More)];
    figures.extend(Figure::quantiles("", &received.latency));
    if load.qos.number() > 0 {
        figures.push(Figure::rate("acknowledged", published.counted, outcome.took));
        figures.extend(Figure::quantiles("ack ", &published.latency).into_iter().take(2));
    }
    figures.extend(outcome.cost.figures());
    let counts = [
        ("lost", outcome.lost),
        ("repeated", received.order.repeated),
        ("late", received.order.late),
        ("refused", published.refused),
        ("unanswered", published.unanswered),
    ];
    // Lost is always said; the others only when there is something to say.
    figures.extend(
        counts.into_iter().filter(|(name, n)| *name == "lost" || *n > 0).map(|(name, n)| Figure::count(name, n)),
    );
    figures
}
