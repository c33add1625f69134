//! Publishes from the client: collected while its socket is read, proposed together, acknowledged in their order.
//!
//! ```text
//!  PUBLISH … PUBLISH ─► one group a shard ─propose─► replies ─► PUBACKs, in the order of the PUBLISHes
//!     (one socket read)                     several outstanding, bounded by bytes and count
//! ```
//!
//! A PUBACK says durable and applied (design §1). Where a publish fails, 5.0 says so in its PUBACK; 3.x cannot, so its
//! connection is closed and the client sends again what was not acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use causeway_compute::port::{Command, Error, Reply};
use causeway_model::{ClientId, Kind, Message, PacketId, Publisher, Qos, ShardId, Topic};

use super::effect::{Call, Now, Output, Ticket, Write};
use super::{Shared, properties};
use crate::codec::{PropertyId, Publish, Reason, Version};

/// What a publish costs beside topic, properties and payload, so that a flood of empty ones is bounded too.
const OVERHEAD: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Collected since the last flush, a group a shard.
    groups: Vec<Group>,
    /// Proposed and not answered.
    proposals: VecDeque<Proposal>,
    next_proposal: u64,
    /// QoS 1 publishes that are not acknowledged, in their order.
    acks: VecDeque<Ack>,
    /// The number of the first of `acks`.
    first_ack: u64,
    /// Bytes of publishes collected or proposed.
    bytes: usize,
}

#[derive(Debug)]
struct Group {
    shard: ShardId,
    commands: Vec<Command>,
    /// For each command the number of its acknowledgement, if it is to have one.
    acks: Vec<Option<u64>>,
    bytes: usize,
}

#[derive(Debug)]
struct Proposal {
    number: u64,
    acks: Vec<Option<u64>>,
    bytes: usize,
}

#[derive(Debug)]
struct Ack {
    pid: PacketId,
    outcome: Option<Reason>,
}

/// Why a publish ends the connection, and what 5.0 says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fatal {
    pub(super) reason: Reason,
    pub(super) why: &'static str,
}

impl Fatal {
    pub(super) const fn new(reason: Reason, why: &'static str) -> Self {
        Self { reason, why }
    }
}

impl Inbound {
    /// Whether there is room for another publish. Receive Maximum is the client's to keep in 5.0; 3.x has none, so its
    /// socket is not read instead.
    pub(super) fn has_room(&self, shared: &Shared, version: Version) -> bool {
        let count = version.is_v5() || self.acks.len() < usize::from(shared.settings.receive_maximum);
        count && self.bytes < shared.settings.inbound_bytes.max(1)
    }

    /// Takes a PUBLISH.
    pub(super) fn publish(
        &mut self,
        shared: &Shared,
        version: Version,
        client: &ClientId,
        now: Now,
        packet: Publish,
        out: &mut Output,
    ) -> Result<(), Fatal> {
        check(&packet)?;
        if packet.pid.is_some() && self.acks.len() >= usize::from(shared.settings.receive_maximum) {
            // Only 5.0 can come here: 3.x is not read.
            return Err(Fatal::new(Reason::ReceiveMaximumExceeded, "more publishes than Receive Maximum"));
        }
        let ack = packet.pid.map(|pid| self.expect(pid));
        let Ok(topic) = Topic::new(packet.topic.clone()) else {
            return self.refuse(version, ack, Reason::TopicNameInvalid, out);
        };
        let cost = [packet.topic.len(), packet.properties.block().len(), packet.payload.len()].iter().sum::<usize>();
        let cost = cost.saturating_add(OVERHEAD);
        let home = shared.cluster.shard_of(&shared.namespace, topic.as_str());
        let message = message(shared, client, now, packet, topic);
        let group = self.group(home);
        group.commands.push(Command::Publish(message));
        group.acks.push(ack);
        group.bytes = group.bytes.saturating_add(cost);
        self.bytes = self.bytes.saturating_add(cost);
        Ok(())
    }

    fn expect(&mut self, pid: PacketId) -> u64 {
        let number = self.first_ack.saturating_add(self.acks.len() as u64);
        self.acks.push_back(Ack { pid, outcome: None });
        number
    }

    fn group(&mut self, shard: ShardId) -> &mut Group {
        let new = || Group { shard, commands: Vec::new(), acks: Vec::new(), bytes: 0 };
        match self.groups.iter().position(|group| group.shard == shard) {
            Some(at) => &mut self.groups[at],
            None => self.groups.push_mut(new()),
        }
    }

    /// A socket read is over: proposes what it brought.
    pub(super) fn flush(&mut self, out: &mut Output) {
        for group in std::mem::take(&mut self.groups) {
            let Group { shard, commands, acks, bytes } = group;
            let number = self.next_proposal;
            self.next_proposal += 1;
            self.proposals.push_back(Proposal { number, acks, bytes });
            out.call(Ticket::Publish(number), Call::Propose(shard, commands));
        }
    }

