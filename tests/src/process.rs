//! A broker with every protocol on, as a process of its own: what most tests need.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::Result;

use crate::daemon::{self, Daemon};

/// A running `causeway-broker`. Killed when dropped.
#[derive(Debug)]
pub struct Broker {
    daemon: Daemon,
    /// Where MQTT clients connect.
    pub mqtt: SocketAddr,
    /// Where the admin HTTP answers.
    pub admin: SocketAddr,
}

/// The broker's binary, built beside this test.
pub fn binary() -> Result<PathBuf> {
    daemon::binary("causeway-broker")
}

impl Broker {
    /// Starts a broker on this data directory and waits until it says that it is ready.
    pub fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same with further arguments.
    pub fn start_with(data: &Path, arguments: &[&str]) -> Result<Self> {
        let place = ["--data".as_ref(), data.as_os_str()];
        let ports = ["--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--link", "127.0.0.1:0"];
        let flags = ports.iter().chain(arguments).map(AsRef::as_ref);
        let daemon = Daemon::start("causeway-broker", place.into_iter().chain(flags))?;
        Ok(Self { mqtt: daemon.mqtt()?, admin: daemon.admin()?, daemon })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(self) -> Result<()> {
        self.daemon.kill()
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(self) -> Result<ExitStatus> {
        self.daemon.terminate()
    }

    /// Waits for an end that it comes to by itself.
    pub fn wait(self) -> Result<ExitStatus> {
        self.daemon.wait()
    }

    /// GET on the admin port: status code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.daemon.get(path)
    }
}
