//! SUBSCRIBE: the work between the packet and its SUBACK.
//!
//! ```text
//!  SUBSCRIBE ─► attach queues ─► wildcards: interest on every shard ─► persistent: Subscribe logged ─► hold, SUBACK
//!               (hints from here)   (indexed from there)                (on the home shard)
//! ```
//!
//! **Every message whose PUBLISH a server reads after SUBACK was sent matches, once.** Hints are attached first, so
//! nothing falls between the positions and the first hint. A subscription starts at the greatest of: where hints begin,
//! what was applied then, where its interest begins, and what the lane has scanned or is reading; all of that lies
//! before SUBACK. What lies above comes as a hint or, if hints were dropped, from the index.
//!
//! Subscribing again keeps the start and replaces the options. QoS 2 is granted as QoS 1, `$share/` is refused.

use causeway_compute::port::{Command, Error, Interest, Owner, Reply, Subscribe as SubscribeCommand};
use causeway_model::{Filter, Kind, PacketId, Position, Qos, QueueId, ShardId, SubscribeOptions, Text};
use smallvec::SmallVec;

use super::connect::{Identity, position_on};
use super::effect::{Call, Effect, Output, Step, Ticket};
use super::end::End;
use super::job::Job;
use super::subscription::{may_overflow, overflow_queue, queue_of};
use super::{Session, Shared};
use crate::codec::{FilterOptions, Packet, Properties, Reason, SubAck, Subscribe};

/// A SUBSCRIBE in work.
#[derive(Debug)]
pub(super) struct Subscribing {
    pid: PacketId,
    items: Vec<Item>,
    /// Where hints begin and what was applied then, a position a shard.
    attached: Vec<(ShardId, Position)>,
    /// Answers of this step that have not come.
    waiting: usize,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
struct Item {
    /// `None`: refused at once.
    wanted: Option<Wanted>,
    failed: Option<Reason>,
}

#[derive(Debug)]
struct Wanted {
    filter: Filter,
    options: SubscribeOptions,
    queue: QueueId,
    /// Neither held nor named by an earlier item: it is attached for this item.
    new: bool,
    /// Where its interest begins.
    from: Vec<(ShardId, Position)>,
    /// A volatile session's interest is held for it.
    acquired: bool,
}

impl Wanted {
    fn needs_interest(&self) -> bool {
        self.new && may_overflow(&self.filter)
    }
}

impl Item {
    fn asks_interest(&self) -> bool {
        self.wanted.as_ref().is_some_and(Wanted::needs_interest)
    }

    fn fail(&mut self, reason: Reason) {
        self.failed.get_or_insert(reason);
    }

    fn alive(&self) -> Option<&Wanted> {
        self.wanted.as_ref().filter(|_| self.failed.is_none())
    }
}

impl Subscribing {
    fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.items.iter().filter_map(|item| item.wanted.as_ref())
    }

    fn new_queues(&self) -> impl Iterator<Item = QueueId> {
        self.wanted().filter(|wanted| wanted.new).map(|wanted| wanted.queue)
    }

    /// The wildcards whose interest is held for this and for nothing else yet.
    pub(super) fn into_acquired(self) -> impl Iterator<Item = Filter> {
        let wanted = self.items.into_iter().filter_map(|item| item.wanted);
        wanted.filter(|wanted| wanted.acquired).map(|wanted| wanted.filter)
    }

    fn fail_all(&mut self, reason: Reason, which: impl Fn(&Item) -> bool) {
        self.items.iter_mut().filter(|item| which(item)).for_each(|item| item.fail(reason));
    }
}

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

fn want(session: &Session, job: &Subscribing, name: &Text, asked: FilterOptions, id: Option<u32>) -> Item {
    let refused = |reason| Item { wanted: None, failed: Some(reason) };
    if name.starts_with("$share/") {
        return refused(Reason::SharedSubscriptionsNotSupported);
    }
    // The codec checked the form: what the model still refuses is a filter of too many levels. The name is copied,
    // since it is a slice of the buffer that the packet came in.
    let Ok(filter) = Filter::new(Text::from(&**name)) else { return refused(Reason::QuotaExceeded) };
    let queue = queue_of(&session.shared, &filter);
    let held = session.subscriptions.get(queue).is_some();
    let new = !held && !job.wanted().any(|wanted| wanted.queue == queue);
    let count = session.subscriptions.len() + job.new_queues().count();
    if new && count >= session.shared.settings.filters {
        return refused(Reason::QuotaExceeded);
    }
    let options = SubscribeOptions {
        qos: asked.qos.min(Qos::AtLeastOnce),
        no_local: asked.no_local,
        retain_as_published: asked.retain_as_published,
        retain_handling: asked.retain_handling,
        id,
    };
    Item { wanted: Some(Wanted { filter, options, queue, new, from: Vec::new(), acquired: false }), failed: None }
}

