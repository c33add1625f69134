//! The life of a gateway process: one run after the other, each under an incarnation of its own.
//!
//! ```text
//!  ┌► new incarnation ─► link ─► joined ─► serves ─┬─ signal, drain ─► clients go ─► leaves ─► end
//!  │                                               ├─ a task failed ─► the same, with an error
//!  └────────── everything of the run is dropped ◄──┴─ declared lost
//! ```
//!
//! **A run that was declared lost never goes on**: the brokers have closed its sessions. Its connections are dropped at
//! once, and the next run serves on the addresses that this one had, whatever ports the system had picked.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use causeway_compute::admin::Admin;
use causeway_compute::listener::Listener;
use causeway_compute::port::{Broker, Member};
use causeway_compute::process::Process;
use causeway_compute::task::Wave;
use causeway_gateway::api::{Api, Host, ProcessKind, Serving};
use causeway_gateway::host::{Signals, ending};
use causeway_gateway::{Ports, Reach, Running};
use causeway_link::{ClientMetrics, ClientSettings, Identity, PeerLinks};
use causeway_model::{Incarnation, Kind, SystemClock, Text};

use crate::configuration::Configuration;

/// Serves until a signal asks for the end, or something fails that the process cannot go on without.
pub(crate) fn run(configuration: Configuration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?;
    let end = runtime.block_on(lives(configuration));
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

/// How a run ended, if not by a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Somebody asked for it.
    Orderly,
    /// The brokers declared it lost.
    Lost,
}

async fn lives(mut configuration: Configuration) -> Result<()> {
    // Caught before anything is told to clients, so that a signal never finds the default handler.
    let mut signals = Signals::catch()?;
    loop {
        let process = Process::new(prometheus::Registry::new())?;
        match life(&mut configuration, &process, &mut signals).await? {
            End::Orderly => return Ok(()),
            End::Lost => tracing::warn!("this run was declared lost: its connections are dropped, a new one begins"),
        }
    }
}

/// One run, from its first task to its last.
async fn life(configuration: &mut Configuration, process: &Process, signals: &mut Signals) -> Result<End> {
    let admin = Admin::bind(&configuration.admin)?;
    configuration.admin.bind = admin.address();
    let version = env!("CARGO_PKG_VERSION");
    let api = Api::new(Host { kind: ProcessKind::Gateway, version, process: process.clone(), listing: None });
    admin.serve(process, api.routes());

    // Brokers may be away for long: a signal ends the wait for them.
    let started = tokio::select! {
        biased;
        failed = ending(signals, process) => Err(failed),
        started = start(configuration, process, &api) => Ok(started),
    };
    let running = match started {
        Ok(Ok(running)) => running,
        Ok(Err(error)) => {
            process.finish(Duration::ZERO).await;
            return if was_lost(&error) { Ok(End::Lost) } else { Err(error) };
        }
        Err(failed) => {
            process.finish(Duration::ZERO).await;
            return failed.map_or(Ok(End::Orderly), |failed| bail!("{failed}"));
        }
    };
    announce(configuration, &running)?;

    let failed = tokio::select! {
        biased;
        () = running.fenced() => {
            api.end();
            // Not a drain: this gateway is ready again at once, and its clients' sessions are closed already. Nothing is
            // said, so that the network's end is what every client sees.
            process.tasks.abort(Wave::Front);
            process.finish(Duration::ZERO).await;
            return Ok(End::Lost);
        }
        failed = ending(signals, process) => failed,
    };
    if let Some(failed) = &failed {
        tracing::error!(failed, "cannot go on");
    } else {
        tracing::info!("draining");
    }
    running.finish(process, configuration.drain.deadline).await;
    failed.map_or(Ok(End::Orderly), |failed| bail!("{failed}"))
}

/// Declared lost before it had served: it was let in, and then silent for a whole lease.
fn was_lost(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<causeway_gateway::Error>();
    matches!(error, Some(causeway_gateway::Error::Join(join)) if join.kind() == Kind::Fenced)
}

/// From a new incarnation to clients that are served. What the system picked is written into the configuration.
async fn start(configuration: &mut Configuration, process: &Process, api: &Api) -> Result<Running> {
    let (incarnation, name) = (Incarnation(rand::random()), Text::from(configuration.name()));
    let served = configuration.link.served();
    let bind = served.bind.iter().copied().map(Listener::bind);
    let listeners = bind.collect::<Result<Vec<_>, _>>()?;
    configuration.link.bind = listeners.iter().map(Listener::address).collect();
    let member = Member { incarnation, name: name.clone(), address: served.address(&configuration.link.bind) };

    let identity = Identity { name: name.clone(), incarnation };
    let metrics = Some(ClientMetrics::register(&process.registry)?);
    let brokers = ClientSettings { metrics, ..configuration.link.client()? };
    let link = causeway_link::connect(brokers, identity.clone(), &process.tasks).await?;
    let peers = PeerLinks::new(&served.peers(link.cluster().lineage)?, identity)?;
    let ports = Ports {
        broker: Arc::<causeway_link::Client>::clone(&link),
        overview: Arc::<causeway_link::Client>::clone(&link),
        members: link,
        peers,
        lookup: None,
        member,
        clock: Arc::new(SystemClock),
    };
    let overview = Arc::clone(&ports.overview);
    let reach = Reach { listeners, settings: served.server()?, broker: None };
    let running = causeway_gateway::serve(ports, reach, &configuration.gateway(), process).await?;
    configuration.mqtt.bind = running.mqtt().to_vec();
    let (context, map) = (Arc::clone(running.context()), running.membership().map());
    api.serve(Serving { name, context, overview, map });
    process.health.started();
    Ok(running)
}

/// Tells a person, and a script, where everything is. The last line is `ready`, once a run.
#[expect(clippy::print_stdout, reason = "this is the program's output, not its log")]
fn announce(configuration: &Configuration, running: &Running) -> Result<()> {
    let brokers = configuration.link.brokers.join(", ");
    println!("causeway-gateway {} {} before {brokers}", env!("CARGO_PKG_VERSION"), configuration.name());
    for address in running.mqtt() {
        println!("mqtt  {address}");
    }
    println!("admin http://{}", configuration.admin.bind);
    for address in &configuration.link.bind {
        println!("link  {address}");
    }
    println!("ready");
    std::io::stdout().flush()?;
    Ok(())
}
