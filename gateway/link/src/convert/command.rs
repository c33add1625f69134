//! Commands.

use std::time::Duration;

use causeway_compute::port::{
    CloseReason, Command, GatewayEvent, Interest, LaneProgress, Owner, SessionOpen, Subscribe, Will,
};
use causeway_model::{ClientId, Epoch, Position};

use super::message::{flight_from, flight_to, options_from, options_to};
use super::session::{sid_from, sid_to};
use super::{
    Malformed, bytes_of, filter, incarnation_from, incarnation_to, message_from, message_to, millis, namespace, need,
    number, positions_from, positions_to, text,
};
use crate::proto as pb;
use crate::proto::command::Kind;

/// A command, its bodies and text shared.
pub(crate) fn command_to(command: &Command) -> pb::Command {
    let kind = match command {
        Command::Publish(message) => Kind::Publish(message_to(message)),
        Command::Interest(interest) => Kind::Interest(interest_to(interest)),
        Command::SessionOpen(open) => Kind::SessionOpen(open_to(open)),
        Command::SessionClose { sid, epoch, reason, expiry } => Kind::SessionClose(pb::SessionClose {
            sid: Some(sid_to(*sid)),
            epoch: epoch.0.0,
            reason: reason_to(*reason).into(),
            expiry_ms: expiry.map(millis),
        }),
        Command::SessionAbandon { namespace, client, owner, attempt } => Kind::SessionAbandon(pb::SessionAbandon {
            namespace: bytes_of(namespace.text()),
            client: bytes_of(&client.0),
            owner: incarnation_to(*owner),
            attempt: *attempt,
        }),
        Command::Subscribe(subscribe) => Kind::Subscribe(pb::Subscribe {
            sid: Some(sid_to(subscribe.sid)),
            epoch: subscribe.epoch.0.0,
            filter: bytes_of(subscribe.filter.text()),
            options: Some(options_to(subscribe.options)),
            from: positions_to(&subscribe.from),
        }),
        Command::Unsubscribe { sid, epoch, filter } => Kind::Unsubscribe(pb::Unsubscribe {
            sid: Some(sid_to(*sid)),
            epoch: epoch.0.0,
            filter: bytes_of(filter.text()),
        }),
        Command::Progress(lanes) => Kind::Progress(pb::Progress { lanes: lanes.iter().map(lane_to).collect() }),
        Command::Gateway { incarnation, event } => Kind::Gateway(pb::GatewayChange {
            incarnation: incarnation_to(*incarnation),
            joined: matches!(event, GatewayEvent::Joined),
        }),
        Command::TopicPut { namespace, name, queues } => Kind::TopicPut(pb::TopicPut {
            namespace: bytes_of(namespace.text()),
            name: bytes_of(name),
            queues: (*queues).into(),
        }),
        Command::TopicDrop { namespace, name } => {
            Kind::TopicDrop(pb::TopicDrop { namespace: bytes_of(namespace.text()), name: bytes_of(name) })
        }
    };
    pb::Command { kind: Some(kind) }
}

/// The command that came.
pub(crate) fn command_from(command: pb::Command) -> Result<Command, Malformed> {
    Ok(match need("command", command.kind)? {
        Kind::Publish(message) => Command::Publish(message_from(message)?),
        Kind::Interest(interest) => Command::Interest(interest_from(interest)?),
        Kind::SessionOpen(open) => Command::SessionOpen(open_from(open)?),
        Kind::SessionClose(close) => Command::SessionClose {
            sid: sid_from(close.sid)?,
            epoch: Epoch(Position(close.epoch)),
            reason: reason_from(close.reason())?,
            expiry: close.expiry_ms.map(Duration::from_millis),
        },
        Kind::SessionAbandon(abandon) => Command::SessionAbandon {
            namespace: namespace(abandon.namespace)?,
            client: ClientId(text("client", abandon.client)?),
            owner: incarnation_from(&abandon.owner)?,
            attempt: abandon.attempt,
        },
        Kind::Subscribe(subscribe) => Command::Subscribe(Subscribe {
            sid: sid_from(subscribe.sid)?,
            epoch: Epoch(Position(subscribe.epoch)),
            filter: filter(subscribe.filter)?,
            options: options_from(need("options", subscribe.options)?)?,
            from: positions_from(&subscribe.from),
        }),
        Kind::Unsubscribe(unsubscribe) => Command::Unsubscribe {
            sid: sid_from(unsubscribe.sid)?,
            epoch: Epoch(Position(unsubscribe.epoch)),
            filter: filter(unsubscribe.filter)?,
        },
        Kind::Progress(progress) => Command::Progress(progress.lanes.iter().map(lane_from).collect::<Result<_, _>>()?),
        Kind::Gateway(change) => Command::Gateway {
            incarnation: incarnation_from(&change.incarnation)?,
            event: if change.joined { GatewayEvent::Joined } else { GatewayEvent::Lost },
        },
        Kind::TopicPut(put) => Command::TopicPut {
            namespace: namespace(put.namespace)?,
            name: text("topic", put.name)?,
            queues: number("queues", put.queues)?,
        },
        Kind::TopicDrop(drop) => {
            Command::TopicDrop { namespace: namespace(drop.namespace)?, name: text("topic", drop.name)? }
        }
    })
}

