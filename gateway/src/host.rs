//! What processes that host a gateway do alike: their log, and what ends them.

use std::io::{self, IsTerminal};

use causeway_compute::process::Process;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Logs to standard error what `directives` name: a level, or a list such as `info,causeway_mqtt=debug`.
///
/// # Errors
/// They cannot be read.
pub fn log(directives: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(directives)?;
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(io::stderr).init();
    Ok(())
}

/// What is wrong with the directives of [`log`]; empty if nothing is.
pub fn check_log(directives: &str) -> Vec<String> {
    let problem = EnvFilter::try_new(directives).err().map(|error| format!("log: {error}"));
    problem.into_iter().collect()
}

/// The signals that ask a process to end: SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them from here on. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The system does not let it.
    pub fn catch() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Resolves when one came; cancel safe.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Resolves when a process is to end: `None` in good order, because of a signal or because somebody began its drain;
/// else the failure of a task that it cannot do without. Cancel safe.
pub async fn ending(signals: &mut Signals, process: &Process) -> Option<String> {
    let mut failure = process.tasks.failure();
    tokio::select! {
        () = signals.asked() => None,
        () = process.drain.begun() => None,
        Ok(failure) = failure.wait_for(Option::is_some) => failure.as_ref().map(ToString::to_string),
    }
}
