//! What a message costs in the tables, whether its topic is one of ten or one of a million, and what a restart costs.
//!
//! `cargo bench -p causeway-index --bench topics [-- MESSAGES [MEMTABLE_KIB]]` (a million, and the default). Each line is a process of its
//! own, which writes one entry row a message and the applied mark a batch, and then aborts; this one opens what is left.
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::process::{self, Command};
use std::time::Instant;

use anyhow::{Context as _, Result};
use causeway_apply::{Durable as _, Mutations, Tables as _};
use causeway_index::{Db, Settings};

mod support;
use support::{mix, processor, put_entry, put_mark, queue, read};

/// Bytes of log a message takes.
const STRIDE: u64 = 300;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [role, directory, numbers @ ..] = args.as_slice()
        && role == "write"
    {
        let numbers = numbers.iter().map(|number| number.parse()).collect::<Result<Vec<u64>, _>>()?;
        let [messages, topics, batch, memtable] = numbers[..] else { anyhow::bail!("four numbers") };
        return write(Path::new(directory), messages, topics, batch, memtable);
    }
    let messages: u64 = args.first().map_or(Ok(1_000_000), |arg| arg.parse())?;
    let default = Settings::default().memtable_bytes as u64;
    let memtable: u64 = args.get(1).map_or(Ok(default), |arg| arg.parse().map(|kib: u64| kib << 10))?;
    println!(
        "   topics  batch | µs/batch  µs/msg  writer cpu  all cpu | RSS before +grown +peak | unflushed | kill ms | flushed ms | MiB"
    );
    for batch in [20, 64, 256] {
        for topics in [10, messages] {
            line(messages, topics, batch, memtable)?;
        }
    }
    Ok(())
}

fn settings(memtable: u64) -> Result<Settings> {
    Ok(Settings { memtable_bytes: usize::try_from(memtable)?, ..Settings::default() })
}

fn line(messages: u64, topics: u64, batch: u64, memtable: u64) -> Result<()> {
    let home = tempfile::tempdir()?;
    print!("{topics:>9} {batch:>6} | ");
    std::io::Write::flush(&mut std::io::stdout())?;
    let settings = settings(memtable)?;
    let arguments = [messages, topics, batch, memtable].map(|number| number.to_string());
    // It ends in an abort, so there is no status to check: what it left is.
    Command::new(std::env::current_exe()?).arg("write").arg(home.path()).args(arguments).status()?;
    let start = Instant::now();
    let db = Db::open(home.path(), &settings).context("open after the kill")?;
    let killed = start.elapsed();
    let lost = messages - db.applied()?.0 / STRIDE;
    // As the replay would.
    fill(&db, messages - lost, messages, topics, batch)?;
    db.flush()?;
    drop(db);
    let start = Instant::now();
    let db = Db::open(home.path(), &settings)?;
    let flushed = start.elapsed();
    anyhow::ensure!(db.applied()?.0 == messages * STRIDE, "rows are missing");
    let mib = db.usage().file_bytes as f64 / 1_048_576.0;
    println!("| {lost:>9} | {:>7.0} | {:>10.0} | {mib:.1}", killed.as_secs_f64() * 1e3, flushed.as_secs_f64() * 1e3);
    Ok(())
}

fn write(directory: &Path, messages: u64, topics: u64, batch: u64, memtable: u64) -> Result<()> {
    let db = Db::open(directory, &settings(memtable)?)?;
    let (before, _) = resident();
    let (start, (thread, process)) = (Instant::now(), processor());
    fill(&db, 0, messages, topics, batch)?;
    let (wall, (thread_end, process_end)) = (start.elapsed(), processor());
    let (after, peak) = resident();
    let per = |seconds: f64| seconds * 1e6 / messages as f64;
    print!(
        "{:>8.1} {:>7.2} {:>11.2} {:>8.2} | {before:>10.0} {:>+6.0} {:>+5.0} ",
        per(wall.as_secs_f64()) * batch as f64,
        per(wall.as_secs_f64()),
        per(thread_end - thread),
        per(process_end - process),
        after - before,
        peak - before,
    );
    std::io::Write::flush(&mut std::io::stdout())?;
    process::abort()
}

fn fill(db: &Db, from: u64, upto: u64, topics: u64, batch: u64) -> Result<()> {
    let mut mutations = Mutations::new();
    for start in (from..upto).step_by(usize::try_from(batch)?) {
        let end = (start + batch).min(upto);
        mutations.clear();
        // A million messages to a million topics: each once, in no order. To ten: any.
        let topic = |number: u64| if topics == upto { number } else { mix(number) % topics };
        (start..end).for_each(|number| put_entry(&mut mutations, queue(topic(number)), number * STRIDE));
        put_mark(&mut mutations, start / batch, end * STRIDE);
        db.write(&mutations)?;
    }
    Ok(())
}

/// MiB in memory now, and the most there ever were.
fn resident() -> (f64, f64) {
    let status = read("/proc/self/status");
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (of("VmRSS:"), of("VmHWM:"))
}
