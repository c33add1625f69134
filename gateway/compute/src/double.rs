//! A broker that does what a test says: proposals wait for the test's answer, frames come when the test sends them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use causeway_model::{
    ClientId, HashKey, Incarnation, Kind, Lineage, Message, Millis, Namespace, Position, Properties, Publisher, Qos,
    QueueId, ShardId, Sid, Stamp, Topic,
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::port::{
    Broker, ClientSession, Cluster, Command, EntryFlags, Error, Frame, FrameSender, Frames, GatewayState, Notice,
    Offered, Overview, Page, Read, Reply, Session, ShardStatus, frames,
};
use crate::process::Process;

pub(crate) struct Double {
    shards: u32,
    state: Mutex<State>,
    proposed: Notify,
}

#[derive(Default)]
struct State {
    applied: HashMap<ShardId, Position>,
    streams: HashMap<ShardId, Vec<Arc<FrameSender>>>,
    proposals: VecDeque<Proposal>,
    messages: HashMap<(ShardId, Position), Arc<Message>>,
    fetched: Vec<Position>,
    hold: Option<oneshot::Receiver<bool>>,
    gateways: Vec<(Incarnation, GatewayState)>,
    term: u64,
}

pub(crate) struct Proposal {
    pub(crate) shard: ShardId,
    pub(crate) commands: Vec<Command>,
    reply: oneshot::Sender<Result<Vec<Reply>, Error>>,
}

impl Proposal {
    /// Answers; nobody may be waiting any more.
    pub(crate) fn answer(self, replies: Vec<Reply>) {
        let _ = self.reply.send(Ok(replies));
    }

    pub(crate) fn fail(self, kind: Kind) {
        let error = Error { operation: "propose", shard: self.shard, kind };
        let _ = self.reply.send(Err(error));
    }
}

impl Double {
    pub(crate) fn new(shards: u32) -> Arc<Self> {
        Arc::new(Self { shards, state: Mutex::default(), proposed: Notify::new() })
    }

    pub(crate) fn set_applied(&self, shard: u32, position: u64) {
        self.state.lock().applied.insert(ShardId(shard), Position(position));
    }

    /// Sends a frame to the newest stream; false where nobody asked for one.
    pub(crate) fn send(&self, frame: Frame) -> bool {
        self.set_applied(frame.shard.0, frame.to.0);
        let stream = self.state.lock().streams.get(&frame.shard).and_then(|streams| streams.last().cloned());
        match stream {
            Some(stream) => stream.offer(&Arc::new(frame)) == Offered::Taken,
            None => false,
        }
    }

    /// Ends all streams of a shard, as a lost link does.
    pub(crate) fn end_streams(&self, shard: u32) {
        self.state.lock().streams.remove(&ShardId(shard));
    }

    pub(crate) fn has_stream(&self, shard: u32) -> bool {
        self.state.lock().streams.contains_key(&ShardId(shard))
    }

    /// The next proposal, in the order of the calls.
    pub(crate) async fn proposal(&self) -> Proposal {
        loop {
            let notified = self.proposed.notified();
            if let Some(proposal) = self.state.lock().proposals.pop_front() {
                return proposal;
            }
            notified.await;
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().proposals.len()
    }

    pub(crate) fn store(&self, shard: u32, position: u64, message: Message) {
        self.state.lock().messages.insert((ShardId(shard), Position(position)), Arc::new(message));
    }

    /// The next fetch waits for the word: true, and it is answered; false, and it fails.
    pub(crate) fn hold_fetch(&self) -> oneshot::Sender<bool> {
        let (word, hold) = oneshot::channel();
        self.state.lock().hold = Some(hold);
        word
    }

    /// What shard 0 knows of gateways, and the term of its leader.
    pub(crate) fn set_gateways(&self, term: u64, gateways: Vec<(Incarnation, GatewayState)>) {
        let mut state = self.state.lock();
        (state.term, state.gateways) = (term, gateways);
    }

    /// What was asked for since the last call.
    pub(crate) fn fetched(&self) -> Vec<Position> {
        std::mem::take(&mut self.state.lock().fetched)
    }
}

impl Broker for Double {
    fn cluster(&self) -> Cluster {
        Cluster { lineage: Lineage(1), key: HashKey([3; 16]), level: 1, shards: self.shards }
    }

    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        let (reply, replied) = oneshot::channel();
        self.state.lock().proposals.push_back(Proposal { shard, commands, reply });
        self.proposed.notify_one();
        let lost = Error { operation: "propose", shard, kind: Kind::Unknown };
        Box::pin(async move { replied.await.unwrap_or(Err(lost)) })
    }

