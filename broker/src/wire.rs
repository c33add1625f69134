//! The whole graph, in dependency order, in one function: what a broker process is made of.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use causeway_compute::admin::Admin;
use causeway_compute::port::{Broker, Map, Overview};
use causeway_compute::process::Process;
use causeway_gateway::api::{Api, Host, ProcessKind, Serving};
use causeway_gateway::{Ports, Running, Settings as Gateway};
use causeway_index::Db;
use causeway_local::Local;
use causeway_model::{Incarnation, SystemClock, Text};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::listing::Lister;
use crate::numbers;
use crate::open::{self, Opened};
use crate::settings::Settings;

/// Serves until a signal asks for the end or something fails that the process cannot go on without.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let incarnation = Incarnation(rand::random());
    let Opened { started, lock } = open::open(settings, Some(incarnation))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start a runtime")?;
    let end = runtime.block_on(serve(settings, &started.local, incarnation));
    // Connections first, the log last: what clients were told is on disk before the lock is free.
    runtime.shutdown_timeout(Duration::from_secs(1));
    started.stopper.stop();
    drop(lock);
    end
}

async fn serve(settings: &Settings, local: &Arc<Local<Db>>, incarnation: Incarnation) -> Result<()> {
    // Caught before anything is told to clients, so that a signal never finds the default handler.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let process = Process::new(prometheus::Registry::new())?;
    numbers::register(&process.registry, local)?;

    let admin = Admin::bind(&settings.admin)?;
    let admin_address = admin.address();
    let api = Api::new(Host {
        kind: ProcessKind::Broker,
        version: env!("CARGO_PKG_VERSION"),
        process: process.clone(),
        listing: Some(Arc::new(Lister(Arc::clone(local)))),
    });
    admin.serve(&process, api.routes());

    // Bodies are shared with the log's tail in this process's memory; what is cached is their decoding.
    let gateway = Gateway { mqtt: settings.mqtt.clone(), drain: settings.drain.clone(), ..Gateway::default() };
    let broker: Arc<dyn Broker> = Arc::clone(local) as Arc<dyn Broker>;
    let ports = Ports { broker, incarnation, clock: Arc::new(SystemClock) };
    let running = causeway_gateway::serve(ports, &gateway, &process)?;
    process.health.started();
    api.serve(Serving {
        name: Text::from("broker"),
        context: Arc::clone(running.context()),
        overview: Arc::clone(local) as Arc<dyn Overview>,
        map: watch::Sender::new(Arc::new(Map::default())).subscribe(),
    });
    announce(settings, local, &running, admin_address)?;

    let mut failure = process.tasks.failure();
    let failed = tokio::select! {
        // Somebody asked for it over admin HTTP.
        () = process.drain.begun() => None,
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        error = local.failed() => Some(error.to_string()),
        Ok(failure) = failure.wait_for(Option::is_some) => failure.as_ref().map(ToString::to_string),
    };
    if let Some(failed) = &failed {
        tracing::error!(failed, "cannot go on");
    } else {
        tracing::info!("draining");
    }
    process.finish(settings.drain.deadline).await;
    match failed {
        Some(failed) => bail!("{failed}"),
        None => Ok(()),
    }
}

/// Tells a person, and a script, where everything is. The last line starts with `ready`.
#[expect(clippy::print_stdout, reason = "this is the program's output, not its log")]
fn announce(settings: &Settings, local: &Arc<Local<Db>>, running: &Running, admin: std::net::SocketAddr) -> Result<()> {
    println!("causeway-broker {} on {}", env!("CARGO_PKG_VERSION"), settings.data.display());
    for address in running.mqtt() {
        println!("mqtt  {address}");
    }
    println!("admin http://{admin}");
    println!("log   lineage {}", local.cluster().lineage);
    if let Some(port) = running.mqtt().first().map(std::net::SocketAddr::port) {
        println!("try   mosquitto_sub -p {port} -t 'plant/+/temp' -q 1 -c -i dash &");
        println!("      mosquitto_pub -p {port} -t plant/7/temp -q 1 -m 21.5");
        println!("      causeway-broker queue read 'plant/7/temp' --admin {admin}");
    }
    println!("ready");
    std::io::stdout().flush()?;
    Ok(())
}
