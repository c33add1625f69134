//! The ports: a call is encoded where it is made, queued, and decoded where it is awaited.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use causeway_compute::port::{
    Broker, ClientSession, Cluster, Command, Error, Frames, GatewayState, Overview, Page, Read, Reply, Session,
    ShardStatus, Wants,
};
use causeway_model::{ClientId, Incarnation, Kind, Message, Namespace, Position, Qos, ShardId, Sid};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use prost::Message as _;
use tokio::sync::oneshot;

use super::Client;
use super::calls::{Calls, NotTaken};
use super::outstanding::{Again, Call};
use super::shared::{Asker, RETRY_AFTER};
use crate::convert::{self, Malformed};
use crate::proto as pb;
use crate::proto::answer::Kind as Answered;
use crate::proto::query::Kind as Query;

impl Broker for Client {
    fn cluster(&self) -> Cluster {
        self.shared.cluster
    }

    fn propose(&self, shard: ShardId, commands: Vec<Command>) -> BoxFuture<'static, Result<Vec<Reply>, Error>> {
        const OPERATION: &str = "propose";
        if commands.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        let (body, again) = encode(shard, &commands);
        if body.len() > self.shared.message_bytes() {
            return refuse(OPERATION, shard, Kind::TooLarge);
        }
        let (waiter, answer) = oneshot::channel();
        // Interest, progress and the ends of sessions are of use to others; messages and openings to their client.
        let own = |command: &Command| matches!(command, Command::Publish(_) | Command::SessionOpen(_));
        let callers_own = commands.iter().all(own);
        let call = Call { body, commands: commands.len(), again, callers_own, cut: Vec::new(), waiter };
        if let Err(why) = self.shared.proposals.push(call) {
            return refuse(OPERATION, shard, not_taken(why));
        }
        let error = move |kind| Error { operation: OPERATION, shard, kind };
        answer.map(move |answer| answer.unwrap_or(Err(Kind::Unknown)).map_err(error)).boxed()
    }

    fn read(&self, shard: ShardId, reads: Vec<Read>) -> BoxFuture<'static, Result<Vec<Page>, Error>> {
        if reads.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        let count = reads.len();
        let query = Query::Read(pb::ReadQuery { shard: shard.0, reads: reads.iter().map(convert::read_to).collect() });
        self.ask("read", shard, query, move |parts| {
            let mut pages = Vec::with_capacity(count);
            for part in parts {
                let Answered::Pages(part) = part else { return Err(Malformed::Missing("pages")) };
                for page in &part.pages {
                    pages.push(convert::page_from(page)?);
                }
            }
            complete(pages, count)
        })
    }

    fn fetch(
        &self,
        shard: ShardId,
        positions: Vec<Position>,
    ) -> BoxFuture<'static, Result<Vec<Option<Arc<Message>>>, Error>> {
        if positions.is_empty() {
            return ready(Ok(Vec::new())).boxed();
        }
        let count = positions.len();
        let positions = positions.iter().map(|position| position.0).collect();
        let query = Query::Fetch(pb::FetchQuery { shard: shard.0, positions });
        self.ask("fetch", shard, query, move |parts| {
            let mut messages = Vec::with_capacity(count);
            for part in parts {
                let Answered::Messages(part) = part else { return Err(Malformed::Missing("messages")) };
                for fetched in part.messages {
                    let message = fetched.message.map(|message| convert::message_from(detach(message))).transpose()?;
                    messages.push(message.map(Arc::new));
                }
            }
            complete(messages, count)
        })
    }

    fn session(&self, shard: ShardId, sid: Sid) -> BoxFuture<'static, Result<Session, Error>> {
        let query = Query::Session(pb::SessionQuery { shard: shard.0, sid: Some(convert::sid_to(sid)) });
        self.ask("session", shard, query, |parts| {
            let Answered::Session(session) = one(parts)? else { return Err(Malformed::Missing("session")) };
            convert::session_from(session)
        })
    }

    fn notify(&self, shard: ShardId) -> Frames {
        self.shared.readers.add(shard, None, &self.shared.proposals)
    }

    fn notify_of(&self, shard: ShardId, wants: &Arc<Wants>) -> Frames {
        if !self.shared.precise {
            wants.everything();
            return self.notify(shard);
        }
        self.shared.readers.add(shard, Some(Arc::clone(wants)), &self.shared.proposals)
    }

    fn applied(&self, shard: ShardId) -> Position {
        self.shared.standings.applied(shard)
    }

    fn first(&self, shard: ShardId) -> Position {
        self.shared.standings.first(shard)
    }
}

