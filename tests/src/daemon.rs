//! A process of ours: started on ports that the system picks, stopped, continued and killed without mercy.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a process says on stdout until it is ready, and again with every run of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Where MQTT clients connect.
    pub mqtt: Option<SocketAddr>,
    /// Where the admin HTTP answers.
    pub admin: Option<SocketAddr>,
    /// Where gateways connect.
    pub link: Option<SocketAddr>,
}

/// A running binary. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// What it said when it was ready.
    pub ready: Ready,
    later: Receiver<Ready>,
    log: Arc<Mutex<String>>,
}

/// A binary of ours, built beside this test.
pub fn binary(name: &str) -> Result<PathBuf> {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test binary has a profile directory")?;
    let binary = profile.join(name);
    if !binary.try_exists()? {
        bail!("{} is missing: run `cargo build -p {name}` first, or `make test`", binary.display());
    }
    Ok(binary)
}

impl Daemon {
    /// Starts `causeway-…` and waits until it says that it is ready.
    pub fn start<A: AsRef<std::ffi::OsStr>>(name: &str, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut command = Command::new(binary(name)?);
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let log = Arc::new(Mutex::new(String::new()));
        let text = Arc::clone(&log);
        // The pipes must be drained or the process would block on them; what it said is shown when it fails.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Ok(mut text) = text.lock() {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        });
        let mut lines = BufReader::new(stdout).lines();
        let Some(ready) = ready(&mut lines) else {
            let status = child.wait()?;
            let log = log.lock().map(|text| text.clone()).unwrap_or_default();
            bail!("{name} did not come up: {status}\n{log}");
        };
        let (out, later) = sync_channel(16);
        std::thread::spawn(move || {
            while let Some(ready) = self::ready(&mut lines) {
                let _ = out.try_send(ready);
            }
        });
        Ok(Self { child, ready, later, log })
    }

    /// Where MQTT clients connect.
    pub fn mqtt(&self) -> Result<SocketAddr> {
        self.ready.mqtt.context("this process serves no MQTT")
    }

    /// Where the admin HTTP answers.
    pub fn admin(&self) -> Result<SocketAddr> {
        self.ready.admin.context("this process has no admin HTTP")
    }

    /// Where gateways connect.
    pub fn link(&self) -> Result<SocketAddr> {
        self.ready.link.context("this process serves no link")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().map(|text| text.clone()).unwrap_or_default()
    }

    /// Waits, for a minute, until it is ready again: a gateway that begins a new run.
    pub fn ready_again(&self) -> Result<Ready> {
        self.later.recv_timeout(Duration::from_mins(1)).with_context(|| format!("not ready again\n{}", self.log()))
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end, for a minute.
    pub fn terminate(self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Waits for an end that it comes to by itself, for a minute.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > Duration::from_mins(1) {
                bail!("process {} did not end within a minute\n{}", self.pid(), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status()?;
        if !status.success() {
            bail!("kill -{name}: {status}");
        }
        Ok(())
    }

    /// GET on the admin port: status code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        self.ask("GET", path)
    }

    /// A request without a body on the admin port: status code and body of the answer.
    pub fn ask(&self, method: &str, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(self.admin()?)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
        let code = head.split_whitespace().nth(1).context("a status line has a code")?.parse()?;
        Ok((code, body.to_owned()))
    }

    /// A counter or gauge of its metrics, summed over its labels; zero if it has none of that name.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let (code, body) = self.get("/metrics")?;
        if code != 200 {
            bail!("/metrics: {code}: {body}");
        }
        let values = body.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        values.map(|line| Ok(line.rsplit(' ').next().unwrap_or_default().parse::<f64>()?)).sum()
    }
}

/// The lines of one run up to `ready`; `None` where the output ends before.
fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> Option<Ready> {
    let mut ready = Ready::default();
    loop {
        let line = lines.next()?.ok()?;
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("mqtt"), Some(address)) => ready.mqtt = address.parse().ok(),
            (Some("admin"), Some(url)) => ready.admin = url.trim_start_matches("http://").parse().ok(),
            (Some("link"), Some(address)) => ready.link = address.parse().ok(),
            (Some("ready"), _) => return Some(ready),
            _ => {}
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