    fn read(&self, shard: ShardId, _: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        Box::pin(std::future::ready(Err(Error { operation: "read", shard, kind: Kind::Unsupported })))
    }

    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        let mut state = self.state.lock();
        let messages = positions.iter().map(|position| state.messages.get(&(shard, *position)).cloned()).collect();
        state.fetched.extend(positions);
        let Some(hold) = state.hold.take() else { return Box::pin(std::future::ready(Ok(messages))) };
        let failed = Error { operation: "fetch", shard, kind: Kind::Unavailable };
        Box::pin(async move { if hold.await == Ok(true) { Ok(messages) } else { Err(failed) } })
    }

    fn session(&self, shard: ShardId, _: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        Box::pin(std::future::ready(Err(Error { operation: "session", shard, kind: Kind::Unsupported })))
    }

    fn notify(&self, shard: ShardId) -> Frames {
        let (sender, frames) = frames(64, usize::MAX);
        self.state.lock().streams.entry(shard).or_default().push(Arc::new(sender));
        frames
    }

    fn applied(&self, shard: ShardId) -> Position {
        self.state.lock().applied.get(&shard).copied().unwrap_or_default()
    }

    fn first(&self, _: ShardId) -> Position {
        Position(0)
    }
}

impl Overview for Double {
    fn client(&self, _: Namespace, _: ClientId) -> BoxFuture<'static, Result<Option<ClientSession>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, Error>> {
        Box::pin(std::future::ready(Ok(self.state.lock().gateways.clone())))
    }

    /// Position zero everywhere, and no shard without a term.
    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, Error>> {
        let at = Position(0);
        let status = match self.state.lock().term {
            0 => Err(Error { operation: "status", shard, kind: Kind::Unavailable }),
            term => Ok(ShardStatus { first: at, durable: at, applied: at, term, leader: true }),
        };
        Box::pin(std::future::ready(status))
    }
}

/// A process of its own, with metrics of its own.
pub(crate) fn process() -> Process {
    Process::new(prometheus::Registry::new()).unwrap()
}

pub(crate) fn queue(number: u8) -> QueueId {
    QueueId([number; 16])
}

/// A frame from one position to another, with a notice for each (stamp, queues).
pub(crate) fn frame(shard: u32, from: u64, to: u64, notices: &[(u64, &[u8])]) -> Frame {
    let notice = |(stamp, queues): &(u64, &[u8])| Notice {
        stamp: Stamp(*stamp),
        position: Position(*stamp),
        length: 100,
        flags: EntryFlags::default(),
        queues: queues.len().try_into().unwrap(),
    };
    Frame {
        shard: ShardId(shard),
        from: Position(from),
        to: Position(to),
        collapsed: false,
        notices: notices.iter().map(notice).collect(),
        queues: notices.iter().flat_map(|(_, queues)| queues.iter().copied().map(queue)).collect(),
    }
}

pub(crate) fn message(body: &'static [u8]) -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new("a/b".into()).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(0),
        publisher: Publisher { client: ClientId("p".into()), session: None, pid: None },
        properties: Properties::default(),
        body: body.into(),
    }
}
