//! The broker's binary: reads the command line, then serves or runs one tool.

mod args;
mod listing;
mod numbers;
mod open;
mod settings;
mod tool;
mod wire;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use args::{Cli, IndexTool, LogTool, Place, QueueTool, Serve, Tool};
use causeway_compute::admin::Token;
use causeway_gateway::{config, host};
use causeway_model::Position;
use clap::Parser;
use settings::Settings;
use tool::{index, inspect, queue};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The chain of causes and no stack: what went wrong is the operator's to mend.
        Err(error) => {
            let _ = writeln!(io::stderr(), "causeway-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.tool {
        None => serve(&cli.serve),
        Some(tool) => {
            // A rebuild may take long and says how far it is; the others only look.
            host::log(if matches!(tool, Tool::Index(_)) { "info" } else { "warn" })?;
            match run_tool(tool, &mut io::stdout().lock()) {
                // Somebody read enough: `… | head`.
                Err(e) if e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
                    Ok(())
                }
                end => end,
            }
        }
    }
}

fn serve(args: &Serve) -> Result<()> {
    let settings = args.settings()?;
    if args.print_config {
        write!(io::stdout(), "{}", config::print(&settings)?)?;
        return Ok(());
    }
    if args.check {
        return Ok(());
    }
    host::log(&settings.log).with_context(|| format!("log: {:?}", settings.log))?;
    wire::run(&settings)
}

fn run_tool(tool: Tool, out: &mut dyn Write) -> Result<()> {
    match tool {
        Tool::Log(LogTool::Inspect { data, from, batches, records }) => {
            inspect::run(&data, &inspect::View { from: Position(from), batches, records }, out)
        }
        Tool::Queue(QueueTool::Read { filter, namespace, after, limit, place }) => {
            queue::read(&source(place)?, &queue::Ask { namespace, filter, after, limit }, out)
        }
        Tool::Queue(QueueTool::List { scan, place }) => queue::list(&source(place)?, scan, out),
        Tool::Index(IndexTool::Rebuild { data }) => index::rebuild(&of(data), out),
    }
}

fn source(place: Place) -> Result<queue::Source> {
    let Place { admin, token_file, data } = place;
    if let Some(data) = data {
        return Ok(queue::Source::Data(Box::new(of(data))));
    }
    let token = token_file.map(|file| Token::read(&file).with_context(|| file.display().to_string())).transpose()?;
    Ok(queue::Source::Admin { at: admin, token })
}

fn of(data: PathBuf) -> Settings {
    Settings { data, ..Settings::default() }
}