    /// What came of a proposal.
    pub(super) fn replied(
        &mut self,
        version: Version,
        number: u64,
        replies: Result<Vec<Reply>, Error>,
        out: &mut Output,
    ) -> Result<(), Fatal> {
        let Some(at) = self.proposals.iter().position(|proposal| proposal.number == number) else { return Ok(()) };
        let Some(proposal) = self.proposals.remove(at) else { return Ok(()) };
        self.bytes = self.bytes.saturating_sub(proposal.bytes);
        match replies {
            Ok(replies) => {
                let mut replies = replies.into_iter();
                for ack in proposal.acks {
                    // A reply that is missing leaves its publish without an answer, so the client sends it again.
                    let Some(reply) = replies.next() else { return Err(lost()) };
                    self.settle(version, ack, &reply, out)?;
                }
                self.acknowledge(out);
                Ok(())
            }
            Err(error) => self.failed(version, proposal.acks, &error.kind, out),
        }
    }

    fn settle(&mut self, version: Version, ack: Option<u64>, reply: &Reply, out: &mut Output) -> Result<(), Fatal> {
        match reply {
            Reply::Published { .. } | Reply::Duplicate => {
                count(&mut out.tally.published, if ack.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce });
                self.resolve(ack, Reason::Success);
                Ok(())
            }
            Reply::Rejected(rejected) => self.fail(version, ack, &rejected.kind(), out),
            Reply::Interest { .. }
            | Reply::Opened(_)
            | Reply::Subscribed { .. }
            | Reply::Unsubscribed { .. }
            | Reply::Done => Err(lost()),
        }
    }

    fn failed(&mut self, version: Version, acks: Vec<Option<u64>>, kind: &Kind, out: &mut Output) -> Result<(), Fatal> {
        for ack in acks {
            self.fail(version, ack, kind, out)?;
        }
        self.acknowledge(out);
        Ok(())
    }

    fn fail(&mut self, version: Version, ack: Option<u64>, kind: &Kind, out: &mut Output) -> Result<(), Fatal> {
        let reason = match kind {
            Kind::Busy { .. } | Kind::DiskFull | Kind::Quota => Reason::QuotaExceeded,
            Kind::Denied => Reason::NotAuthorized,
            Kind::Invalid | Kind::NotFound | Kind::Unsupported | Kind::Corrupt => Reason::ImplementationSpecificError,
            Kind::TooLarge => return Err(Fatal::new(Reason::PacketTooLarge, "message larger than the log takes")),
            // May have been done: an answer either way could be wrong, so there is none.
            Kind::Unknown => return Err(lost()),
            Kind::NotLeader { .. } | Kind::Unavailable => {
                return Err(Fatal::new(Reason::ServerBusy, "the shard of the topic is out of reach"));
            }
            Kind::Fenced => return Err(Fatal::new(Reason::SessionTakenOver, "another gateway owns the session")),
        };
        self.refuse(version, ack, reason, out)
    }

    /// A publish that is not logged: 5.0 is told so; QoS 0 is dropped; 3.x at QoS 1 can only be disconnected.
    fn refuse(&mut self, version: Version, ack: Option<u64>, reason: Reason, out: &mut Output) -> Result<(), Fatal> {
        let Some(number) = ack else {
            out.tally.dropped += 1;
            return Ok(());
        };
        out.tally.refused += 1;
        if !version.is_v5() {
            return Err(Fatal::new(reason, "publish refused"));
        }
        self.resolve(Some(number), reason);
        self.acknowledge(out);
        Ok(())
    }

    fn resolve(&mut self, ack: Option<u64>, outcome: Reason) {
        let at = ack.and_then(|number| usize::try_from(number.checked_sub(self.first_ack)?).ok());
        if let Some(ack) = at.and_then(|at| self.acks.get_mut(at)) {
            ack.outcome = Some(outcome);
        }
    }

    fn acknowledge(&mut self, out: &mut Output) {
        while let Some(Ack { pid, outcome: Some(reason) }) = self.acks.front() {
            out.writes.push(Write::PubAck(*pid, *reason));
            self.acks.pop_front();
            self.first_ack += 1;
        }
    }
}

fn lost() -> Fatal {
    Fatal::new(Reason::ImplementationSpecificError, "outcome of a publish unknown")
}

pub(super) fn count(counts: &mut [u64; 3], qos: Qos) {
    if let Some(count) = counts.get_mut(usize::from(qos.number())) {
        *count += 1;
    }
}

/// What CONNACK said that we do not take (§3.2.2.3.4, §3.2.2.3.5, §3.2.2.3.8).
fn check(publish: &Publish) -> Result<(), Fatal> {
    if publish.qos == Qos::ExactlyOnce {
        return Err(Fatal::new(Reason::QosNotSupported, "QoS 2 is not supported yet"));
    }
    if publish.retain {
        return Err(Fatal::new(Reason::RetainNotSupported, "retained messages are not supported yet"));
    }
    if publish.properties.contains(PropertyId::TopicAlias) {
        return Err(Fatal::new(Reason::TopicAliasInvalid, "topic alias above the maximum of 0"));
    }
    Ok(())
}

fn message(shared: &Shared, client: &ClientId, now: Now, publish: Publish, topic: Topic) -> Message {
    let expiry = publish.properties.message_expiry_interval();
    Message {
        namespace: shared.namespace.clone(),
        topic,
        qos: publish.qos,
        retain: publish.retain,
        expiry: expiry.map(|seconds| Duration::from_secs(u64::from(seconds))),
        born: now.wall,
        publisher: Publisher { client: client.clone(), session: None, pid: publish.pid },
        properties: properties::from_wire(&publish.properties),
        body: publish.payload,
    }
}
