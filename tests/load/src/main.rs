//! `causeway-load`: one load tool for any MQTT broker, so that figures of different brokers can be compared.
//!
//! ```text
//!  args ─► scenario ─► publishers ──► broker ──► subscribers ─► tallies ─► report ─► a line, a JSON line
//!                        window, template           sequence, latency          └► table: many reports side by side
//!          probe: the server's CPU and memory from /proc, and this tool's own
//! ```
//!
//! - **Closed loop.** A publisher has at most a window of messages in flight and sends the next when one completes. So
//!   no broker is measured while it only piles up what it has not done, and rate × latency = window.
//! - **The tool says what it cost.** Its CPU stands beside the server's; on a shared machine they compete, so compare
//!   brokers within one run only.
//! - **A message carries its time and number**, so that latency is end to end and loss and order are seen.
//!
//! Refused: open-loop rates and several machines (the clock is this process's own).

mod args;
mod backlog;
mod connection;
mod latency;
mod message;
mod process;
mod publisher;
mod report;
mod run;
mod scenario;
mod sequence;
mod subscriber;
mod table;
mod window;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    match start(Args::parse().command) {
        Ok(text) => {
            // A closed pipe (`| head`) is the reader's choice, not an error of the run.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("causeway-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command and gives the text to print.
fn start(command: Command) -> Result<String> {
    // Two workers as in every run that was written down: publishers and subscribers, and nothing left idle.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(dispatch(command))
}

/// A scenario's title and outcome, handed to where its report goes.
macro_rules! report {
    ($scenario:ident, $args:ident) => {
        $args.output.write(scenario::$scenario::title(&$args), scenario::$scenario::run(&$args).await)
    };
}

async fn dispatch(command: Command) -> Result<String> {
    match command {
        Command::P2p(args) => report!(p2p, args),
        Command::Publish(args) => report!(publish, args),
        Command::Fanout(args) => report!(fanout, args),
        Command::Connect(args) => report!(connect, args),
        Command::Topics(args) => report!(topics, args),
        Command::Durable(args) => report!(durable, args),
        Command::Drain(args) => report!(drain, args),
        Command::Wait(args) => report!(wait, args),
        Command::Disk(args) => report!(disk, args),
        Command::Table(args) => table::run(&args),
    }
}
