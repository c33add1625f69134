//! A port's command becomes a log record: one encoding, straight into the group's buffer.

use std::time::Duration;

use bytes::BytesMut;
use causeway_apply::record::{self, Record, encode_message};
use causeway_compute::port::{CloseReason, Command, GatewayEvent, Interest, LaneProgress, Owner, Subscribe};
use causeway_model::{Kind, Message};
use causeway_storage::{Group, GroupBuilder};

use crate::outcome::to_record_state;

/// Room for a record's frame, header and short fields.
const OVERHEAD: usize = 96;

/// What commands must keep to before they are logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Most bytes of a message's body and properties together.
    pub(crate) message_bytes: usize,
    /// Most that a session is granted to outlive its connection.
    pub(crate) session_expiry: Duration,
}

impl Rules {
    /// Encodes all commands as one group.
    ///
    /// # Errors
    /// `TooLarge` if a message is over the limit; nothing is logged then.
    pub(crate) fn encode(&self, commands: Vec<Command>) -> Result<Group, Kind> {
        let mut bytes = 0;
        for command in &commands {
            bytes += OVERHEAD + self.check(command)?;
        }
        let mut group = GroupBuilder::with_capacity(bytes);
        for command in commands {
            group.record(|buf| self.record(command, buf));
        }
        Ok(group.finish())
    }

    /// About how many bytes the command needs beyond [`OVERHEAD`].
    fn check(&self, command: &Command) -> Result<usize, Kind> {
        let message = match command {
            Command::Publish(message) => message,
            Command::SessionOpen(open) => match &open.will {
                Some(will) => &will.message,
                None => return Ok(open.client.0.len()),
            },
            Command::Interest(interest) => return Ok(interest.filter.as_str().len()),
            Command::Subscribe(subscribe) => return Ok(subscribe.filter.as_str().len() + 16 * subscribe.from.len()),
            Command::Unsubscribe { filter, .. } => return Ok(filter.as_str().len()),
            Command::Progress(lanes) => return Ok(lanes.iter().map(|lane| 40 + 20 * lane.flights.len()).sum()),
            Command::TopicPut { name, .. } | Command::TopicDrop { name, .. } => return Ok(name.len()),
            Command::SessionAbandon { client, .. } => return Ok(client.0.len()),
            Command::SessionClose { .. } | Command::Gateway { .. } => return Ok(0),
        };
        let content = message.body.len() + message.properties.encoded().len();
        if content > self.message_bytes {
            return Err(Kind::TooLarge);
        }
        Ok(content + names(message))
    }

    fn record(&self, command: Command, buf: &mut BytesMut) {
        let record = match command {
            // The common case borrows: the body is copied once, from the socket's buffer to the group's.
            Command::Publish(message) => return encode_message(&message, None, buf),
            Command::Interest(interest) => Record::Interest(to_interest(interest)),
            Command::SessionOpen(open) => Record::SessionOpen(record::SessionOpen {
                namespace: open.namespace,
                client: open.client,
                clean_start: open.clean_start,
                expiry: open.expiry.min(self.session_expiry),
                owner: open.owner,
                attempt: open.attempt,
                will: open.will.map(|will| record::Will::new(&will.message, will.delay)),
            }),
            Command::SessionClose { sid, epoch, reason, expiry } => Record::SessionClose(record::SessionClose {
                sid,
                epoch,
                reason: to_reason(reason),
                expiry: expiry.map(|expiry| expiry.min(self.session_expiry)),
            }),
            Command::SessionAbandon { namespace, client, owner, attempt } => {
                Record::SessionAbandon(record::SessionAbandon { namespace, client, owner, attempt })
            }
            Command::Subscribe(Subscribe { sid, epoch, filter, options, from }) => {
                Record::Subscribe(record::Subscribe { sid, epoch, filter, options, from })
            }
            Command::Unsubscribe { sid, epoch, filter } => {
                Record::Unsubscribe(record::Unsubscribe { sid, epoch, filter })
            }
            Command::Progress(lanes) => Record::Progress(lanes.into_iter().map(to_lane).collect()),
            Command::Gateway { incarnation, event } => Record::Gateway(record::Gateway {
                incarnation,
                event: match event {
                    GatewayEvent::Joined => record::GatewayEvent::Joined,
                    GatewayEvent::Lost => record::GatewayEvent::Lost,
                },
            }),
            Command::TopicPut { namespace, name, queues } => {
                Record::TopicPut(record::TopicPut { namespace, name, queues })
            }
            Command::TopicDrop { namespace, name } => Record::TopicDrop(record::TopicDrop { namespace, name }),
        };
        record.encode(buf);
    }
}

fn names(message: &Message) -> usize {
    message.namespace.as_str().len() + message.topic.as_str().len() + message.publisher.client.0.len()
}