fn interest_to(interest: &Interest) -> pb::Interest {
    use pb::interest::Owner as To;
    let (owner, epoch) = match interest.owner {
        Owner::Session { sid, epoch } => (To::Session(sid_to(sid)), epoch.0.0),
        Owner::Gateway(incarnation) => (To::Gateway(incarnation_to(incarnation)), 0),
    };
    pb::Interest {
        add: interest.add,
        namespace: bytes_of(interest.namespace.text()),
        filter: bytes_of(interest.filter.text()),
        owner: Some(owner),
        epoch,
    }
}

fn interest_from(interest: pb::Interest) -> Result<Interest, Malformed> {
    use pb::interest::Owner as From;
    let owner = match need("owner", interest.owner)? {
        From::Session(sid) => Owner::Session { sid: sid_from(Some(sid))?, epoch: Epoch(Position(interest.epoch)) },
        From::Gateway(incarnation) => Owner::Gateway(incarnation_from(&incarnation)?),
    };
    let (namespace, filter) = (namespace(interest.namespace)?, filter(interest.filter)?);
    Ok(Interest { add: interest.add, namespace, filter, owner })
}

fn open_to(open: &SessionOpen) -> pb::SessionOpen {
    pb::SessionOpen {
        namespace: bytes_of(open.namespace.text()),
        client: bytes_of(&open.client.0),
        clean_start: open.clean_start,
        expiry_ms: millis(open.expiry),
        owner: incarnation_to(open.owner),
        attempt: open.attempt,
        will: open.will.as_ref().map(|will| message_to(&will.message)),
        will_delay_ms: open.will.as_ref().map_or(0, |will| millis(will.delay)),
    }
}

fn open_from(open: pb::SessionOpen) -> Result<SessionOpen, Malformed> {
    let delay = Duration::from_millis(open.will_delay_ms);
    let will = |message| Ok::<_, Malformed>(Will { message: Box::new(message_from(message)?), delay });
    Ok(SessionOpen {
        namespace: namespace(open.namespace)?,
        client: ClientId(text("client", open.client)?),
        clean_start: open.clean_start,
        expiry: Duration::from_millis(open.expiry_ms),
        owner: incarnation_from(&open.owner)?,
        attempt: open.attempt,
        will: open.will.map(will).transpose()?,
    })
}

pub(super) fn reason_to(reason: CloseReason) -> pb::CloseReason {
    match reason {
        CloseReason::Orderly => pb::CloseReason::Orderly,
        CloseReason::OrderlyWithWill => pb::CloseReason::OrderlyWithWill,
        CloseReason::ConnectionLost => pb::CloseReason::ConnectionLost,
        CloseReason::Server => pb::CloseReason::Server,
        CloseReason::GatewayLost => pb::CloseReason::GatewayLost,
    }
}

pub(super) fn reason_from(reason: pb::CloseReason) -> Result<CloseReason, Malformed> {
    Ok(match reason {
        pb::CloseReason::Orderly => CloseReason::Orderly,
        pb::CloseReason::OrderlyWithWill => CloseReason::OrderlyWithWill,
        pb::CloseReason::ConnectionLost => CloseReason::ConnectionLost,
        pb::CloseReason::Server => CloseReason::Server,
        pb::CloseReason::GatewayLost => CloseReason::GatewayLost,
        pb::CloseReason::Unspecified => return Err(Malformed::Missing("close reason")),
    })
}

fn lane_to(lane: &LaneProgress) -> pb::LaneProgress {
    pb::LaneProgress {
        sid: Some(sid_to(lane.sid)),
        epoch: lane.epoch.0.0,
        cursor: lane.cursor.map(|cursor| cursor.0),
        flights: lane.flights.iter().map(flight_to).collect(),
    }
}

fn lane_from(lane: &pb::LaneProgress) -> Result<LaneProgress, Malformed> {
    Ok(LaneProgress {
        sid: sid_from(lane.sid)?,
        epoch: Epoch(Position(lane.epoch)),
        cursor: lane.cursor.map(Position),
        flights: lane.flights.iter().map(flight_from).collect::<Result<_, _>>()?,
    })
}
