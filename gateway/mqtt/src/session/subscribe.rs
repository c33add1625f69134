//! SUBSCRIBE: the work between the packet and its SUBACK.
//!
//! ```text
//!  SUBSCRIBE ─► attach ─┬► persistent: interest elsewhere ─► home: interest and Subscribe, one group ─┬► hold, SUBACK
//!               (hints   └► volatile: the gateway's interest (indexed from there) ────────────────────┘
//!                from here)
//! ```
//!
//! **Every message whose PUBLISH a server reads after SUBACK was sent matches, once.** Hints are attached first, so
//! nothing falls between the positions and the first hint. A subscription starts at the greatest of: where hints begin,
//! what was applied then, where interest on a shard other than home begins, and what the lane has scanned or is reading;
//! all of that lies before SUBACK. What lies above comes as a hint or, if hints were dropped, from the index.
//!
//! **On the home shard a wildcard is indexed for a session exactly while it is subscribed**: both are one group, so a
//! connection may end at any moment. What was logged of a subscription that is refused after all is removed once, at
//! once, and never again: a removal that came late would end a newer subscription.
//!
//! Subscribing again keeps the start and replaces the options. QoS 2 is granted as QoS 1, `$share/` is refused, and so
//! is everything below `$p2p` but the client's own topic. Of one packet some more filters are looked at than a session
//! may have; the rest is refused, so a packet's work is bounded.

mod wanted;

use causeway_compute::port::{Command, Error, Interest, Owner, Rejected, Reply, Subscribe as SubscribeCommand};
use causeway_model::{Filter, Kind, Position, Qos, ShardId};
use smallvec::SmallVec;

pub(super) use self::wanted::Subscribing;
use self::wanted::{Item, State, Wanted, gather};
use super::connect::Identity;
use super::effect::{Call, Effect, Output, Step, Ticket};
use super::end::End;
use super::job::Job;
use super::subscription::overflow_queue;
use super::{Session, Shared};
use crate::codec::{Packet, Properties, Reason, SubAck, Subscribe};

/// What SUBACK says of a failure.
fn reason_of(kind: &Kind) -> Reason {
    match kind {
        Kind::Quota | Kind::Busy { .. } | Kind::DiskFull => Reason::QuotaExceeded,
        Kind::Denied => Reason::NotAuthorized,
        Kind::Invalid
        | Kind::TooLarge
        | Kind::NotFound
        | Kind::Fenced
        | Kind::NotLeader { .. }
        | Kind::Unavailable
        | Kind::Unknown
        | Kind::Unsupported
        | Kind::Corrupt => Reason::ImplementationSpecificError,
    }
}

impl Session {
    /// Starts the work on a SUBSCRIBE.
    pub(super) fn subscribe(&mut self, packet: &Subscribe, out: &mut Output) {
        let mut job = gather(self, packet);
        let mut queues: Vec<_> =
            job.wanted.iter().filter(|wanted| wanted.is_new()).map(|wanted| wanted.queue).collect();
        if self.subscriptions.overflow().is_none() && job.wanted.iter().any(|wanted| wanted.wildcard) {
            queues.push(overflow_queue(&self.shared));
            job.overflow = true;
        }
        if queues.is_empty() {
            return self.log_subscriptions(job, out);
        }
        self.job = Some(Job::Subscribe(job));
        out.call(Ticket::Step(Step::Attach), Call::Attach(queues));
    }

    /// Hints come from now on: have the wildcards indexed.
    pub(super) fn attached(&mut self, mut job: Subscribing, attached: Vec<(ShardId, Position)>, out: &mut Output) {
        job.attached = attached;
        let wildcards = job.wanted.iter().enumerate().filter(|(_, wanted)| wanted.wildcard);
        let filters: Vec<_> = wildcards.map(|(at, wanted)| (at, wanted.filter.clone())).collect();
        if filters.is_empty() {
            return self.log_subscriptions(job, out);
        }
        if let Some(identity) = self.identity.filter(|identity| identity.persistent) {
            let owner = identity.owner();
            for shard in self.shared.cluster.shards().filter(|shard| *shard != identity.sid.home) {
                job.waiting = job.waiting.saturating_add(1);
                let filters = filters.iter().map(|(_, filter)| filter.clone());
                let commands = filters.map(|filter| self.shared.interest(true, filter, owner)).collect();
                out.call(Ticket::Step(Step::Interest(shard)), Call::Propose(shard, commands));
            }
            if job.waiting == 0 {
                return self.log_subscriptions(job, out);
            }
        } else {
            job.waiting = filters.len();
            for (at, filter) in filters {
                out.call(Ticket::Step(Step::Acquire(at)), Call::Acquire(filter));
            }
        }
        self.job = Some(Job::Subscribe(job));
    }

