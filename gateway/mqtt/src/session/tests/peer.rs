//! A session with everything around it: the calls it waits for, its mailbox, the packets it wrote.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::notify::Taken;
use causeway_compute::port::LaneProgress;
use causeway_model::{ClientId, Epoch, Incarnation, Millis, ShardId};

use super::broker::{Broker, Mail, incarnation, namespace};
use crate::Settings;
use crate::codec::{Packet, Reason, Version};
use crate::session::{Answer, Call, Cause, Delivery, Effect, Now, Output, Session, Shared, Ticket, Write};

pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) mail: Mail,
    pub(super) now: Now,
    /// Calls that were made and not answered. A proposal has taken effect; its reply is here.
    pub(super) pending: VecDeque<(Ticket, Result<Answer, Call>)>,
    /// What was written and not yet looked at.
    pub(super) written: VecDeque<Write>,
    pub(super) progress: Vec<(ShardId, LaneProgress)>,
    pub(super) released: Vec<String>,
    pub(super) closed: bool,
    /// For each time the client entered: whether it wants its session back.
    pub(super) resumes: Vec<bool>,
    pub(super) taken_from: Vec<(Incarnation, Epoch)>,
    /// Bytes that may wait for the socket.
    pub(super) room: usize,
    /// Commands in the order of their proposals.
    pub(super) proposed: Vec<causeway_compute::port::Command>,
    out: Output,
}

impl Peer {
    pub(super) fn new(broker: &Broker, settings: Settings, mailbox: usize) -> Self {
        let (namespace, incarnation) = (namespace(), incarnation());
        let shared = Arc::new(Shared { cluster: broker.cluster, namespace, incarnation, settings });
        let now = Now { elapsed: Duration::from_secs(100), wall: Millis(1_000_000) };
        Self {
            session: Session::new(shared, 1, now),
            mail: Mail::new(broker, mailbox, false),
            now,
            pending: VecDeque::new(),
            written: VecDeque::new(),
            progress: Vec::new(),
            released: Vec::new(),
            closed: false,
            resumes: Vec::new(),
            taken_from: Vec::new(),
            room: 1 << 20,
            proposed: Vec::new(),
            out: Output::default(),
        }
    }

    /// Does what the last step left to do, but answers nothing.
    fn settle(&mut self, broker: &mut Broker) {
        for (ticket, call) in std::mem::take(&mut self.out.calls) {
            let answer = match call {
                Call::Propose(shard, commands) => {
                    self.proposed.extend(commands.iter().cloned());
                    Ok(Answer::Replies(broker.propose(shard, commands)))
                }
                Call::Attach(queues) => Ok(Answer::Attached(self.mail.attach(broker, queues))),
                Call::Enter { resume, .. } => {
                    self.resumes.push(resume);
                    Ok(Answer::Entered)
                }
                other @ (Call::Rows(..) | Call::Read(..) | Call::Fetch(..) | Call::Acquire(_)) => Err(other),
            };
            self.pending.push_back((ticket, answer));
        }
        for effect in std::mem::take(&mut self.out.effects) {
            match effect {
                Effect::Detach(queues) => self.mail.detach(&queues),
                Effect::Release(filter) => self.released.push(filter.to_string()),
                Effect::Progress(shard, progress) => self.progress.push((shard, progress)),
                Effect::Gap { .. } => {}
                Effect::TakenFrom { owner, epoch } => self.taken_from.push((owner, epoch)),
                Effect::Close => self.closed = true,
            }
        }
        self.written.extend(self.out.writes.drain(..));
    }

    fn step(&mut self, broker: &mut Broker, step: impl FnOnce(&mut Session, Now, &mut Output)) {
        step(&mut self.session, self.now, &mut self.out);
        self.session.pump(self.room, self.now, &mut self.out);
        self.settle(broker);
    }

    /// Packets of one socket read.
    pub(super) fn packets(&mut self, broker: &mut Broker, packets: impl IntoIterator<Item = Packet>) {
        self.step(broker, |session, now, out| {
            packets.into_iter().for_each(|packet| session.packet(packet, now, out));
            session.flush(out);
        });
    }

    pub(super) fn packet(&mut self, broker: &mut Broker, packet: Packet) {
        self.packets(broker, [packet]);
    }

