//! SUBSCRIBE and UNSUBSCRIBE are done one at a time, in their order: what one does to a filter the next one finds.
//! A few more wait, bounded in number and bytes; with more than these the socket is not read.

use std::collections::VecDeque;

use super::Session;
use super::effect::{Answer, Output, Step};
use super::subscribe::Subscribing;
use super::unsubscribe::Unsubscribing;
use crate::codec::{Subscribe, Unsubscribe};

/// Most packets that wait.
const WAITING: usize = 16;

/// What is in work.
#[derive(Debug)]
pub(super) enum Job {
    Subscribe(Subscribing),
    Unsubscribe(Unsubscribing),
}

/// What waits.
#[derive(Debug)]
pub(super) enum Request {
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
}

impl Request {
    /// Bytes that it keeps.
    fn bytes(&self) -> usize {
        match self {
            Self::Subscribe(packet) => packet.bytes(),
            Self::Unsubscribe(packet) => packet.bytes(),
        }
    }
}

/// The queue of requests.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: VecDeque<Request>,
    bytes: usize,
}

impl Requests {
    /// Whether one more may wait, whatever its size.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < WAITING && self.bytes < bytes
    }

    fn push(&mut self, request: Request) {
        self.bytes = self.bytes.saturating_add(request.bytes());
        self.waiting.push_back(request);
    }

    fn pop(&mut self) -> Option<Request> {
        let request = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(request.bytes());
        Some(request)
    }
}

impl Session {
    /// A request came: does it, or lets it wait.
    pub(super) fn request(&mut self, request: Request, out: &mut Output) {
        self.requests.push(request);
        if self.job.is_none() {
            self.next_job(out);
        }
    }

    /// Starts what waits next.
    pub(super) fn next_job(&mut self, out: &mut Output) {
        match self.requests.pop() {
            Some(Request::Subscribe(packet)) => self.subscribe(&packet, out),
            Some(Request::Unsubscribe(packet)) => self.unsubscribe(&packet, out),
            None => {}
        }
    }

    /// An answer for what is in work.
    pub(super) fn step(&mut self, step: Step, answer: Answer, out: &mut Output) {
        match (self.job.take(), step, answer) {
            (Some(Job::Subscribe(job)), Step::Attach, Answer::Attached(from)) => self.attached(job, from, out),
            (Some(Job::Subscribe(job)), Step::Interest(shard), Answer::Replies(replies)) => {
                self.interest_logged(job, shard, replies, out);
            }
            (Some(Job::Subscribe(job)), Step::Acquire(at), Answer::Acquired(from)) => {
                self.acquired(job, at, from, out);
            }
            (Some(Job::Subscribe(job)), Step::Log, Answer::Replies(replies)) => {
                self.subscriptions_logged(job, replies, out);
            }
            (Some(Job::Unsubscribe(job)), Step::Remove(_), Answer::Replies(replies)) => {
                self.removed(job, &replies, out);
            }
            (job, _, _) => self.job = job,
        }
    }
}
