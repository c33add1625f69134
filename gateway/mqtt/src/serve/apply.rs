//! Doing what a session wants: packets are encoded, calls started, effects carried out.

use std::cell::RefCell;
use std::sync::Arc;

use causeway_compute::registry::Kick;
use causeway_model::{ClientId, Filter, QueueId};
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::{Pending, last_words};
use super::connection::Connection;
use super::shared;
use crate::codec::Properties;
use crate::session::{Answer, Call, Cause, Delivery, Effect, Output, Tally, Ticket, Write};

thread_local! {
    static SCRATCH: RefCell<Output> = RefCell::default();
}

/// Most writes whose room is kept between polls.
const KEPT: usize = 1024;

/// An empty output, with the room that earlier ones had: a silent client keeps none.
pub(super) fn scratch() -> Output {
    SCRATCH.take()
}

/// Gives an output back.
pub(super) fn keep(out: Output) {
    if out.writes.capacity() <= KEPT {
        SCRATCH.set(out);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Does all of it; whether there was anything.
    pub(super) fn apply(&mut self, out: &mut Output) -> bool {
        let moved = !(out.writes.is_empty() && out.calls.is_empty() && out.effects.is_empty());
        for write in out.writes.drain(..) {
            self.server.metrics.told(&write);
            self.write(write);
        }
        let close = out.effects.contains(&Effect::Close);
        // Before the calls: what an UNSUBSCRIBE detaches, the SUBSCRIBE right behind it attaches again.
        for effect in out.effects.drain(..) {
            self.effect(effect);
        }
        for (ticket, call) in out.calls.drain(..) {
            self.call(ticket, call);
        }
        self.server.metrics.add(&out.tally);
        out.tally = Tally::default();
        self.note_opened();
        if close {
            self.close();
        }
        if self.session.is_ended() {
            // From now on only last words that are not logged yet keep a newcomer waiting.
            self.presence = None;
        }
        moved
    }

    fn write(&mut self, write: Write) {
        let version = self.session.version();
        let written = match write {
            Write::Packet(packet) => self.outbox.packet(&packet, version),
            Write::PubAck(pid, reason) => self.outbox.puback(pid, reason, version),
            Write::Publish(delivery) => self.publish(&delivery),
        };
        if let Err(error) = written {
            // Every packet is made of checked parts: this is a fault of ours, and the packet is missing.
            tracing::error!(client = %self.session.client().0, %error, "packet cannot be encoded");
        }
    }

    fn publish(&mut self, delivery: &Delivery) -> Result<(), crate::codec::Error> {
        let version = self.session.version();
        let properties = if version.is_v5() { shared::properties(delivery)? } else { Properties::EMPTY };
        self.outbox.publish(delivery.publish_with(properties), version)
    }

    fn call(&mut self, ticket: Ticket, call: Call) {
        let context = &self.server.context;
        let broker = &context.broker;
        let pending = match call {
            Call::Propose(shard, commands) if matches!(ticket, Ticket::Close(_)) => {
                Pending::Replies(last_words(Arc::clone(broker), shard, commands, self.presence.clone()))
            }
            Call::Propose(shard, commands) => Pending::Replies(broker.propose(shard, commands)),
            Call::Rows(shard, sid) => Pending::Rows(broker.session(shard, sid), broker.first(shard)),
            Call::Read(shard, reads) => Pending::Pages(broker.read(shard, reads)),
            Call::Fetch(shard, positions) => {
                let messages = Arc::clone(&context.messages);
                Pending::Messages(Box::pin(async move { messages.fetch(shard, positions).await }))
            }
            Call::Enter { client, resume } => self.enter(&client, resume),
            Call::Attach(queues) => self.attach(&queues),
            Call::Acquire(filter) => self.acquire(filter),
        };
        self.calls.start(ticket, pending);
    }

    fn enter(&mut self, client: &ClientId, resume: bool) -> Pending {
        let context = &self.server.context;
        let namespace = &self.server.shared.namespace;
        let (presence, old) = context.registry.enter(namespace, client, self.peer, context.clock.now());
        if context.tasks.drain().has_begun() {
            // Whoever kicks everybody may have passed already.
            presence.handle().kick(Kick::Drain);
        }
        let presence = Arc::new(presence);
        self.presence = Some(Arc::clone(&presence));
        self.leave = Some(Box::pin(async move {
            match presence.kicked().await {
                Kick::TakenOver => Cause::TakenOver,
                Kick::Administrator => Cause::Administrator,
                Kick::Drain => Cause::Drain,
            }
        }));
        let elsewhere = resume.then(|| context.clients.take_over(namespace, client)).flatten();
        if old.is_none() && elsewhere.is_none() {
            return Pending::ready(Answer::Entered);
        }
        if let Some(old) = &old {
            old.kick(Kick::TakenOver);
        }
        Pending::Other(Box::pin(async move {
            if let Some(old) = old {
                old.ended().await;
            }
            if let Some(elsewhere) = elsewhere {
                elsewhere.await;
            }
            Answer::Entered
        }))
    }

    fn attach(&mut self, queues: &[QueueId]) -> Pending {
        let context = &self.server.context;
        let capacity = self.server.shared.settings.mailbox;
        let mailbox = self.mailbox.get_or_insert_with(|| Box::new(context.hub.mailbox(capacity)));
        let attached = context.hub.attach(queues, mailbox);
        let broker = Arc::clone(&context.broker);
        Pending::Other(Box::pin(async move {
            let mut from = attached.above().await;
            // Read after attaching: what was acknowledged to a publisher before now lies at or below.
            for (shard, position) in &mut from {
                *position = broker.applied(*shard).max(*position);
            }
            Answer::Attached(from)
        }))
    }

    fn acquire(&self, filter: Filter) -> Pending {
        let interest = Arc::clone(&self.server.context.interest);
        let namespace = self.server.shared.namespace.clone();
        Pending::Other(Box::pin(async move { Answer::Acquired(interest.acquire(&namespace, &filter).await) }))
    }

    fn effect(&mut self, effect: Effect) {
        let context = &self.server.context;
        match effect {
            Effect::Detach(queues) => {
                for queue in queues {
                    if let Some(mailbox) = &self.mailbox {
                        context.hub.detach(queue, mailbox);
                    }
                }
            }
            Effect::Release(filter) => context.interest.release(&self.server.shared.namespace, &filter),
            Effect::Progress(shard, progress) => {
                // Without room the cursor is not logged until it moves again, or the session ends.
                let _ = self.server.progress.try_send((shard, progress));
            }
            Effect::Gap { shard, bytes } => {
                self.server.metrics.gaps.inc();
                self.server.metrics.gap_bytes.inc_by(bytes);
                let client = &self.session.client().0;
                tracing::warn!(%client, %shard, bytes, "resumed below what the log holds: messages may be missing");
            }
            Effect::TakenFrom { owner, epoch } => {
                let (namespace, client) = (&self.server.shared.namespace, self.session.client());
                context.clients.kick_at(owner, namespace, client, epoch, Kick::TakenOver);
            }
            Effect::Close => {}
        }
    }
}

impl Pending {
    fn ready(answer: Answer) -> Self {
        Self::Other(Box::pin(std::future::ready(answer)))
    }
}
