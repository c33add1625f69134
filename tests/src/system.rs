//! A broker without protocols and gateways before it, each a process; whatever dies comes back on its old addresses. Of
//! the gateways every second one hears of the queues that it wants only, so that both ways are under every test.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::daemon::Daemon;

/// The whole system. Killed when dropped.
#[derive(Debug)]
pub struct System {
    directory: TempDir,
    lease: &'static str,
    link: SocketAddr,
    broker: Option<Daemon>,
    gateways: Vec<Place>,
}

/// A gateway, or the place where it was.
#[derive(Debug)]
struct Place {
    name: String,
    mqtt: SocketAddr,
    process: Option<Daemon>,
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

impl System {
    /// A new broker and so many gateways, with this lease.
    pub fn start(gateways: usize, lease: &'static str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut system = Self { directory, lease, link: NOWHERE, broker: None, gateways: Vec::new() };
        system.start_broker()?;
        for number in 0..gateways {
            let name = format!("gw-{}", char::from(b'a' + u8::try_from(number)?));
            system.gateways.push(Place { name, mqtt: NOWHERE, process: None });
            system.start_gateway(number)?;
        }
        Ok(system)
    }

    /// Starts the broker where it was.
    pub fn start_broker(&mut self) -> Result<()> {
        let config = self.directory.path().join("broker.toml");
        let data = self.directory.path().join("data");
        let text = format!(
            "data = \"{}\"\n[mqtt]\nbind = []\n[admin]\nbind = \"127.0.0.1:0\"\n[link]\nbind = \"{}\"\n[gateways]\nlease = \"{}\"\n",
            data.display(),
            self.link,
            self.lease
        );
        std::fs::write(&config, text)?;
        let broker = Daemon::start("causeway-broker", ["--config".as_ref(), config.as_os_str()])?;
        self.link = broker.link()?;
        self.broker = Some(broker);
        Ok(())
    }

    /// Starts a gateway where it was.
    pub fn start_gateway(&mut self, number: usize) -> Result<()> {
        let link = self.link.to_string();
        let place = self.gateways.get_mut(number).context("no such gateway")?;
        let config = self.directory.path().join(format!("{}.toml", place.name));
        let delivery = if number.is_multiple_of(2) { "broadcast" } else { "precise" };
        std::fs::write(&config, format!("[link]\ndelivery = \"{delivery}\"\n"))?;
        let (config, mqtt) = (config.display().to_string(), place.mqtt.to_string());
        let flags = ["--config", &config, "--broker", &link, "--mqtt", &mqtt];
        let flags = flags.into_iter().chain(["--admin", "127.0.0.1:0", "--name", &place.name]);
        let gateway = Daemon::start("causeway-gateway", flags)?;
        place.mqtt = gateway.mqtt()?;
        place.process = Some(gateway);
        Ok(())
    }

    /// The broker; an error while it is dead.
    pub fn broker(&self) -> Result<&Daemon> {
        self.broker.as_ref().context("the broker is dead")
    }

    /// A gateway; an error while it is dead.
    pub fn gateway(&self, number: usize) -> Result<&Daemon> {
        self.gateways.get(number).and_then(|place| place.process.as_ref()).context("the gateway is dead")
    }

    /// Where each gateway serves MQTT, dead or alive.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(|place| place.mqtt).collect()
    }

    /// Takes the broker out, to be killed.
    pub fn take_broker(&mut self) -> Result<Daemon> {
        self.broker.take().context("the broker is dead")
    }

    /// Takes a gateway out, to be killed.
    pub fn take_gateway(&mut self, number: usize) -> Result<Daemon> {
        self.gateways.get_mut(number).and_then(|place| place.process.take()).context("the gateway is dead")
    }
}
