//! A broker as a process of its own: started on ports that the system picks, killed without mercy.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running `causeway-broker`. Killed when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where MQTT clients connect.
    pub mqtt: SocketAddr,
    /// Where the admin HTTP answers.
    pub admin: SocketAddr,
}

/// The broker's binary, built beside this test.
pub fn binary() -> Result<PathBuf> {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test binary has a profile directory")?;
    let binary = profile.join("causeway-broker");
    if !binary.try_exists()? {
        bail!("{} is missing: run `cargo build -p causeway-broker` first, or `make test`", binary.display());
    }
    Ok(binary)
}

impl Broker {
    /// Starts a broker on this data directory and waits until it says that it is ready.
    pub fn start(data: &Path) -> Result<Self> {
        Self::start_with(data, &[])
    }

    /// The same with further arguments.
    pub fn start_with(data: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary()?)
            .arg("--data")
            .arg(data)
            .args(["--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--link", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut stderr = child.stderr.take().context("stderr is piped")?;
        // The pipe must be drained or the broker would block on it; what it said is shown when it fails.
        let log = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut lines = BufReader::new(stdout).lines();
        let (mut mqtt, mut admin) = (None, None);
        for line in &mut lines {
            let line = line?;
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("mqtt"), Some(address)) => mqtt = Some(address.parse()?),
                (Some("admin"), Some(url)) => admin = Some(url.trim_start_matches("http://").parse()?),
                (Some("ready"), _) => break,
                _ => {}
            }
        }
        let (Some(mqtt), Some(admin)) = (mqtt, admin) else {
            let status = child.wait()?;
            bail!("the broker did not come up: {status}\n{}", log.join().unwrap_or_default());
        };
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, mqtt, admin })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !status.success() {
            bail!("kill -TERM: {status}");
        }
        Ok(self.child.wait()?)
    }

    /// Waits for an end that it comes to by itself, for a minute.
    pub fn wait(mut self) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > Duration::from_mins(1) {
                bail!("the process {} did not end within a minute", self.child.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// GET on the admin port: status code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(self.admin)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
        let code = head.split_whitespace().nth(1).context("a status line has a code")?.parse()?;
        Ok((code, body.to_owned()))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
