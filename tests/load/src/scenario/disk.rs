//! What the disk itself takes to make a small write durable: the floor under every acknowledgement.
//!
//! Written in order over a file that was filled with zeros and synced, as a log with segments made ahead does it; on a
//! growing file a sync also writes metadata, and takes about twice as long.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::time::Instant;

use crate::args::Disk;
use crate::latency::Latency;
use crate::report::Figure;

/// Bytes of the file; when its end is reached, writing goes on at its start.
const FILE: u64 = 64 << 20;

/// "write 4096 B + fdatasync, zero-filled file".
pub(crate) fn title(args: &Disk) -> String {
    format!("write {} B + fdatasync, zero-filled file", args.size)
}

/// Quantiles of one write made durable.
///
/// It blocks, which is why nothing else runs beside it.
#[expect(clippy::unused_async, reason = "scenarios are run alike")]
pub(crate) async fn run(args: &Disk) -> Result<Vec<Figure>> {
    let path = args.dir.join(format!(".causeway-load-{}", std::process::id()));
    let measured = measure(args, &path).with_context(|| format!("{}", path.display()));
    remove(&path);
    measured
}

fn measure(args: &Disk, path: &Path) -> Result<Vec<Figure>> {
    let file = zero_filled(path)?;
    let mut latency = Latency::new()?;
    let block = vec![0xA5; usize::try_from(args.size)?];
    let slots = FILE / u64::from(args.size);
    let start = Instant::now();
    let mut writes = 0;
    while start.elapsed() < args.seconds {
        let before = Instant::now();
        file.write_all_at(&block, writes % slots * u64::from(args.size)).context("writing")?;
        file.sync_data().context("fdatasync")?;
        latency.record(before.elapsed());
        writes += 1;
    }
    let mut figures = vec![Figure::rate("synced", writes, start.elapsed())];
    figures.extend(Figure::quantiles("", &latency));
    Ok(figures)
}

fn zero_filled(path: &Path) -> Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).context("creating the file")?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..FILE >> 20 {
        file.write_all(&zeros).context("filling the file")?;
    }
    file.sync_all().context("syncing the file")?;
    Ok(file)
}

#[expect(clippy::disallowed_methods, reason = "a scratch file of this tool, in no data directory's format")]
fn remove(path: &Path) {
    // Nothing depends on it being gone, and the run has its result.
    let _ = std::fs::remove_file(path);
}
