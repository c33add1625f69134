//! Threads for blocking reads. Neither tables nor files are ever touched on an async worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and a bounded queue in front of them.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    waiting: usize,
}

struct State {
    jobs: VecDeque<Job>,
    open: bool,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// As many as may wait do.
    Full,
    /// Shut down.
    Closed,
}

impl Pool {
    /// Starts `threads` threads; `waiting` jobs may queue.
    pub(crate) fn start(threads: usize, waiting: usize) -> std::io::Result<Self> {
        let state = State { jobs: VecDeque::new(), open: true };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new(), waiting });
        let pool = Self { shared: Arc::clone(&shared), threads: Mutex::default() };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("read-{number}")).spawn(move || shared.work())?;
            pool.threads.lock().push(thread);
        }
        Ok(pool)
    }

    /// Runs a job on some thread. The answer is lost, as an error, only if the job panics or the pool closes first.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Result<oneshot::Receiver<R>, NotTaken> {
        let (done, answer) = oneshot::channel();
        let job = move || {
            // A caller that went away does not need what it asked for.
            if !done.is_closed() {
                let _ = done.send(job());
            }
        };
        let mut state = self.shared.state.lock();
        if !state.open {
            return Err(NotTaken::Closed);
        }
        if state.jobs.len() >= self.shared.waiting {
            return Err(NotTaken::Full);
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        self.shared.wake.notify_one();
        Ok(answer)
    }

    /// Takes nothing more, drops what waits, and joins the threads.
    pub(crate) fn close(&self) {
        let jobs = {
            let mut state = self.shared.state.lock();
            state.open = false;
            std::mem::take(&mut state.jobs)
        };
        drop(jobs);
        self.shared.wake.notify_all();
        for thread in self.threads.lock().drain(..) {
            // A job that panicked answered by dropping its sender.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if !state.open {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn jobs_over_the_budget_are_refused_and_the_others_answered() {
        let pool = Pool::start(1, 2).unwrap();
        let (started, has_started) = sync_channel(1);
        let (go, wait) = sync_channel::<()>(1);
        let running = pool.run(move || (started.send(()).unwrap(), wait.recv().unwrap())).unwrap();
        has_started.recv().unwrap();
        let waiting = [pool.run(|| 1).unwrap(), pool.run(|| 2).unwrap()];
        assert_eq!(pool.run(|| 3).unwrap_err(), NotTaken::Full);
        go.send(()).unwrap();
        running.blocking_recv().unwrap();
        assert_eq!(waiting.map(|answer| answer.blocking_recv().unwrap()), [1, 2]);
        pool.close();
        assert_eq!(pool.run(|| 4).unwrap_err(), NotTaken::Closed);
    }
}
