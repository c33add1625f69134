//! Rows of a session.

use causeway_compute::port::{Lane, Session, Subscription};
use causeway_model::{Position, ShardId, Sid};

use super::message::{flight_from, flight_to, options_from, options_to};
use super::{Malformed, bytes_of, filter, need, positions_from, positions_to};
use crate::proto as pb;

pub(crate) fn sid_to(sid: Sid) -> pb::Sid {
    pb::Sid { home: sid.home.0, position: sid.position.0 }
}

pub(crate) fn sid_from(sid: Option<pb::Sid>) -> Result<Sid, Malformed> {
    let sid = need("session id", sid)?;
    Ok(Sid { home: ShardId(sid.home), position: Position(sid.position) })
}

/// A session's rows.
pub(crate) fn session_to(session: &Session) -> pb::Session {
    let subscription = |subscription: &Subscription| pb::Subscription {
        filter: bytes_of(subscription.filter.text()),
        options: Some(options_to(subscription.options)),
        from: positions_to(&subscription.from),
    };
    pb::Session {
        subscriptions: session.subscriptions.iter().map(subscription).collect(),
        cursor: session.lane.cursor.0,
        flights: session.lane.flights.iter().map(flight_to).collect(),
    }
}

/// The rows that came.
pub(crate) fn session_from(session: pb::Session) -> Result<Session, Malformed> {
    let subscription = |subscription: pb::Subscription| {
        Ok(Subscription {
            filter: filter(subscription.filter)?,
            options: options_from(need("options", subscription.options)?)?,
            from: positions_from(&subscription.from),
        })
    };
    let flights = session.flights.iter().map(flight_from).collect::<Result<_, _>>()?;
    Ok(Session {
        subscriptions: session.subscriptions.into_iter().map(subscription).collect::<Result<_, Malformed>>()?,
        lane: Lane { cursor: Position(session.cursor), flights },
    })
}