    /// A persistent session's interest on a shard other than its home.
    pub(super) fn interest_logged(
        &mut self,
        mut job: Subscribing,
        shard: ShardId,
        replies: Result<Vec<Reply>, Error>,
        out: &mut Output,
    ) {
        let (mut replies, failed) = match replies {
            Ok(replies) => (replies.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error.kind)),
        };
        for wanted in job.wanted.iter_mut().filter(|wanted| wanted.wildcard) {
            let (reason, added) = match (replies.next(), &failed) {
                (Some(Reply::Interest { position }), _) if wanted.is_alive() => {
                    wanted.indexed_on(shard, position);
                    continue;
                }
                (Some(Reply::Rejected(rejected)), _) => (reason_of(&rejected.kind()), false),
                (_, Some(kind)) => (reason_of(kind), *kind == Kind::Unknown),
                _ => (Reason::UnspecifiedError, true),
            };
            if added {
                self.end_interest(&wanted.filter, shard, out);
            }
            self.refuse(wanted, reason, out);
        }
        self.step_done(job, out);
    }

    /// A volatile session's interest in one wildcard.
    pub(super) fn acquired(
        &mut self,
        mut job: Subscribing,
        at: usize,
        from: Result<Vec<(ShardId, Position)>, Error>,
        out: &mut Output,
    ) {
        if let Some(wanted) = job.wanted.get_mut(at) {
            match from {
                Ok(from) => wanted.state = State::Acquired(from),
                Err(error) => self.refuse(wanted, reason_of(&error.kind), out),
            }
        }
        self.step_done(job, out);
    }

    fn step_done(&mut self, mut job: Subscribing, out: &mut Output) {
        job.waiting = job.waiting.saturating_sub(1);
        if job.waiting == 0 {
            self.log_subscriptions(job, out);
        } else {
            self.job = Some(Job::Subscribe(job));
        }
    }

    /// A persistent session logs its subscriptions, each with the interest it needs here.
    fn log_subscriptions(&mut self, mut job: Subscribing, out: &mut Output) {
        let Some(identity) = self.identity.filter(|identity| identity.persistent) else {
            return self.hold(&job, out);
        };
        let mut commands = Vec::new();
        for wanted in job.wanted.iter().filter(|wanted| wanted.is_alive()) {
            if wanted.wildcard {
                commands.push(self.shared.interest(true, wanted.filter.clone(), identity.owner()));
            }
            commands.push(self.subscribe_command(identity, &job, wanted));
        }
        if commands.is_empty() {
            return self.hold(&job, out);
        }
        job.logging = true;
        self.job = Some(Job::Subscribe(job));
        out.call(Ticket::Step(Step::Log), Call::Propose(identity.sid.home, commands));
    }

    fn subscribe_command(&self, identity: Identity, job: &Subscribing, wanted: &Wanted) -> Command {
        let held = self.subscriptions.get(wanted.queue);
        let start = |shard| held.map_or_else(|| job.start(wanted, shard), |held| held.start(shard));
        let from = self.shared.cluster.shards().map(|shard| (shard, start(shard))).collect();
        let (filter, options) = (wanted.filter.clone(), wanted.options);
        let Identity { sid, epoch, .. } = identity;
        Command::Subscribe(SubscribeCommand { sid, epoch, filter, options, from })
    }

    /// A persistent session's subscriptions on its home shard, or nothing of them.
    pub(super) fn subscriptions_logged(
        &mut self,
        mut job: Subscribing,
        replies: Result<Vec<Reply>, Error>,
        out: &mut Output,
    ) {
        let Some(identity) = self.identity else { return };
        let Identity { sid, epoch, .. } = identity;
        let fenced = |reply: &Reply| *reply == Reply::Rejected(Rejected::Fenced);
        if replies.as_ref().is_ok_and(|replies| replies.iter().any(fenced)) {
            return self.end(End::fenced(), out);
        }
        let (mut replies, failed) = match replies {
            Ok(replies) => (replies.into_iter(), None),
            Err(error) => (Vec::new().into_iter(), Some(error.kind)),
        };
        let mut leftover = Vec::new();
        for wanted in job.wanted.iter_mut().filter(|wanted| wanted.is_alive()) {
            let interest = wanted.wildcard.then(|| Part::of(replies.next(), failed.as_ref()));
            let subscription = Part::of(replies.next(), failed.as_ref());
            let reason = interest.and_then(|part| part.refused).or(subscription.refused);
            let Some(reason) = reason else { continue };
            if wanted.is_new() && subscription.logged {
                leftover.push(Command::Unsubscribe { sid, epoch, filter: wanted.filter.clone() });
            }
            if interest.is_some_and(|part| part.logged) {
                leftover.push(self.shared.interest(false, wanted.filter.clone(), identity.owner()));
            }
            self.refuse(wanted, reason, out);
        }
        if !leftover.is_empty() {
            out.call(Ticket::Forgotten, Call::Propose(sid.home, leftover));
        }
        self.hold(&job, out);
    }

    /// All is logged: the subscriptions hold, and SUBACK says so.
    fn hold(&mut self, job: &Subscribing, out: &mut Output) {
        let first = self.subscriptions.len() == 0;
        for wanted in job.wanted.iter().filter(|wanted| wanted.is_alive()) {
            self.hold_one(job, wanted, first);
        }
        if job.overflow && self.subscriptions.overflow().is_none() {
            out.effect(Effect::Detach(vec![overflow_queue(&self.shared)]));
        }
        let reason = |item: &Item| match *item {
            Item::Refused(reason) => reason,
            Item::Wanted(at, qos) => match job.wanted.get(at).map(|wanted| &wanted.state) {
                Some(State::Refused(reason)) => *reason,
                Some(_) => granted(qos),
                None => Reason::UnspecifiedError,
            },
        };
        let rest = std::iter::repeat_n(Reason::QuotaExceeded, job.rest);
        let reasons = job.items.iter().map(reason).chain(rest);
        let reasons = reasons.map(|reason| reason.for_suback(self.version)).collect();
        out.packet(Packet::SubAck(SubAck { pid: job.pid, reasons, properties: Properties::EMPTY }));
        self.next_job(out);
    }

    fn hold_one(&mut self, job: &Subscribing, wanted: &Wanted, first: bool) {
        if self.subscriptions.replace(wanted.queue, wanted.options) {
            return;
        }
        let start: SmallVec<[Position; 1]> = self
            .outbound
            .lanes
            .iter_mut()
            .map(|lane| {
                let asked = job.start(wanted, lane.shard);
                if first {
                    // Nothing was subscribed: nothing up to here is to be delivered.
                    lane.scanned(asked);
                }
                let reading = lane.catch_up.as_ref().map_or(Position(0), |catch_up| catch_up.upto());
                asked.max(lane.next()).max(reading)
            })
            .collect();
        self.subscriptions.add(&self.shared, wanted.filter.clone(), wanted.options, start);
    }

    fn refuse(&self, wanted: &mut Wanted, reason: Reason, out: &mut Output) {
        if wanted.is_alive() {
            let state = std::mem::replace(&mut wanted.state, State::Refused(reason));
            self.take_back(wanted, state, out);
        }
    }

    /// Takes back what was prepared outside of the home shard's log.
    fn take_back(&self, wanted: &Wanted, state: State, out: &mut Output) {
        match state {
            State::Held | State::Refused(_) => return,
            State::Attached => {}
            State::Interested(shards) => {
                for (shard, _) in shards {
                    self.end_interest(&wanted.filter, shard, out);
                }
            }
            State::Acquired(_) => out.effect(Effect::Release(wanted.filter.clone())),
        }
        out.effect(Effect::Detach(vec![wanted.queue]));
    }

    fn end_interest(&self, filter: &Filter, shard: ShardId, out: &mut Output) {
        if let Some(identity) = self.identity {
            let remove = self.shared.interest(false, filter.clone(), identity.owner());
            out.call(Ticket::Forgotten, Call::Propose(shard, vec![remove]));
        }
    }

    /// The session ends while this is in work.
    pub(super) fn give_up(&self, job: Subscribing, out: &mut Output) {
        if job.logging {
            // The group may be applied yet, and a resume needs all of it then.
            return;
        }
        for mut wanted in job.wanted {
            self.refuse(&mut wanted, Reason::UnspecifiedError, out);
        }
    }
}