impl Session {
    /// Starts the work on a SUBSCRIBE.
    pub(super) fn subscribe(&mut self, packet: &Subscribe, out: &mut Output) {
        let id = packet.properties.subscription_identifier();
        let mut job = Subscribing { pid: packet.pid, items: Vec::new(), attached: Vec::new(), waiting: 0 };
        for (filter, options) in packet.filters() {
            let item = want(self, &job, &filter, options, id);
            job.items.push(item);
        }
        let mut queues: Vec<_> = job.new_queues().collect();
        if self.subscriptions.overflow().is_none() && job.wanted().any(Wanted::needs_interest) {
            queues.push(overflow_queue(&self.shared));
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
        let asked = job.items.iter().enumerate().filter(|(_, item)| item.asks_interest());
        let filters: Vec<_> = asked.filter_map(|(at, item)| Some((at, item.alive()?.filter.clone()))).collect();
        if filters.is_empty() {
            return self.log_subscriptions(job, out);
        }
        if let Some(Identity { sid, persistent: true, .. }) = self.identity {
            for shard in self.shared.cluster.shards() {
                job.waiting = job.waiting.saturating_add(1);
                let filters = filters.iter().map(|(_, filter)| filter.clone());
                let commands = filters.map(|filter| self.shared.interest(true, filter, Owner::Session(sid))).collect();
                out.call(Ticket::Step(Step::Interest(shard)), Call::Propose(shard, commands));
            }
        } else {
            job.waiting = filters.len();
            for (at, filter) in filters {
                out.call(Ticket::Step(Step::Acquire(at)), Call::Acquire(filter));
            }
        }
        self.job = Some(Job::Subscribe(job));
    }

    /// A persistent session's interest on a shard.
    pub(super) fn interest_logged(
        &mut self,
        mut job: Subscribing,
        shard: ShardId,
        replies: Result<Vec<Reply>, Error>,
        out: &mut Output,
    ) {
        match replies {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for item in job.items.iter_mut().filter(|item| item.asks_interest()) {
                    match (replies.next(), &mut item.wanted) {
                        (Some(Reply::Interest { position }), Some(wanted)) => wanted.from.push((shard, position)),
                        (Some(Reply::Rejected(rejected)), _) => item.fail(reason_of(&rejected.kind())),
                        _ => item.fail(Reason::UnspecifiedError),
                    }
                }
            }
            Err(error) => job.fail_all(reason_of(&error.kind), Item::asks_interest),
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
        if let Some(item) = job.items.get_mut(at) {
            match (from, &mut item.wanted) {
                (Ok(from), Some(wanted)) => (wanted.from, wanted.acquired) = (from, true),
                (Ok(_), None) => {}
                (Err(error), _) => item.fail(reason_of(&error.kind)),
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

    /// Every start is known: a persistent session logs its subscriptions.
    fn log_subscriptions(&mut self, job: Subscribing, out: &mut Output) {
        let Some(identity) = self.identity.filter(|identity| identity.persistent) else {
            return self.hold(job, out);
        };
        let alive = job.items.iter().filter_map(Item::alive);
        let commands: Vec<_> = alive.map(|wanted| self.subscribe_command(identity, &job, wanted)).collect();
        if commands.is_empty() {
            return self.hold(job, out);
        }
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

    /// A persistent session's subscriptions on its home shard.
    pub(super) fn subscriptions_logged(
        &mut self,
        mut job: Subscribing,
        replies: Result<Vec<Reply>, Error>,
        out: &mut Output,
    ) {
        match replies {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for item in job.items.iter_mut().filter(|item| item.alive().is_some()) {
                    match replies.next() {
                        Some(Reply::Subscribed { .. }) => {}
                        Some(Reply::Rejected(rejected)) if rejected.kind() == Kind::Fenced => {
                            return self.end(End::fenced(), out);
                        }
                        Some(Reply::Rejected(rejected)) => item.fail(reason_of(&rejected.kind())),
                        _ => item.fail(Reason::UnspecifiedError),
                    }
                }
            }
            Err(error) => job.fail_all(reason_of(&error.kind), |item| item.alive().is_some()),
        }
        self.hold(job, out);
    }

    /// All is logged: the subscriptions hold, and SUBACK says so.
    fn hold(&mut self, job: Subscribing, out: &mut Output) {
        let first = self.subscriptions.len() == 0;
        let mut reasons = Vec::with_capacity(job.items.len());
        for item in &job.items {
            let reason = match (item.alive(), item.failed) {
                (Some(wanted), _) => {
                    self.hold_one(&job, wanted, first);
                    granted(wanted.options.qos)
                }
                (None, failed) => failed.unwrap_or(Reason::UnspecifiedError),
            };
            reasons.push(reason.for_suback(self.version));
        }
        let undone: Vec<_> = job.items.into_iter().filter(|item| item.failed.is_some()).collect();
        undone.into_iter().filter_map(|item| item.wanted).for_each(|wanted| self.undo(wanted, out));
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

    /// Takes back what was prepared for an item that failed.
    fn undo(&mut self, wanted: Wanted, out: &mut Output) {
        if !wanted.new || self.subscriptions.get(wanted.queue).is_some() {
            return;
        }
        let mut queues = vec![wanted.queue];
        if may_overflow(&wanted.filter) && self.subscriptions.overflow().is_none() {
            queues.push(overflow_queue(&self.shared));
        }
        out.effect(Effect::Detach(queues));
        match self.identity {
            Some(Identity { sid, persistent: true, .. }) if wanted.needs_interest() => {
                for shard in self.shared.cluster.shards() {
                    let remove = self.shared.interest(false, wanted.filter.clone(), Owner::Session(sid));
                    out.call(Ticket::Forgotten, Call::Propose(shard, vec![remove]));
                }
            }
            _ if wanted.acquired => out.effect(Effect::Release(wanted.filter)),
            _ => {}
        }
    }
}

impl Subscribing {
    /// Where an item's subscription starts on a shard, as far as it is known outside of the lane.
    fn start(&self, wanted: &Wanted, shard: ShardId) -> Position {
        position_on(&self.attached, shard).max(position_on(&wanted.from, shard))
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