fn to_interest(Interest { add, namespace, filter, owner }: Interest) -> record::Interest {
    let owner = match owner {
        Owner::Session { sid, epoch } => record::Owner::Session { sid, epoch },
        Owner::Gateway(incarnation) => record::Owner::Gateway(incarnation),
    };
    record::Interest { add, namespace, filter, owner }
}

fn to_reason(reason: CloseReason) -> record::CloseReason {
    match reason {
        CloseReason::Orderly => record::CloseReason::Orderly,
        CloseReason::OrderlyWithWill => record::CloseReason::OrderlyWithWill,
        CloseReason::ConnectionLost => record::CloseReason::ConnectionLost,
        CloseReason::Server => record::CloseReason::Server,
        CloseReason::GatewayLost => record::CloseReason::GatewayLost,
    }
}

pub(crate) fn from_reason(reason: record::CloseReason) -> CloseReason {
    match reason {
        record::CloseReason::Orderly => CloseReason::Orderly,
        record::CloseReason::OrderlyWithWill => CloseReason::OrderlyWithWill,
        record::CloseReason::ConnectionLost => CloseReason::ConnectionLost,
        record::CloseReason::Server => CloseReason::Server,
        record::CloseReason::GatewayLost => CloseReason::GatewayLost,
    }
}

fn to_lane(LaneProgress { sid, epoch, cursor, flights }: LaneProgress) -> record::LaneProgress {
    let flights = flights
        .into_iter()
        .map(|flight| record::InFlight {
            stamp: flight.stamp,
            position: flight.position,
            qos: flight.qos,
            pid: flight.pid,
            state: to_record_state(flight.state),
        })
        .collect();
    record::LaneProgress { sid, epoch, cursor, flights }
}

#[cfg(test)]
mod tests {
    use causeway_compute::port::{SessionOpen, Will};
    use causeway_model::{
        ClientId, Epoch, Incarnation, Millis, Namespace, Position, Properties, Publisher, Qos, ShardId, Sid, Topic,
    };

    use super::*;

    const RULES: Rules = Rules { message_bytes: 100, session_expiry: Duration::from_secs(50) };

    fn message(bytes: usize) -> Message {
        Message {
            namespace: Namespace::default(),
            topic: Topic::new("t".into()).unwrap(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry: None,
            born: Millis(1),
            publisher: Publisher { client: ClientId("c".into()), session: None, pid: None },
            properties: Properties::default(),
            body: vec![0; bytes].into(),
        }
    }

    fn open(expiry: Duration, will: Option<Will>) -> Command {
        let (namespace, client, owner) = (Namespace::default(), ClientId("c".into()), Incarnation(1));
        Command::SessionOpen(SessionOpen { namespace, client, clean_start: false, expiry, owner, attempt: 0, will })
    }

    fn records(commands: Vec<Command>) -> Vec<Record> {
        let group = RULES.encode(commands).unwrap();
        let mut rest = group.bytes().clone();
        let mut records = Vec::new();
        while !rest.is_empty() {
            let frame = rest.split_to(8);
            let length = u32::from_le_bytes(frame[..4].try_into().unwrap());
            records.push(Record::decode(&rest.split_to(length as usize)).unwrap());
        }
        records
    }

    #[test]
    fn what_a_session_is_granted_is_capped_where_it_opens_and_where_it_closes() {
        let sid = Sid { home: ShardId(0), position: Position(1) };
        let close = |expiry| {
            let (epoch, reason) = (Epoch(Position(1)), CloseReason::Orderly);
            Command::SessionClose { sid, epoch, reason, expiry }
        };
        let (short, long) = (Duration::from_secs(7), Duration::from_secs(51));
        let commands = vec![open(short, None), open(long, None), close(Some(short)), close(Some(long)), close(None)];
        let mut granted = Vec::new();
        for record in records(commands) {
            if let Record::SessionOpen(open) = &record {
                granted.push(Some(open.expiry));
            }
            if let Record::SessionClose(close) = &record {
                granted.push(close.expiry);
            }
        }
        let most = Some(RULES.session_expiry);
        assert_eq!(granted, [Some(short), most, Some(short), most, None]);
    }

    #[test]
    fn a_will_is_as_long_as_a_message_may_be() {
        let will = |bytes| Some(Will { message: Box::new(message(bytes)), delay: Duration::ZERO });
        assert_eq!(RULES.encode(vec![open(Duration::ZERO, will(101))]).unwrap_err(), Kind::TooLarge);
        let [Record::SessionOpen(open)] = &records(vec![open(Duration::ZERO, will(100))])[..] else { panic!() };
        let stored = record::decode_message(&open.will.as_ref().unwrap().message).unwrap();
        assert_eq!(stored, message(100));
    }

    #[test]
    fn one_estimate_holds_a_whole_group() {
        let group = RULES.encode(vec![Command::Publish(message(100)); 50]).unwrap();
        assert_eq!(group.records(), 50);
        assert!(group.len() <= 50 * (OVERHEAD + 102), "the buffer did not grow: {}", group.len());
    }
}
