//! The queue of calls between those who make them and the stream that sends them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;

use super::outstanding::{Call, Ended, Outstanding};
use crate::metrics::Waiting;

/// About so much goes into one message: enough to be cheap, little enough that answers are not held up.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_CALLS: usize = 4096;

/// A queue of calls that any number of tasks fill and one stream empties.
#[derive(Debug)]
pub(crate) struct Calls<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    outstanding: Outstanding<W>,
    /// Which link sends; streams of other links end.
    link: u64,
    closed: bool,
    /// Of the stream that sends, while there is nothing to send.
    idle: Option<Waker>,
    waiting: Waiting,
}

impl<W> State<W> {
    /// The stream of the link that was is told of its end.
    fn next_link(&mut self) -> Option<Waker> {
        self.link += 1;
        self.idle.take()
    }

    /// To be called after calls came or went.
    fn show(&self) {
        let (calls, bytes) = self.outstanding.waiting();
        self.waiting.show(calls, bytes);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Why a call was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The budget is used up.
    Full,
    /// Nothing will be sent any more.
    Closed,
}

impl<W> Calls<W> {
    /// At most `budget` bytes of calls; how many wait is shown as `waiting`.
    pub(crate) fn new(budget: usize, waiting: Waiting) -> Self {
        let outstanding = Outstanding::new(budget);
        Self(Mutex::new(State { outstanding, link: 0, closed: false, idle: None, waiting }))
    }

    /// Fixes the call's place in the order.
    pub(crate) fn push(&self, call: Call<W>) -> Result<(), NotTaken> {
        let idle = {
            let mut state = self.0.lock();
            if state.closed {
                return Err(NotTaken::Closed);
            }
            state.outstanding.push(call).map_err(|_| NotTaken::Full)?;
            state.show();
            state.idle.take()
        };
        wake(idle);
        Ok(())
    }

    /// See [`Outstanding::barrier`].
    pub(crate) fn barrier(&self) -> u64 {
        self.0.lock().outstanding.barrier()
    }

    /// See [`Outstanding::lift`].
    pub(crate) fn lift(&self, barrier: u64) {
        let idle = {
            let mut state = self.0.lock();
            state.outstanding.lift(barrier);
            state.idle.take()
        };
        wake(idle);
    }

    /// Calls that are answered, in the order of the numbers given; `None` for one that nobody waits for.
    pub(crate) fn answer(&self, ids: impl Iterator<Item = u64>) -> Vec<Option<Call<W>>> {
        let mut state = self.0.lock();
        let calls = ids.map(|id| state.outstanding.answer(id)).collect();
        state.show();
        calls
    }

    /// The link is lost: its stream ends. Returns the calls that end with it; see [`Outstanding::lose`].
    pub(crate) fn lose(&self) -> Vec<Ended<W>> {
        let (ended, idle) = {
            let mut state = self.0.lock();
            let ended = state.outstanding.lose();
            state.show();
            (ended, state.next_link())
        };
        wake(idle);
        ended
    }

    /// See [`Outstanding::give_up_sent`].
    pub(crate) fn give_up_sent(&self) -> Vec<Call<W>> {
        let mut state = self.0.lock();
        let calls = state.outstanding.give_up_sent();
        state.show();
        calls
    }

    /// Nothing is taken or sent from here on. Returns what was sent and what was not.
    pub(crate) fn close(&self) -> (Vec<Call<W>>, Vec<Call<W>>) {
        let (calls, idle) = {
            let mut state = self.0.lock();
            state.closed = true;
            let calls = state.outstanding.close();
            state.show();
            (calls, state.next_link())
        };
        wake(idle);
        calls
    }

    /// What the next link sends, each message made by `wrap`; after a lost link not the own calls of callers who have
    /// gone. It ends when that link is lost.
    pub(crate) fn sending<M>(
        self: &Arc<Self>,
        gone: fn(&W) -> bool,
        wrap: fn(Vec<u64>, Vec<Bytes>) -> M,
    ) -> Sending<W, M> {
        let link = {
            let mut state = self.0.lock();
            if state.link > 0 {
                state.outstanding.forget(gone);
                state.show();
            }
            state.link
        };
        Sending { calls: Arc::clone(self), link, wrap }
    }
}

/// The messages of one link, made when the network has room for them.
pub(crate) struct Sending<W, M> {
    calls: Arc<Calls<W>>,
    link: u64,
    wrap: fn(Vec<u64>, Vec<Bytes>) -> M,
}

impl<W, M> Stream for Sending<W, M> {
    type Item = M;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<M>> {
        let (ids, bodies) = {
            let mut state = self.calls.0.lock();
            if state.link != self.link {
                return Poll::Ready(None);
            }
            let taken = state.outstanding.take(BATCH_BYTES, BATCH_CALLS);
            if taken.0.is_empty() {
                // Under the lock: a stream of an older link can never take the place of a newer one's waker.
                state.idle = Some(cx.waker().clone());
                return Poll::Pending;
            }
            taken
        };
        Poll::Ready(Some((self.wrap)(ids, bodies)))
    }
}
