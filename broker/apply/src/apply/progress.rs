//! `Progress`: lanes move on.
//!
//! The cursor never moves back. Above it, rows say what is in flight; the rows that it passes are deleted on the way,
//! a bounded number a record, so that a lane's rows are about as many as its deliveries in flight. Parked rows are
//! apart: the cursor passes them, and only `Done` ends them.

use causeway_model::{Position, Stamp};

use super::session::lane;
use super::{Step, Stop};
use crate::record::{FlightState, InFlight, LaneProgress, put_flight};
use crate::row::LaneRow;
use crate::{Family, Outcome, Reason, Tables, key, staged};

/// How many rows below the cursor one lane's progress deletes beyond those that it names. Frozen: it decides rows.
const REAPED: usize = 32;

/// Moves lanes on. Lanes of another epoch, and sessions that are gone, are skipped.
pub(super) fn progress<T: Tables>(step: &mut Step<'_, T>, lanes: &[LaneProgress]) -> Result<Outcome, Stop> {
    let within = |position: Position| position <= step.at;
    let valid = lanes.iter().all(|lane| {
        lane.cursor.is_none_or(within) && lane.flights.iter().all(|flight| within(flight.stamp.position()))
    });
    if !valid {
        return Err(Reason::Invalid.into());
    }
    for progress in lanes {
        match lane(step, progress.sid)? {
            Some(row) if row.epoch == progress.epoch => advance(step, progress, row)?,
            _ => {}
        }
    }
    Ok(Outcome::Done)
}

fn advance<T: Tables>(step: &mut Step<'_, T>, progress: &LaneProgress, before: LaneRow) -> Result<(), Stop> {
    let sid = progress.sid;
    let mut lane = before;
    lane.cursor = lane.cursor.max(progress.cursor.unwrap_or_default());
    for flight in &progress.flights {
        set_flight(step, progress, &mut lane, flight);
    }
    if lane.flights && lane.cursor > before.cursor {
        lane.flights = !reap(step, progress, lane.cursor)?;
    }
    if lane != before {
        step.put(Family::Session, &key::lane(sid), &lane.encode());
    }
    Ok(())
}

/// Deletes rows at or below the cursor; true if no in-flight row is left at all.
fn reap<T: Tables>(step: &mut Step<'_, T>, progress: &LaneProgress, cursor: Position) -> Result<bool, Stop> {
    let (from, upto) = (key::flight(progress.sid, Stamp(0)), key::flight(progress.sid, Stamp(u64::MAX)));
    let last = key::flight(progress.sid, cursor.stamp());
    let rows = staged::keys(step.tables, &step.out.mutations, Family::Session, (&from, &upto), REAPED + 1)?;
    let passed = rows.iter().take_while(|key| key.as_slice() <= last.as_slice()).take(REAPED);
    let mut left = rows.len();
    for key in passed {
        step.delete(Family::Session, key);
        left -= 1;
    }
    Ok(left == 0)
}

fn set_flight<T: Tables>(step: &mut Step<'_, T>, progress: &LaneProgress, lane: &mut LaneRow, flight: &InFlight) {
    let (sid, stamp) = (progress.sid, flight.stamp);
    let (row, parked) = (key::flight(sid, stamp), key::parked(sid, stamp));
    let passed = stamp.position() <= lane.cursor;
    if flight.state == FlightState::Parked {
        lane.parked = true;
        step.put(Family::Session, &parked, &flight_value(flight));
        if lane.flights {
            step.delete(Family::Session, &row);
        }
        return;
    }
    if flight.state == FlightState::Done && lane.parked {
        step.delete(Family::Session, &parked);
    }
    if !passed {
        lane.flights = true;
        step.put(Family::Session, &row, &flight_value(flight));
    } else if lane.flights {
        step.delete(Family::Session, &row);
    }
}

fn flight_value(flight: &InFlight) -> Vec<u8> {
    let mut value = Vec::with_capacity(11);
    put_flight(&mut value, flight);
    value
}

#[cfg(test)]
mod tests;
