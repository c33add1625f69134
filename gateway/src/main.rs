//! The gateway's binary: reads the command line and serves over brokers elsewhere.

mod args;
mod configuration;
mod run;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use args::Cli;
use causeway_gateway::{config, host};
use clap::Parser;

fn main() -> ExitCode {
    match serve(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The chain of causes and no stack: what went wrong is the operator's to mend.
        Err(error) => {
            let _ = writeln!(io::stderr(), "causeway-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(cli: &Cli) -> Result<()> {
    let configuration = cli.configuration()?;
    if cli.print_config {
        write!(io::stdout(), "{}", config::print(&configuration)?)?;
        return Ok(());
    }
    if cli.check {
        return Ok(());
    }
    host::log(&configuration.log)?;
    run::run(configuration)
}
