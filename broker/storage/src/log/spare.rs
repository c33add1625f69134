//! The next segment's file, made ahead.
//!
//! A sync of a file that was zero-filled and synced before costs half of one that also has to allocate
//! (`docs/adr/0005-file-io.md`), and a write into it cannot run out of space. So the next file is made before it is needed:
//! zeros, slice by slice, each slice synced by itself so that no large write-back stands before a sync of the log.
//!
//! ```text
//! spare.new ── zeros, synced slice by slice ──► spare (whole) ── header, sync ──► 00000000000004198304
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{During, Error, Operation, Result};
use crate::format::{SPARE, SPARE_NEW};
use crate::io::{self, File, Fs, Mode};
use crate::options::{Ahead, Options};

/// One slice: small enough that the log's next sync does not wait long behind it.
const SLICE_BYTES: u64 = 1 << 20;
/// Between slices, so that making ahead takes a fraction of the disk: 128 MiB take about half a second.
const PAUSE: Duration = Duration::from_millis(3);

/// Where the writer gets its next file.
#[derive(Debug)]
pub(crate) struct Spare {
    mill: Mill,
    worker: Option<Worker>,
    /// Without a worker: the file being made, and the file made.
    making: Option<Filling>,
    made: Option<Arc<dyn File>>,
}

/// What it takes to make a file.
#[derive(Clone, Debug)]
struct Mill {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    bytes: u64,
}

/// A file being made.
#[derive(Debug)]
struct Filling {
    file: Arc<dyn File>,
    done: u64,
}

#[derive(Debug)]
struct Worker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where writer and worker meet.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    wanted: bool,
    /// The writer is waiting: no pauses.
    hurry: bool,
    stop: bool,
    made: Option<Arc<dyn File>>,
    failed: Option<Error>,
}

impl Spare {
    /// Takes over a spare that an earlier process left, or starts on a new one.
    pub(crate) fn start(fs: Arc<dyn Fs>, dir: &Path, options: &Options) -> Result<Self> {
        let mill = Mill { fs, dir: dir.to_owned(), bytes: options.segment_bytes };
        let left = mill.adopt()?;
        let mut spare = Self { mill, worker: None, making: None, made: None };
        match options.ahead {
            Ahead::Inline => spare.made = left,
            Ahead::Thread => spare.worker = Some(Worker::start(spare.mill.clone(), left)?),
        }
        Ok(spare)
    }

    /// Whether the next file is there.
    pub(crate) fn ready(&self) -> bool {
        match &self.worker {
            Some(worker) => worker.desk.state.lock().made.is_some(),
            None => self.made.is_some(),
        }
    }

    /// One slice of work, where no worker does it. A failure is not reported here: the append that needs the file will
    /// meet it.
    pub(crate) fn advance(&mut self) {
        if self.worker.is_none() && self.made.is_none() {
            let _ = self.step();
        }
    }

    /// The next file, named [`SPARE`]: `segment_bytes` of durable zeros. Waits if it is still being made.
    ///
    /// # Errors
    /// `Full`, or what else kept it from being made; the next call tries again.
    pub(crate) fn take(&mut self) -> Result<Arc<dyn File>> {
        if let Some(worker) = &self.worker {
            return worker.take();
        }
        while self.made.is_none() {
            self.step()?;
        }
        self.made.take().ok_or(Error::Missing { dir: self.mill.dir.clone() })
    }

    /// Starts on the next file. **Not before the one taken has lost the name [`SPARE`]**: the next one gets it.
    pub(crate) fn request(&self) {
        if let Some(worker) = &self.worker {
            worker.desk.state.lock().wanted = true;
            worker.desk.changed.notify_all();
        }
    }

    /// Takes back a file that was not used after all; it is as it was.
    pub(crate) fn put_back(&mut self, file: Arc<dyn File>) {
        match &self.worker {
            Some(worker) => worker.desk.state.lock().made = Some(file),
            None => self.made = Some(file),
        }
    }

    fn step(&mut self) -> Result<()> {
        let filling = match self.making.take() {
            Some(filling) => filling,
            None => self.mill.begin()?,
        };
        match self.mill.step(filling)? {
            Step::More(filling) => self.making = Some(filling),
            Step::Made(file) => self.made = Some(file),
        }
        Ok(())
    }
}

enum Step {
    More(Filling),
    Made(Arc<dyn File>),
}

