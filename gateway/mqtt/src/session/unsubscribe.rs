//! UNSUBSCRIBE: the work between the packet and its UNSUBACK.
//!
//! In memory a subscription ends at once: what waits for it is not delivered any more, what is in flight is completed. A
//! persistent session's is also removed from the log, with its interest on every shard, before UNSUBACK says so.

use causeway_compute::port::{Command, Error, Rejected, Reply};
use causeway_model::{Filter, PacketId, ShardId};

use super::Session;
use super::connect::Identity;
use super::effect::{Call, Effect, Output, Step, Ticket};
use super::end::End;
use super::job::Job;
use super::subscription::{Subscription, may_overflow, overflow_queue, queue_of};
use crate::codec::{Packet, Properties, Reason, UnsubAck, Unsubscribe};

/// An UNSUBSCRIBE in work.
#[derive(Debug)]
pub(super) struct Unsubscribing {
    pid: PacketId,
    reasons: Vec<Reason>,
    /// Shards that have not answered.
    waiting: usize,
}

impl Session {
    /// Starts the work on an UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, packet: &Unsubscribe, out: &mut Output) {
        let mut removed = Vec::new();
        let reasons: Vec<_> = packet
            .filters()
            .map(|name| match Filter::new(name).ok().and_then(|filter| self.drop_subscription(&filter, out)) {
                Some(subscription) => {
                    removed.push(subscription.filter);
                    Reason::Success
                }
                None => Reason::NoSubscriptionExisted,
            })
            .collect();
        let mut job = Unsubscribing { pid: packet.pid, reasons, waiting: 0 };
        let Some(identity) = self.identity.filter(|identity| identity.persistent) else {
            removed.into_iter().filter(may_overflow).for_each(|filter| out.effect(Effect::Release(filter)));
            return self.unsubscribed(job, out);
        };
        for shard in self.shared.cluster.shards() {
            let commands = self.removal(identity, shard, &removed);
            if !commands.is_empty() {
                job.waiting = job.waiting.saturating_add(1);
                out.call(Ticket::Step(Step::Remove(shard)), Call::Propose(shard, commands));
            }
        }
        if job.waiting == 0 {
            self.unsubscribed(job, out);
        } else {
            self.job = Some(Job::Unsubscribe(job));
        }
    }

    fn drop_subscription(&mut self, filter: &Filter, out: &mut Output) -> Option<Subscription> {
        let had_overflow = self.subscriptions.overflow().is_some();
        let subscription = self.subscriptions.remove(queue_of(&self.shared, filter))?;
        let mut queues = vec![subscription.queue];
        if had_overflow && self.subscriptions.overflow().is_none() {
            queues.push(overflow_queue(&self.shared));
        }
        for queue in &queues {
            self.outbound.forget(*queue);
        }
        out.effect(Effect::Detach(queues));
        Some(subscription)
    }

    fn removal(&self, identity: Identity, shard: ShardId, filters: &[Filter]) -> Vec<Command> {
        let Identity { sid, epoch, .. } = identity;
        let mut commands = Vec::new();
        for filter in filters {
            if shard == sid.home {
                commands.push(Command::Unsubscribe { sid, epoch, filter: filter.clone() });
            }
            if may_overflow(filter) {
                commands.push(self.shared.interest(false, filter.clone(), identity.owner()));
            }
        }
        commands
    }

    /// A shard has removed its part, or not.
    pub(super) fn removed(&mut self, mut job: Unsubscribing, replies: &Result<Vec<Reply>, Error>, out: &mut Output) {
        job.waiting = job.waiting.saturating_sub(1);
        let fenced = |reply: &Reply| *reply == Reply::Rejected(Rejected::Fenced);
        if replies.as_ref().is_ok_and(|replies| replies.iter().any(fenced)) {
            return self.end(End::fenced(), out);
        }
        if replies.is_err() {
            if !self.version.is_v5() {
                // UNSUBACK of 3.x can only say that all went well.
                return self.end(End::server(Reason::UnspecifiedError, "unsubscribe failed"), out);
            }
            let done = job.reasons.iter_mut().filter(|reason| **reason == Reason::Success);
            done.for_each(|reason| *reason = Reason::UnspecifiedError);
        }
        if job.waiting == 0 {
            self.unsubscribed(job, out);
        } else {
            self.job = Some(Job::Unsubscribe(job));
        }
    }

    fn unsubscribed(&mut self, job: Unsubscribing, out: &mut Output) {
        let reasons = if self.version.is_v5() { job.reasons } else { Vec::new() };
        out.packet(Packet::UnsubAck(UnsubAck { pid: job.pid, reasons, properties: Properties::EMPTY }));
        self.next_job(out);
    }
}
