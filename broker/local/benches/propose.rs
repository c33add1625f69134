//! From a proposal to its reply: latency with one call in flight, and messages a second, on a disk and in memory.
//!
//! `cargo bench -p causeway-local [-- DIR]`: the log lies in a temporary directory below DIR. Tables are in memory in
//! either case: what they cost is the index's own bench. The first line is the floor: one 4 KiB write and fdatasync.
//! With one call in flight, "beside the disk" is what is left of its latency without the writes and syncs it waited for:
//! it hardly depends on what else the machine's disk is doing.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints what it measured, or fails")]

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use causeway_apply::Twin;
use causeway_compute::port::{Broker, Command};
use causeway_local::{Birth, Local, LocalOptions, Started, memory, start};
use causeway_model::{
    ClientId, HashKey, Incarnation, Lineage, Message, Millis, Namespace, Properties, Publisher, Qos, ShardId,
    SystemClock, Topic,
};
use causeway_storage::io::{Disk, Entry, File, Fs, Lock, Mode, Space};
use causeway_storage::{Ahead, Sim};
use hdrhistogram::Histogram;
use tokio::time::Instant;

const BODY: usize = 256;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    let below = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let dir = tempfile::tempdir_in(below.unwrap_or_else(|| ".".into())).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let disk: Arc<dyn Fs> = Arc::new(Disk);
    floor(&*disk, dir.path());
    for (name, fs, path) in [
        ("disk", disk, dir.path().to_owned()),
        ("memory", Arc::new(Sim::new(1)) as Arc<dyn Fs>, PathBuf::from("/bench")),
    ] {
        let spent = Arc::new(AtomicU64::new(0));
        let Started { local, stopper } = shard(Arc::new(Timed { fs, spent: Arc::clone(&spent) }), &path);
        for (proposers, messages) in [(1, 1), (1, 20), (10, 20), (10, 1), (100, 1)] {
            // Each run measures the same shard, with a longer log.
            runtime.block_on(run(name, &local, &spent, proposers, messages));
        }
        stopper.stop();
    }
}

fn floor(fs: &dyn Fs, dir: &Path) {
    let file = fs.open(&dir.join("floor"), Mode::Create).unwrap();
    let block = vec![0_u8; 4096];
    for at in 0..4096 {
        file.write_at(&mut [IoSlice::new(&block)], at * 4096).unwrap();
    }
    file.sync_data().unwrap();
    let mut times = histogram();
    for at in 0..2000 {
        let begun = Instant::now();
        file.write_at(&mut [IoSlice::new(&block)], at * 4096).unwrap();
        file.sync_data().unwrap();
        times.record(nanos(begun)).unwrap();
    }
    print("4 KiB + fdatasync", &times, 0.0);
}

fn shard(fs: Arc<dyn Fs>, dir: &Path) -> Started<Twin> {
    let mut settings = memory::settings();
    settings.log = causeway_storage::Options::default();
    if dir == Path::new("/bench") {
        settings.log.ahead = Ahead::Inline;
        settings.log.segment_bytes = 8 << 20;
    }
    let options = LocalOptions {
        fs,
        dir: dir.join("shard"),
        tables: Arc::new(Twin::new()),
        clock: Arc::new(SystemClock),
        settings,
        incarnation: Some(Incarnation(1)),
        birth: Birth { lineage: Lineage(1), key: HashKey([1; 16]) },
    };
    start(options, &mut |_| {}).unwrap()
}

async fn run(name: &str, local: &Arc<Local<Twin>>, spent: &Arc<AtomicU64>, proposers: u32, messages: usize) {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..proposers)
        .map(|number| {
            let (local, spent) = (Arc::clone(local), Arc::clone(spent));
            #[expect(clippy::disallowed_methods, reason = "a bench has no task table")]
            tokio::spawn(async move {
                let mut times = [histogram(), histogram()];
                let message = message(number);
                while begun.elapsed() < RUN {
                    let commands = vec![Command::Publish(message.clone()); messages];
                    let (asked, before) = (Instant::now(), spent.load(Ordering::Acquire));
                    local.propose(ShardId(0), commands).await.unwrap();
                    let (whole, disk) = (nanos(asked), spent.load(Ordering::Acquire) - before);
                    times[0].record(whole).unwrap();
                    times[1].record(whole.saturating_sub(disk)).unwrap();
                }
                times
            })
        })
        .collect();
    let mut all = [histogram(), histogram()];
    for task in tasks {
        for (all, one) in all.iter_mut().zip(task.await.unwrap()) {
            all.add(one).unwrap();
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = all[0].len() as f64 * messages as f64 / begun.elapsed().as_secs_f64();
    print(&format!("{name}: {proposers} × {messages}"), &all[0], rate);
    if proposers == 1 {
        print("  beside the disk", &all[1], 0.0);
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

/// A file system that adds up what its writes and syncs take.
#[derive(Debug)]
struct Timed<T: ?Sized> {
    spent: Arc<AtomicU64>,
    fs: Arc<T>,
}

impl<T: ?Sized> Timed<T> {
    fn time<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        let begun = Instant::now();
        let result = call(&self.fs);
        // The files that are made ahead are another thread's, and nobody's call waits for them.
        if std::thread::current().name() == Some("log") {
            self.spent.fetch_add(nanos(begun), Ordering::AcqRel);
        }
        result
    }
}

impl Fs for Timed<dyn Fs> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.create_dir(dir)
    }
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        let fs = self.fs.open(path, mode)?;
        Ok(Arc::new(Timed { fs, spent: Arc::clone(&self.spent) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.fs.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.fs.list(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fs.sync_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.fs.lock(path)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.fs.space(dir)
    }
}

impl File for Timed<dyn File> {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.fs.read_at(buf, at)
    }
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        self.time(|file| file.write_at(parts, at))
    }
    fn sync_data(&self) -> io::Result<()> {
        self.time(File::sync_data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.set_len(len)
    }
    fn size(&self) -> io::Result<u64> {
        self.fs.size()
    }
}

fn message(number: u32) -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new(format!("bench/{number}").into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(0),
        publisher: Publisher { client: ClientId("bench".into()), session: None, pid: None },
        properties: Properties::default(),
        body: vec![7; BODY].into(),
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "printed")]
fn print(what: &str, times: &Histogram<u64>, rate: f64) {
    let us = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{what:<20} p50 {:>8.1} µs   p99 {:>8.1} µs   max {:>9.1} µs   {rate:>10.0} messages/s",
        us(0.5),
        us(0.99),
        us(1.0)
    );
}