impl Mill {
    /// The file that an earlier process made ahead, if it is of the size we want. One half made is removed.
    fn adopt(&self) -> Result<Option<Arc<dyn File>>> {
        let (spare, new) = (self.dir.join(SPARE), self.dir.join(SPARE_NEW));
        io::remove_if_any(&*self.fs, &new).during(Operation::Remove, &new)?;
        let file = match self.fs.open(&spare, Mode::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).during(Operation::Open, &spare),
        };
        if file.size().during(Operation::Read, &spare)? == self.bytes
            && is_blank(&*file).during(Operation::Read, &spare)?
        {
            return Ok(Some(file));
        }
        io::remove_if_any(&*self.fs, &spare).during(Operation::Remove, &spare)?;
        Ok(None)
    }

    fn begin(&self) -> Result<Filling> {
        let path = self.dir.join(SPARE_NEW);
        // Asked first, so that a full disk is not written full over and over only to find out.
        let free = self.fs.space(&self.dir).during(Operation::Space, &self.dir)?.free;
        if free < self.bytes {
            return Err(self.full());
        }
        io::remove_if_any(&*self.fs, &path).during(Operation::Remove, &path)?;
        let file = self.fs.open(&path, Mode::Create).map_err(|error| self.failed(error, Operation::Create, &path))?;
        Ok(Filling { file, done: 0 })
    }

    fn step(&self, filling: Filling) -> Result<Step> {
        let path = self.dir.join(SPARE_NEW);
        let Filling { file, done } = filling;
        let to = done.saturating_add(SLICE_BYTES).min(self.bytes);
        let slice = io::zero(&*file, done, to).map_err(|error| self.failed(error, Operation::Write, &path));
        let slice = slice.and_then(|()| file.sync_data().map_err(|error| self.failed(error, Operation::Sync, &path)));
        if let Err(error) = slice {
            // Gives the space back to the segment in use and to everybody else.
            let _ = self.fs.remove(&path);
            return Err(error);
        }
        if to < self.bytes {
            return Ok(Step::More(Filling { file, done: to }));
        }
        let spare = self.dir.join(SPARE);
        self.fs.rename(&path, &spare).during(Operation::Rename, &path)?;
        // The name need not be durable: the roll, which gives the file its last name, syncs the directory.
        Ok(Step::Made(file))
    }

    fn full(&self) -> Error {
        Error::Full { dir: self.dir.clone(), bytes: self.bytes }
    }

    fn failed(&self, source: std::io::Error, operation: Operation, file: &Path) -> Error {
        if io::is_full(&source) { self.full() } else { Error::Io { operation, file: file.to_owned(), source } }
    }
}

impl Worker {
    fn start(mill: Mill, made: Option<Arc<dyn File>>) -> Result<Self> {
        let state = State { wanted: made.is_none(), made, ..State::default() };
        let desk = Arc::new(Desk { state: Mutex::new(state), changed: Condvar::new() });
        let (dir, theirs) = (mill.dir.clone(), desk.clone());
        let thread = std::thread::Builder::new()
            .name("log-spare".to_owned())
            .spawn(move || theirs.work(&mill))
            .during(Operation::Spawn, &dir)?;
        Ok(Self { desk, thread: Some(thread) })
    }

    fn take(&self) -> Result<Arc<dyn File>> {
        let mut state = self.desk.state.lock();
        // A failure of before the call is old news: there may be space now.
        state.failed = None;
        loop {
            if let Some(file) = state.made.take() {
                state.hurry = false;
                return Ok(file);
            }
            if let Some(error) = state.failed.take() {
                state.hurry = false;
                return Err(error);
            }
            state.wanted = true;
            state.hurry = true;
            self.desk.changed.notify_all();
            self.desk.changed.wait(&mut state);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.desk.state.lock().stop = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn work(&self, mill: &Mill) {
        let mut filling = None;
        while self.wait_for_work(filling.is_some()) {
            let begun = match filling.take() {
                Some(filling) => Ok(filling),
                None => mill.begin(),
            };
            let step = begun.and_then(|filling| mill.step(filling));
            let mut state = self.state.lock();
            match step {
                Ok(Step::More(more)) => filling = Some(more),
                Ok(Step::Made(file)) => {
                    state.made = Some(file);
                    state.wanted = false;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot make the next segment ahead");
                    state.failed = Some(error);
                    // Until the writer asks again: by then there may be space.
                    state.wanted = false;
                }
            }
            self.changed.notify_all();
        }
    }

    /// Waits until there is a slice to make; `false` when it is time to go.
    fn wait_for_work(&self, begun: bool) -> bool {
        let mut state = self.state.lock();
        if begun && !state.stop && !state.hurry {
            self.changed.wait_for(&mut state, PAUSE);
        }
        while !state.stop && !state.wanted {
            self.changed.wait(&mut state);
        }
        !state.stop
    }
}

/// Whether the header block is zeros: a spare whose roll was cut short has a header in it already.
fn is_blank(file: &dyn File) -> std::io::Result<bool> {
    let mut block = [0; 4096];
    file.read_at(&mut block, 0)?;
    Ok(block.iter().all(|&byte| byte == 0))
}
