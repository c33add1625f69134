//! A caller of the port that expects success: what the behaviours have in common.

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{
    ClientId, Epoch, Filter, Incarnation, Message, Millis, Namespace, Position, Properties, Publisher, Qos, QueueId,
    ShardId, Sid, SubscribeOptions, Text, Topic,
};

use super::World;
use crate::port::{
    Broker, Command, Entry, Interest, LaneProgress, Opened, Owner, Page, QueueRef, Read, Reply, Session, SessionOpen,
    Subscribe,
};

/// Talks to the first shard of a world.
pub struct Client {
    /// The port.
    pub broker: Arc<dyn Broker>,
    /// The shard that everything goes to.
    pub shard: ShardId,
}

impl Client {
    /// A client of a world's first shard.
    pub fn new(world: &impl World) -> Self {
        Self { broker: world.broker(), shard: ShardId(0) }
    }

    /// Proposes, and expects an answer.
    pub async fn propose(&self, commands: Vec<Command>) -> Vec<Reply> {
        self.broker.propose(self.shard, commands).await.unwrap()
    }

    /// Proposes one command.
    pub async fn one(&self, command: Command) -> Reply {
        let replies = self.propose(vec![command]).await;
        let [reply] = replies.try_into().unwrap();
        reply
    }

    /// Publishes, and returns where the message is.
    pub async fn publish(&self, topic: &str, body: &str) -> Position {
        published(&self.one(Command::Publish(message(topic, body))).await)
    }

    /// Adds a wildcard for a gateway, and returns the position above which it has messages.
    pub async fn add(&self, filter: &str, owner: Owner) -> Position {
        let Reply::Interest { position } = self.one(interest(true, filter, owner)).await else { panic!("no interest") };
        position
    }

    /// Removes a wildcard.
    pub async fn remove(&self, filter: &str, owner: Owner) -> Position {
        let Reply::Interest { position } = self.one(interest(false, filter, owner)).await else {
            panic!("no interest")
        };
        position
    }

    /// Opens a session.
    pub async fn open(&self, client: &str, clean_start: bool, expiry: Duration, owner: Incarnation) -> Opened {
        let open = SessionOpen {
            namespace: Namespace::default(),
            client: ClientId(Text::from(client)),
            clean_start,
            expiry,
            owner,
            attempt: 0,
            will: None,
        };
        let Reply::Opened(opened) = self.one(Command::SessionOpen(open)).await else { panic!("not opened") };
        opened
    }

    /// Subscribes, and returns the reply.
    pub async fn subscribe(&self, session: (Sid, Epoch), filter: &str, options: SubscribeOptions, at: u64) -> Reply {
        let (sid, epoch) = session;
        let from = vec![(self.shard, Position(at))];
        self.one(Command::Subscribe(Subscribe { sid, epoch, filter: self::filter(filter), options, from })).await
    }

    /// Logs one lane's progress.
    pub async fn progress(&self, progress: LaneProgress) -> Reply {
        self.one(Command::Progress(vec![progress])).await
    }

    /// The rows of a session.
    pub async fn session(&self, sid: Sid) -> Session {
        self.broker.session(self.shard, sid).await.unwrap()
    }

    /// The queue of a filter, exact or not.
    pub fn queue(&self, filter: &str) -> QueueRef {
        let filter = self::filter(filter);
        if filter.is_all() { QueueRef::All(Namespace::default()) } else { QueueRef::Sparse(self.id(&filter)) }
    }

    /// The id of a filter's queue in the default namespace.
    pub fn id(&self, filter: &Filter) -> QueueId {
        self.broker.cluster().key.filter_queue(&Namespace::default(), filter)
    }

    /// Reads one page.
    pub async fn page(&self, queue: QueueRef, after: Position, upto: Position, limit: usize) -> Page {
        let reads = vec![Read { queue, after, upto, limit }];
        let [page] = self.broker.read(self.shard, reads).await.unwrap().try_into().unwrap();
        page
    }

    /// All entries of a queue.
    pub async fn entries(&self, queue: QueueRef) -> Vec<Entry> {
        let page = self.page(queue, Position(0), Position(u64::MAX), usize::MAX).await;
        assert!(!page.more);
        page.entries
    }

    /// The bodies of all messages that a filter's queue holds.
    pub async fn bodies(&self, filter: &str) -> Vec<String> {
        let entries = self.entries(self.queue(filter)).await;
        self.fetch(&entries).await
    }

    /// The bodies of entries.
    pub async fn fetch(&self, entries: &[Entry]) -> Vec<String> {
        let positions = entries.iter().map(|entry| entry.position).collect();
        let messages = self.broker.fetch(self.shard, positions).await.unwrap();
        messages.into_iter().map(|message| String::from_utf8(message.unwrap().body.to_vec()).unwrap()).collect()
    }
}

/// A QoS 1 message.
pub(super) fn message(topic: &str, body: &str) -> Message {
    Message {
        namespace: Namespace::default(),
        topic: Topic::new(Text::from(topic)).unwrap(),
        qos: Qos::AtLeastOnce,
        retain: false,
        expiry: None,
        born: Millis(1_700_000_000_000),
        publisher: Publisher { client: ClientId(Text::from_static("suite")), session: None, pid: None },
        properties: Properties::default(),
        body: body.to_owned().into(),
    }
}

/// Publishes of numbered bodies.
pub(super) fn numbered(topic: &str, numbers: std::ops::Range<u32>) -> Vec<Command> {
    numbers.map(|number| Command::Publish(message(topic, &number.to_string()))).collect()
}

pub(super) fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

pub(super) fn published(reply: &Reply) -> Position {
    let Reply::Published { position } = reply else { panic!("not published: {reply:?}") };
    *position
}

pub(super) fn filter(filter: &str) -> Filter {
    Filter::new(Text::from(filter)).unwrap()
}

pub(super) fn interest(add: bool, filter: &str, owner: Owner) -> Command {
    Command::Interest(Interest { add, namespace: Namespace::default(), filter: self::filter(filter), owner })
}

/// The gateway with a number.
pub(super) fn gateway(number: u128) -> Owner {
    Owner::Gateway(Incarnation(number))
}
