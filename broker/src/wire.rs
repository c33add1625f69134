//! The whole graph, in dependency order, in one function: what a broker process is made of.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use causeway_compute::admin::Admin;
use causeway_compute::listener::Listener;
use causeway_compute::members::Registrar;
use causeway_compute::port::{Broker, Member, Members, Overview};
use causeway_compute::process::Process;
use causeway_gateway::api::{Api, Host, ProcessKind, Serving};
use causeway_gateway::host::{Signals, ending};
use causeway_gateway::{Ports, Reach, Running, Settings as Gateway};
use causeway_index::Db;
use causeway_link::{BrokerServices, Identity, PeerLinks};
use causeway_local::Local;
use causeway_model::{Incarnation, SystemClock, Text};

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
    let mut signals = Signals::catch()?;
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

    let hosted = tokio::select! {
        biased;
        failed = ending(&mut signals, &process) => {
            process.finish(Duration::ZERO).await;
            return failed.map_or(Ok(()), |failed| bail!("{failed}"));
        }
        hosted = host(settings, local, incarnation, &process, &api) => hosted?,
    };
    announce(settings, local, &hosted, admin_address)?;

    let failed = tokio::select! {
        failed = ending(&mut signals, &process) => failed,
        error = local.failed() => Some(error.to_string()),
        // By this process's own registrar: nothing but a restart makes sense of that.
        () = hosted.running.fenced() => Some("the hosted gateway was declared lost".to_owned()),
    };
    if let Some(failed) = &failed {
        tracing::error!(failed, "cannot go on");
    } else {
        tracing::info!("draining");
    }
    hosted.running.finish(&process, settings.drain.deadline).await;
    failed.map_or(Ok(()), |failed| bail!("{failed}"))
}

/// The gateway that this process hosts, and where gateways elsewhere reach the broker.
struct Hosted {
    running: Running,
    link: Vec<SocketAddr>,
}

/// Leases, the link for gateways elsewhere, and the hosted gateway: one of them, whatever it serves.
async fn host(
    settings: &Settings,
    local: &Arc<Local<Db>>,
    incarnation: Incarnation,
    process: &Process,
    api: &Api,
) -> Result<Hosted> {
    let broker: Arc<dyn Broker> = Arc::<Local<Db>>::clone(local);
    let overview: Arc<dyn Overview> = Arc::<Local<Db>>::clone(local);
    let metrics = process.metrics.members.clone();
    let (data, people) = (Arc::clone(&broker), Arc::clone(&overview));
    let registrar = Registrar::start(data, people, settings.gateways.lease, metrics, &process.tasks).await?;
    let bind = settings.link.bind.iter().copied().map(Listener::bind);
    let listeners = bind.collect::<Result<Vec<_>, _>>()?;
    let link: Vec<_> = listeners.iter().map(Listener::address).collect();

    let members: Arc<dyn Members> = registrar;
    let services =
        BrokerServices { broker: Arc::clone(&broker), overview: Arc::clone(&overview), members: Arc::clone(&members) };
    let reach = Reach { listeners, settings: settings.link.server()?, broker: Some(services) };
    let name = Text::from("broker");
    let member = Member { incarnation, name: name.clone(), address: settings.link.address(&link) };
    let identity = Identity { name: name.clone(), incarnation };
    let peers = PeerLinks::new(&settings.link.peers(broker.cluster().lineage)?, identity)?;
    let clock = Arc::new(SystemClock);
    let ports = Ports { broker, overview: Arc::clone(&overview), members, peers, lookup: None, member, clock };
    // Bodies are shared with the log's tail in this process's memory; what is cached is their decoding.
    let gateway = Gateway {
        mqtt: settings.mqtt.clone(),
        drain: settings.drain.clone(),
        lookup: settings.lookup.clone(),
        ..Gateway::default()
    };
    let running = causeway_gateway::serve(ports, reach, &gateway, process).await?;
    let (context, map) = (Arc::clone(running.context()), running.membership().map());
    api.serve(Serving { name, context, overview, map });
    process.health.started();
    Ok(Hosted { running, link })
}

/// Tells a person, and a script, where everything is. The last line starts with `ready`.
#[expect(clippy::print_stdout, reason = "this is the program's output, not its log")]
fn announce(settings: &Settings, local: &Arc<Local<Db>>, hosted: &Hosted, admin: SocketAddr) -> Result<()> {
    let Hosted { running, link } = hosted;
    println!("causeway-broker {} on {}", env!("CARGO_PKG_VERSION"), settings.data.display());
    for address in running.mqtt() {
        println!("mqtt  {address}");
    }
    println!("admin http://{admin}");
    for address in link {
        println!("link  {address}");
    }
    println!("log   lineage {}", local.cluster().lineage);
    if let Some(port) = running.mqtt().first().map(SocketAddr::port) {
        println!("try   mosquitto_sub -p {port} -t 'plant/+/temp' -q 1 -c -i dash &");
        println!("      mosquitto_pub -p {port} -t plant/7/temp -q 1 -m 21.5");
        println!("      causeway-broker queue read 'plant/7/temp' --admin {admin}");
    }
    println!("ready");
    std::io::stdout().flush()?;
    Ok(())
}
