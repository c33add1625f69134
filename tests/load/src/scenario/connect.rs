//! Opens many connections and holds them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use causeway_mqtt::codec::Qos;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::version;
use crate::args::{Connect, Target};
use crate::connection::{Connection, Login};
use crate::latency::Latency;
use crate::message::topic;
use crate::report::{Better, Figure};
use crate::run::Cost;

/// Connections from one source address: the kernel has some 28,000 ports for each.
const PER_SOURCE: u32 = 20_000;

/// Descriptors beside the connections.
const SPARE: u64 = 64;

/// "10000 connections, 1 subscription each".
pub(crate) fn title(args: &Connect) -> String {
    let subscription = if args.subscribe { ", 1 subscription each" } else { "" };
    let rate = args.rate.map(|rate| format!(", at most {rate}/s")).unwrap_or_default();
    format!("{} connections{subscription}{rate}{}", args.connections, version(&args.target))
}

/// Connections a second and the server's resident memory for each.
pub(crate) async fn run(args: &Connect) -> Result<Vec<Figure>> {
    allow_descriptors(u64::from(args.connections) + SPARE)?;
    let mut cost = Cost::start(&args.server)?;
    let opener = Arc::new(Opener {
        address: args.target.resolve().await?,
        target: args.target.clone(),
        subscribe: args.subscribe,
        total: args.connections,
        pace: args.rate.map(|rate| Duration::from_secs(1) / rate),
        start: Instant::now(),
        next: AtomicU32::new(0),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..args.parallel.min(args.connections) {
        tasks.spawn(Arc::clone(&opener).run());
    }
    let mut open = Vec::new();
    let mut latency = Latency::new()?;
    while let Some(done) = tasks.join_next().await {
        let (connections, took) = done.context("a connecting task died")??;
        open.extend(connections);
        latency.merge(&took)?;
    }
    let took = opener.start.elapsed();
    cost.stop(&args.server)?;
    let busy = cost;
    sleep(args.hold).await;
    cost.stop(&args.server)?;
    let lost = open.iter().filter(|connection| !connection.is_open()).count();
    let count = open.len() as u64;
    let mut figures = vec![Figure::rate("connected", count, took).compared(Better::More)];
    let each = cost.growth().map(|kib| kib / f64::from(args.connections));
    figures.extend(each.map(|kib| Figure::new("resident each", kib, "KiB").compared(Better::Less)));
    figures.extend(Figure::quantiles("", &latency));
    figures.extend(busy.figures());
    figures.push(Figure::count("lost", lost as u64));
    Ok(figures)
}

/// What the connecting tasks share.
#[derive(Debug)]
struct Opener {
    address: SocketAddr,
    target: Target,
    subscribe: bool,
    total: u32,
    pace: Option<Duration>,
    start: Instant,
    next: AtomicU32,
}

impl Opener {
    /// Opens connections one after the other until all tasks together have opened them all.
    async fn run(self: Arc<Self>) -> Result<(Vec<Connection>, Latency)> {
        let mut open = Vec::new();
        let mut latency = Latency::new()?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return Ok((open, latency));
            }
            if let Some(pace) = self.pace {
                sleep_until(self.start + pace * number).await;
            }
            let before = Instant::now();
            let connection = self.open(number).await.with_context(|| format!("connection {}", number + 1))?;
            latency.record(before.elapsed());
            open.push(connection);
        }
    }

    async fn open(&self, number: u32) -> Result<Connection> {
        let login = Login { source: source(self.address, number), ..Login::volatile("conn", number) };
        let mut connection = Connection::open(self.address, &self.target, login).await?;
        if self.subscribe {
            connection.subscribe(&topic("load/connect", number), Qos::AtLeastOnce).await?;
        }
        Ok(connection)
    }
}

/// The address to connect from: all of 127/8 is ours if the server is on the loopback.
fn source(server: SocketAddr, number: u32) -> Option<IpAddr> {
    let IpAddr::V4(address) = server.ip() else { return None };
    let further = number / PER_SOURCE;
    if !address.is_loopback() || further == 0 {
        return None;
    }
    Some(IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() + further)))
}

/// Raises the limit on descriptors as far as the system lets.
fn allow_descriptors(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        let most = limit.maximum.unwrap_or_default();
        bail!("{needed} descriptors are needed and {most} are allowed: raise `ulimit -Hn`, for the server too");
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum })
        .context("raising the limit on descriptors")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_an_address_has_ports_come_from_further_loopback_addresses() {
        let local: SocketAddr = "127.0.0.1:1883".parse().unwrap();
        assert_eq!(source(local, 0), None);
        assert_eq!(source(local, PER_SOURCE - 1), None);
        assert_eq!(source(local, PER_SOURCE), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(source(local, 999_999), Some("127.0.0.50".parse().unwrap()));
    }

    #[test]
    fn elsewhere_the_system_chooses_the_source() {
        for server in ["192.0.2.1:1883", "[::1]:1883"] {
            assert_eq!(source(server.parse().unwrap(), 999_999), None, "{server}");
        }
    }

    #[test]
    fn more_descriptors_than_the_system_has_are_refused_with_what_to_do() {
        // 2^40 is above any hard limit but "unlimited".
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let error = allow_descriptors(1 << 40).unwrap_err().to_string();
            assert!(error.contains("ulimit -Hn"), "{error}");
        }
        assert!(allow_descriptors(1).is_ok());
    }
}
