//! Records of the cluster and of the log: `ClusterInit`, `FeatureLevel`, `Gateway`, `Trim`, `Check`.

use std::collections::VecDeque;

use bytes::BytesMut;
use causeway_model::{Incarnation, Position};

use super::{Step, Stop, damaged};
use crate::record::{Check, ClusterInit, FeatureLevel, Gateway, GatewayEvent, SUPPORTED_LEVEL, Trim};
use crate::row::GatewayState;
use crate::{ApplyError, Event, Family, Outcome, Reason, Tables, key, staged};

/// Once in a log, before anything else.
pub(super) fn init<T: Tables>(step: &mut Step<'_, T>, record: ClusterInit) -> Result<Outcome, Stop> {
    let valid = record.shard.0 < record.shards && (1..=SUPPORTED_LEVEL).contains(&record.level);
    // An entry's queues are counted in sixteen bits, and three of them are no filter's.
    if step.roots.cluster.is_some() || !valid || record.limits.matches > u32::from(u16::MAX) - 3 {
        return Err(Reason::Invalid.into());
    }
    let mut row = BytesMut::new();
    record.encode(&mut row);
    step.put(Family::Meta, &key::CLUSTER, &row);
    step.put(Family::Meta, &key::LEVEL, &[record.level]);
    step.roots.level = record.level;
    step.roots.cluster = Some(record);
    Ok(Outcome::Done)
}

/// Never goes down: what was allowed may already be in the log.
pub(super) fn level<T: Tables>(step: &mut Step<'_, T>, record: FeatureLevel) -> Result<Outcome, Stop> {
    if record.level < step.roots.level {
        return Err(Reason::Invalid.into());
    }
    if record.level > step.roots.level {
        step.put(Family::Meta, &key::LEVEL, &[record.level]);
        step.roots.level = record.level;
    }
    Ok(Outcome::Done)
}

/// Joined → lost → departed → forgotten. A lost one cannot come back: an incarnation is one run of one process.
pub(super) fn gateway<T: Tables>(step: &mut Step<'_, T>, record: Gateway) -> Result<Outcome, Stop> {
    let incarnation = record.incarnation;
    let row = key::gateway(incarnation);
    match (standing(step, incarnation)?, record.event) {
        (Standing::Unknown, GatewayEvent::Joined) => step.put(Family::Meta, &row, &[GatewayState::Joined as u8]),
        (Standing::Lost | Standing::Departed, GatewayEvent::Joined) => return Err(Reason::Fenced.into()),
        (Standing::Unknown | Standing::Joined, GatewayEvent::Lost) => {
            step.put(Family::Meta, &row, &[GatewayState::Lost as u8]);
            step.out.event(Event::GatewayLost { incarnation });
        }
        (Standing::Unknown | Standing::Joined, GatewayEvent::Swept) => return Err(Reason::Invalid.into()),
        (Standing::Lost, GatewayEvent::Swept) => {
            let since = step.roots.clock.0.to_be_bytes();
            step.delete(Family::Meta, &row);
            step.put(Family::Meta, &key::departed(incarnation), &since);
        }
        (Standing::Departed, GatewayEvent::Forgotten) => step.delete(Family::Meta, &key::departed(incarnation)),
        (Standing::Unknown | Standing::Joined | Standing::Lost, GatewayEvent::Forgotten)
        | (Standing::Joined, GatewayEvent::Joined)
        | (Standing::Lost, GatewayEvent::Lost)
        | (Standing::Departed, GatewayEvent::Lost | GatewayEvent::Swept) => {}
    }
    Ok(Outcome::Done)
}

/// What the log says of a gateway process.
enum Standing {
    Unknown,
    Joined,
    Lost,
    Departed,
}

fn standing<T: Tables>(step: &Step<'_, T>, incarnation: Incarnation) -> Result<Standing, Stop> {
    if let Some(row) = step.get(Family::Meta, &key::gateway(incarnation))? {
        return match GatewayState::decode(&row) {
            Some(GatewayState::Joined) => Ok(Standing::Joined),
            Some(GatewayState::Lost) => Ok(Standing::Lost),
            None => Err(damaged("gateway")),
        };
    }
    let departed = step.get(Family::Meta, &key::departed(incarnation))?.is_some();
    Ok(if departed { Standing::Departed } else { Standing::Unknown })
}

/// Rejects what a gateway that was declared lost still wants to own.
pub(super) fn check_gateway<T: Tables>(step: &Step<'_, T>, incarnation: Incarnation) -> Result<(), Stop> {
    match standing(step, incarnation)? {
        Standing::Unknown | Standing::Joined => Ok(()),
        Standing::Lost | Standing::Departed => Err(Reason::Fenced.into()),
    }
}

/// Forward only, never past itself, never past a pin.
pub(super) fn trim<T: Tables>(step: &mut Step<'_, T>, record: Trim) -> Result<Outcome, Stop> {
    let first = record.first;
    if first < step.roots.first || first > step.at {
        return Err(Reason::Invalid.into());
    }
    if first == step.roots.first {
        return Ok(Outcome::Done);
    }
    let below = (&[][..], &first.0.to_be_bytes()[..]);
    if !staged::keys(step.tables, &step.out.mutations, Family::Pin, below, 1)?.is_empty() {
        return Err(Reason::Pinned.into());
    }
    step.put(Family::Meta, &key::FIRST, &first.0.to_be_bytes());
    step.roots.first = first;
    step.out.event(Event::Trimmed { first });
    Ok(Outcome::Done)
}

/// Compares digests where ours is still known. It writes nothing, so it may differ between replicas whether it is.
pub(super) fn check(record: Check, history: &VecDeque<(Position, u64)>) -> Result<Outcome, Stop> {
    let ours = history.iter().rev().find(|(position, _)| *position == record.position).map(|(_, digest)| *digest);
    match ours {
        Some(ours) if ours != record.digest => {
            Err(Stop::Fail(ApplyError::Forked { position: record.position, ours, theirs: record.digest }))
        }
        _ => Ok(Outcome::Done),
    }
}

#[cfg(test)]
mod tests;
