//! What people ask.

use std::time::Duration;

use causeway_compute::port::{ClientSession, GatewayState, ShardStatus};
use causeway_model::{Epoch, Incarnation, Millis, Position};

use super::command::{reason_from, reason_to};
use super::session::{sid_from, sid_to};
use super::{Malformed, incarnation_from, incarnation_to, millis};
use crate::proto as pb;

pub(crate) fn client_session_to(session: &ClientSession) -> pb::ClientSession {
    pb::ClientSession {
        sid: Some(sid_to(session.sid)),
        epoch: session.epoch.0.0,
        owner: incarnation_to(session.owner),
        connected: session.connected,
        persistent: session.persistent,
        expiry_ms: millis(session.expiry),
        disconnected: session.disconnected.map(|at| at.0),
        subscriptions: session.subscriptions,
        closed: session.closed.map(|reason| reason_to(reason).into()),
    }
}

pub(crate) fn client_session_from(session: &pb::ClientSession) -> Result<ClientSession, Malformed> {
    Ok(ClientSession {
        sid: sid_from(session.sid)?,
        epoch: Epoch(Position(session.epoch)),
        owner: incarnation_from(&session.owner)?,
        connected: session.connected,
        persistent: session.persistent,
        expiry: Duration::from_millis(session.expiry_ms),
        disconnected: session.disconnected.map(Millis),
        closed: session.closed.is_some().then(|| reason_from(session.closed())).transpose()?,
        subscriptions: session.subscriptions,
    })
}

pub(crate) fn gateways_to(gateways: &[(Incarnation, GatewayState)]) -> pb::Gateways {
    let row = |(incarnation, state): &(Incarnation, GatewayState)| pb::GatewayRow {
        incarnation: incarnation_to(*incarnation),
        joined: *state == GatewayState::Joined,
    };
    pb::Gateways { gateways: gateways.iter().map(row).collect() }
}

pub(crate) fn gateways_from(gateways: &pb::Gateways) -> Result<Vec<(Incarnation, GatewayState)>, Malformed> {
    let row = |row: &pb::GatewayRow| {
        let state = if row.joined { GatewayState::Joined } else { GatewayState::Lost };
        Ok((incarnation_from(&row.incarnation)?, state))
    };
    gateways.gateways.iter().map(row).collect()
}

pub(crate) fn status_to(status: &ShardStatus) -> pb::ShardStatus {
    pb::ShardStatus {
        first: status.first.0,
        durable: status.durable.0,
        applied: status.applied.0,
        term: status.term,
        leader: status.leader,
    }
}

pub(crate) fn status_from(status: &pb::ShardStatus) -> ShardStatus {
    ShardStatus {
        first: Position(status.first),
        durable: Position(status.durable),
        applied: Position(status.applied),
        term: status.term,
        leader: status.leader,
    }
}
