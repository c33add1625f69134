//! A Redis of this test alone.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use causeway_compute::port::{Lookup, SlotSet, Whereabout};
use causeway_model::{Epoch, Incarnation, Lineage, Position, QueueId};
use causeway_redis::{Redis, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) struct Server {
    directory: TempDir,
    process: Option<Child>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let mut this = Self { directory: TempDir::new().unwrap(), process: None };
        this.restart().await;
        this
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Starts it, empty, and returns once it accepts connections.
    pub(crate) async fn restart(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--unixsocket").arg(self.socket()).arg("--dir").arg(self.directory.path());
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.expect("redis-server is there: scripts/setup.sh installs it");
        let output = BufReader::new(process.stdout.take().unwrap());
        self.process = Some(process);
        let ready = tokio::task::spawn_blocking(move || {
            let mut lines = output.lines();
            let ready =
                lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready to accept connections at"));
            // Read on, so that it is never held up by a full pipe; it ends with the process.
            std::thread::spawn(move || lines.for_each(drop));
            ready
        });
        assert!(tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap(), "it ended instead");
    }

    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        // What kill -9 leaves behind; a new server replaces it.
    }

    /// Stops it from doing anything, and lets it go on.
    pub(crate) fn pause(&self, paused: bool) {
        let id = self.process.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, if paused { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        // A machine that is busy with other tests is no Redis that is away.
        let deadline = Duration::from_secs(5);
        Settings { deadline, ..Settings::of(format!("unix://{}", self.socket().display())) }
    }

    pub(crate) fn lookup(&self) -> Redis {
        Redis::new(self.settings(), LINEAGE).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

pub(crate) const LINEAGE: Lineage = Lineage(0x1ea6);

pub(crate) fn entry(number: u8, epoch: u64) -> Whereabout {
    Whereabout { client: QueueId([number; 16]), gateway: Incarnation(7), epoch: Epoch(Position(epoch)) }
}

/// What a lookup says of one client.
pub(crate) async fn find(lookup: &Redis, number: u8) -> Option<Whereabout> {
    lookup.find(vec![entry(number, 0).client]).await[0]
}

/// Tries until something holds. It is Redis that decides when, and it cannot be waited for otherwise.
pub(crate) async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), tries).await.unwrap()
}

/// Puts until it is kept: the slots that are to be put again then.
pub(crate) async fn put(lookup: &Redis, entry: Whereabout) -> SlotSet {
    until(async || {
        let again = lookup.put(vec![entry]).await;
        find(lookup, entry.client.0[0]).await.map(|_| again)
    })
    .await
}