    /// Answers the pending call at `at`.
    pub(super) fn answer(&mut self, broker: &mut Broker, at: usize) {
        let Some((ticket, answer)) = self.pending.remove(at) else { return };
        let answer = answer.unwrap_or_else(|call| match call {
            Call::Rows(shard, sid) => Answer::Rows(Ok(broker.session(shard, sid)), causeway_model::Position(0)),
            Call::Read(shard, reads) => Answer::Pages(Ok(broker.read(shard, &reads))),
            Call::Fetch(shard, positions) => Answer::Messages(Ok(broker.fetch(shard, &positions))),
            Call::Acquire(filter) => {
                let owner = causeway_compute::port::Owner::Gateway(incarnation());
                let interest = causeway_compute::port::Interest { add: true, namespace: namespace(), filter, owner };
                let add = causeway_compute::port::Command::Interest(interest);
                let shards: Vec<_> = broker.cluster.shards().collect();
                for shard in &shards {
                    broker.propose(*shard, vec![add.clone()]).unwrap();
                }
                Answer::Acquired(Ok(shards.into_iter().map(|shard| (shard, broker.applied(shard))).collect()))
            }
            Call::Propose(..) | Call::Attach(_) | Call::Enter { .. } => unreachable!("answered when it was made"),
        });
        self.step(broker, |session, now, out| session.answer(ticket, answer, now, out));
    }

    /// Answers everything until nothing is pending.
    pub(super) fn answer_all(&mut self, broker: &mut Broker) {
        for _ in 0..100_000 {
            if self.pending.is_empty() {
                return;
            }
            self.answer(broker, 0);
        }
        panic!("calls without end");
    }

    pub(super) fn take_hints(&mut self, broker: &mut Broker) {
        if !self.session.takes_hints() {
            return;
        }
        let dispatched = self.mail.dispatched.clone();
        let hints = std::mem::take(&mut self.mail.hints);
        let taken = Taken { lagging: std::mem::take(&mut self.mail.lagging).into_iter().collect() };
        self.step(broker, |session, now, out| session.hints(hints, taken, &dispatched, now, out));
    }

    /// Hands out everything and lets the session have it.
    pub(super) fn catch_up(&mut self, broker: &mut Broker) {
        for shard in broker.cluster.shards() {
            self.mail.dispatch(broker, shard, 1000, false);
        }
        self.answer_all(broker);
        self.take_hints(broker);
        self.answer_all(broker);
    }

    pub(super) fn pump(&mut self, broker: &mut Broker) {
        self.step(broker, |_, _, _| {});
    }

    pub(super) fn tick(&mut self, broker: &mut Broker, after: Duration) {
        self.now.elapsed += after;
        self.now.wall = self.now.wall.plus(after);
        self.step(broker, |session, now, out| session.tick(now, 1 << 40, out));
    }

    pub(super) fn end(&mut self, broker: &mut Broker, cause: Cause) {
        self.step(broker, |session, _, out| session.ended(cause, out));
    }

    pub(super) fn undecodable(&mut self, broker: &mut Broker, error: crate::codec::Error, version: Option<Version>) {
        self.step(broker, |session, _, out| session.undecodable(&error, version, out));
    }

    /// The packets written so far, deliveries apart.
    pub(super) fn take_packets(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        self.written.retain(|write| match write {
            Write::Packet(packet) => {
                packets.push(packet.clone());
                false
            }
            Write::PubAck(..) | Write::Publish(_) => true,
        });
        packets
    }

    /// The one packet written.
    pub(super) fn take_packet(&mut self) -> Packet {
        let mut packets = self.take_packets();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    pub(super) fn take_acks(&mut self) -> Vec<(u16, Reason)> {
        let mut acks = Vec::new();
        self.written.retain(|write| match write {
            Write::PubAck(pid, reason) => {
                acks.push((pid.get(), *reason));
                false
            }
            Write::Packet(_) | Write::Publish(_) => true,
        });
        acks
    }

    pub(super) fn take_deliveries(&mut self) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        self.written.retain(|write| match write {
            Write::Publish(delivery) => {
                deliveries.push(delivery.clone());
                false
            }
            Write::Packet(_) | Write::PubAck(..) => true,
        });
        deliveries
    }

    pub(super) fn client(&self) -> &ClientId {
        self.session.client()
    }
}