/// What came of one command of a group.
#[derive(Clone, Copy)]
struct Part {
    refused: Option<Reason>,
    /// It is in the log, or may be.
    logged: bool,
}

impl Part {
    /// `failed`: the whole group did, so there is no reply.
    fn of(reply: Option<Reply>, failed: Option<&Kind>) -> Self {
        match (reply, failed) {
            (Some(Reply::Interest { .. } | Reply::Subscribed { .. }), _) => Self { refused: None, logged: true },
            (Some(Reply::Rejected(rejected)), _) => Self { refused: Some(reason_of(&rejected.kind())), logged: false },
            (_, Some(kind)) => Self { refused: Some(reason_of(kind)), logged: *kind == Kind::Unknown },
            _ => Self { refused: Some(Reason::UnspecifiedError), logged: true },
        }
    }
}

fn granted(qos: Qos) -> Reason {
    match qos {
        Qos::AtMostOnce => Reason::Success,
        Qos::AtLeastOnce => Reason::GrantedQos1,
        Qos::ExactlyOnce => Reason::GrantedQos2,
    }
}

impl Shared {
    /// The command by which a wildcard becomes or ceases to be indexed.
    pub(super) fn interest(&self, add: bool, filter: Filter, owner: Owner) -> Command {
        let namespace = self.namespace.clone();
        Command::Interest(Interest { add, namespace, filter, owner })
    }
}