impl Overview for Client {
    fn client(
        &self,
        namespace: Namespace,
        client: ClientId,
    ) -> BoxFuture<'static, Result<Option<ClientSession>, Error>> {
        let home = self.shared.cluster.home(&namespace, &client.0);
        let query = Query::Client(pb::ClientQuery {
            namespace: namespace.text().as_bytes().clone(),
            client: client.0.into_bytes(),
        });
        self.ask("client", home, query, |parts| {
            let Answered::Client(answer) = one(parts)? else { return Err(Malformed::Missing("client")) };
            answer.session.as_ref().map(convert::client_session_from).transpose()
        })
    }

    fn gateways(&self) -> BoxFuture<'static, Result<Vec<(Incarnation, GatewayState)>, Error>> {
        self.ask("gateways", ShardId(0), Query::Gateways(pb::GatewaysQuery {}), |parts| {
            let Answered::Gateways(gateways) = one(parts)? else { return Err(Malformed::Missing("gateways")) };
            convert::gateways_from(&gateways)
        })
    }

    fn status(&self, shard: ShardId) -> BoxFuture<'static, Result<ShardStatus, Error>> {
        self.ask("status", shard, Query::Status(pb::StatusQuery { shard: shard.0 }), |parts| {
            let Answered::Status(status) = one(parts)? else { return Err(Malformed::Missing("status")) };
            Ok(convert::status_from(&status))
        })
    }
}

impl Client {
    /// Queues a query and makes its parts an answer. Queries change nothing, so a lost link costs them time only.
    fn ask<T: Send + 'static>(
        &self,
        operation: &'static str,
        shard: ShardId,
        query: Query,
        answer: impl FnOnce(Vec<Answered>) -> Result<T, Malformed> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let body: Bytes = pb::Query { kind: Some(query) }.encode_to_vec().into();
        if body.len() > self.shared.message_bytes() {
            return refuse(operation, shard, Kind::TooLarge);
        }
        let queries: &Calls<Asker> = &self.shared.queries;
        let (sender, parts) = oneshot::channel();
        let waiter = Asker(sender);
        if let Err(why) =
            queries.push(Call { body, commands: 0, again: Again::Whole, callers_own: true, cut: Vec::new(), waiter })
        {
            return refuse(operation, shard, not_taken(why));
        }
        let error = move |kind| Error { operation, shard, kind };
        let decode = move |parts: Result<Result<Vec<Answered>, Kind>, _>| {
            let parts = parts.unwrap_or(Err(Kind::Unavailable)).map_err(error)?;
            answer(parts).map_err(|malformed| {
                tracing::error!(operation, %malformed, "a broker's answer makes no sense");
                error(Kind::Invalid)
            })
        };
        parts.map(decode).boxed()
    }
}

fn one(parts: Vec<Answered>) -> Result<Answered, Malformed> {
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next()) {
        (Some(part), None) => Ok(part),
        _ => Err(Malformed::Missing("answer")),
    }
}

fn complete<T>(items: Vec<T>, count: usize) -> Result<Vec<T>, Malformed> {
    if items.len() == count { Ok(items) } else { Err(Malformed::Columns("answer")) }
}

fn not_taken(why: NotTaken) -> Kind {
    match why {
        NotTaken::Full => Kind::Busy { retry_after: RETRY_AFTER },
        NotTaken::Closed => Kind::Unavailable,
    }
}

fn refuse<T: Send + 'static>(
    operation: &'static str,
    shard: ShardId,
    kind: Kind,
) -> BoxFuture<'static, Result<T, Error>> {
    ready(Err(Error { operation, shard, kind })).boxed()
}

/// Messages larger than this are kept as slices of what was received, which is hardly larger.
const DETACH_BELOW: usize = 32 << 10;

/// Copies a small message out of the buffer that it came in: a cache may keep one of a thousand for long, and must not
/// keep all of them.
fn detach(mut message: pb::Message) -> pb::Message {
    let fields = [&message.namespace, &message.topic, &message.client, &message.properties, &message.body];
    let total = fields.iter().map(|field| field.len()).sum();
    if total >= DETACH_BELOW {
        return message;
    }
    let mut own = BytesMut::with_capacity(total);
    for field in fields {
        own.put_slice(field);
    }
    let mut own = own.freeze();
    for field in
        [&mut message.namespace, &mut message.topic, &mut message.client, &mut message.properties, &mut message.body]
    {
        *field = own.split_to(field.len());
    }
    message
}

/// A group's encoding, and what of it may be sent twice.
fn encode(shard: ShardId, commands: &[Command]) -> (Bytes, Again) {
    const COMMANDS: u32 = 2;
    let (mut once, mut never) = (Vec::new(), false);
    let mut body = BytesMut::with_capacity(commands.iter().map(room).sum::<usize>() + 16);
    pb::Group { shard: shard.0, commands: Vec::new() }.encode_raw(&mut body);
    for (index, command) in commands.iter().enumerate() {
        let start = body.len();
        prost::encoding::message::encode(COMMANDS, &convert::command_to(command), &mut body);
        if let Command::Publish(message) = command
            && message.qos == Qos::AtMostOnce
        {
            once.push((index, start..body.len()));
        }
        // Its client may have opened the session elsewhere since: a second one would take it over.
        never |= matches!(command, Command::SessionOpen(_));
    }
    let again = match (never, once.is_empty()) {
        (true, _) => Again::Never,
        (false, false) => Again::Without(once),
        (false, true) => Again::Whole,
    };
    (body.freeze(), again)
}

/// About how many bytes a command's encoding needs.
fn room(command: &Command) -> usize {
    const FIELDS: usize = 96;
    let Command::Publish(message) = command else { return FIELDS };
    let content = message.body.len() + message.properties.encoded().len();
    FIELDS + content + message.topic.as_str().len() + message.publisher.client.0.len()
}
