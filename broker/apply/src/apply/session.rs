//! The life of a session.
//!
//! ```text
//!              open                 close                  expire, expire(last)
//!   (nothing) ──────► connected ──────────► disconnected ─────────────────────► (nothing)
//!                      ▲   │ ▲                  │ │
//!                      └───┘ └──── open ────────┘ └─ open, clean or too late: a new session; the old one is
//!                    takeover                        superseded and waits for its expire
//! ```
//!
//! A *volatile* session is its head and will, gone with its connection. A *persistent* one has a lane and
//! subscriptions, which only `SessionExpire` records delete, named row by row.

use std::time::Duration;

use bytes::Bytes;
use causeway_model::{ClientId, Epoch, MAX_NAME_BYTES, Namespace, Sid};

use super::cluster::check_gateway;
use super::interest::remove;
use super::{Step, Stop, damaged};
use crate::key::Owner;
use crate::record::{CloseReason, SessionAbandon, SessionClose, SessionExpire, SessionOpen, Will, decode_message};
use crate::row::{Head, LaneRow, SessionState, Timer};
use crate::{Event, Family, Opened, Outcome, Reason, Tables, key};

/// The head of a session.
pub(super) fn head<T: Tables>(step: &Step<'_, T>, sid: Sid) -> Result<Option<Head>, Stop> {
    match step.get(Family::Client, &key::client_head(sid))? {
        Some(row) => Head::decode(&row).map(Some).ok_or_else(|| damaged("session head")),
        None => Ok(None),
    }
}

/// The session that a client has now.
fn current<T: Tables>(
    step: &Step<'_, T>,
    namespace: &Namespace,
    client: &ClientId,
) -> Result<Option<(Sid, Head)>, Stop> {
    let Some(row) = step.get(Family::Client, &key::client_name(namespace, &client.0))? else { return Ok(None) };
    let sid = Sid::from_bytes(row.as_ref().try_into().map_err(|_| damaged("client"))?);
    let head = head(step, sid)?.ok_or_else(|| damaged("session head"))?;
    Ok(Some((sid, head)))
}

/// Opens, resumes or takes over.
pub(super) fn open<T: Tables>(step: &mut Step<'_, T>, record: &SessionOpen) -> Result<Outcome, Stop> {
    check_open(step, record)?;
    let old = current(step, &record.namespace, &record.client)?;
    let old_owner = old.as_ref().filter(|(_, head)| head.is_connected()).map(|(_, head)| head.owner);
    if let (Some((sid, head)), Some(owner)) = (&old, old_owner) {
        let event = Event::TakenOver { sid: *sid, epoch: head.epoch, owner };
        step.out.event(event);
    }
    let now = step.roots.clock;
    let resumable = |head: &Head| head.persistent && !record.clean_start && !head.is_over(now);
    let (sid, present, persistent) = match old {
        Some((sid, head)) if resumable(&head) => {
            resume(step, sid, head, record)?;
            (sid, true, true)
        }
        other => {
            if let Some((sid, head)) = other {
                retire(step, sid, head);
            }
            (create(step, record)?, false, record.expiry > Duration::ZERO)
        }
    };
    let opened = Opened { sid, epoch: Epoch(step.at), present, persistent, old_owner, expiry: record.expiry };
    Ok(Outcome::Opened(Box::new(opened)))
}

fn check_open<T: Tables>(step: &Step<'_, T>, record: &SessionOpen) -> Result<(), Stop> {
    let client = &record.client.0;
    if client.is_empty() || client.len() > MAX_NAME_BYTES || client.contains('\0') {
        return Err(Reason::Invalid.into());
    }
    if record.will.as_ref().is_some_and(|will| decode_message(&will.message).is_err()) {
        return Err(Reason::Invalid.into());
    }
    check_gateway(step, record.owner)
}

fn create<T: Tables>(step: &mut Step<'_, T>, record: &SessionOpen) -> Result<Sid, Stop> {
    let at = step.at;
    let sid = Sid { home: step.cluster()?.shard, position: at };
    let head = Head {
        namespace: record.namespace.clone(),
        client: record.client.clone(),
        epoch: Epoch(at),
        owner: record.owner,
        attempt: record.attempt,
        persistent: record.expiry > Duration::ZERO,
        state: SessionState::Connected,
        expiry: record.expiry,
        disconnected: step.roots.clock,
        closed: None,
        will: record.will.is_some(),
        filters: 0,
        timer: None,
    };
    put_will(step, sid, record.will.as_ref());
    step.put(Family::Client, &key::client_name(&record.namespace, &record.client.0), &sid.to_bytes());
    step.put(Family::Client, &key::client_head(sid), &head.encode());
    step.put(Family::Client, &key::client_owned(record.owner, sid), &[]);
    if head.persistent {
        let lane = LaneRow { epoch: Epoch(at), cursor: at, flights: false, parked: false };
        step.put(Family::Session, &key::lane(sid), &lane.encode());
    }
    Ok(sid)
}

/// A new epoch fences whatever the old owner still logs.
fn resume<T: Tables>(step: &mut Step<'_, T>, sid: Sid, mut head: Head, record: &SessionOpen) -> Result<(), Stop> {
    let at = step.at;
    let mut lane = lane(step, sid)?.ok_or_else(|| damaged("lane"))?;
    if head.is_connected() && head.owner != record.owner {
        step.delete(Family::Client, &key::client_owned(head.owner, sid));
    }
    cancel_timer(step, &mut head);
    drop_will(step, sid, &mut head);
    put_will(step, sid, record.will.as_ref());
    head.will = record.will.is_some();
    head.epoch = Epoch(at);
    head.owner = record.owner;
    head.attempt = record.attempt;
    head.state = SessionState::Connected;
    head.closed = None;
    head.expiry = record.expiry;
    lane.epoch = Epoch(at);
    step.put(Family::Client, &key::client_head(sid), &head.encode());
    step.put(Family::Client, &key::client_owned(record.owner, sid), &[]);
    step.put(Family::Session, &key::lane(sid), &lane.encode());
    Ok(())
}

/// A client's old session makes room for a new one. What a persistent one leaves is deleted in bounded records.
fn retire<T: Tables>(step: &mut Step<'_, T>, sid: Sid, mut head: Head) {
    if head.is_connected() {
        step.delete(Family::Client, &key::client_owned(head.owner, sid));
    }
    drop_will(step, sid, &mut head);
    if !head.persistent {
        step.delete(Family::Client, &key::client_head(sid));
        return;
    }
    cancel_timer(step, &mut head);
    head.state = SessionState::Superseded;
    head.expiry = Duration::ZERO;
    set_timer(step, sid, head);
}

/// Ends a connection. A persistent session gets the timer that ends it.
pub(super) fn close<T: Tables>(step: &mut Step<'_, T>, record: SessionClose) -> Result<Outcome, Stop> {
    let sid = record.sid;
    let mut head = head(step, sid)?.ok_or(Reason::NotFound)?;
    if head.epoch != record.epoch {
        return Err(Reason::Fenced.into());
    }
    if !head.is_connected() {
        return Ok(Outcome::Done);
    }
    step.delete(Family::Client, &key::client_owned(head.owner, sid));
    if record.reason == CloseReason::Orderly || !head.persistent {
        drop_will(step, sid, &mut head);
    }
    if !head.persistent {
        step.delete(Family::Client, &key::client_name(&head.namespace, &head.client.0));
        step.delete(Family::Client, &key::client_head(sid));
        return Ok(Outcome::Done);
    }
    head.state = SessionState::Disconnected;
    head.closed = Some(record.reason);
    head.expiry = record.expiry.unwrap_or(head.expiry);
    set_timer(step, sid, head);
    Ok(Outcome::Done)
}

/// Ends the connection of an opening, if it was logged and is the client's latest.
pub(super) fn abandon<T: Tables>(step: &mut Step<'_, T>, record: &SessionAbandon) -> Result<Outcome, Stop> {
    match current(step, &record.namespace, &record.client)? {
        Some((sid, head)) if (head.owner, head.attempt) == (record.owner, record.attempt) => {
            let (epoch, reason) = (head.epoch, CloseReason::ConnectionLost);
            close(step, SessionClose { sid, epoch, reason, expiry: None })
        }
        _ => Ok(Outcome::Done),
    }
}

/// Its connection has ended: sets the timer that ends the session too.
fn set_timer<T: Tables>(step: &mut Step<'_, T>, sid: Sid, mut head: Head) {
    let now = step.roots.clock;
    let (due, stamp) = (now.plus(head.expiry), step.at.stamp());
    head.disconnected = now;
    head.timer = Some((due, stamp));
    step.put(Family::Timer, &key::timer(due, stamp, key::TIMER_SESSION), &Timer::value(sid, head.epoch));
    step.put(Family::Client, &key::client_head(sid), &head.encode());
    step.out.event(Event::Timer { due });
}

fn cancel_timer<T: Tables>(step: &mut Step<'_, T>, head: &mut Head) {
    if let Some((due, stamp)) = head.timer.take() {
        step.delete(Family::Timer, &key::timer(due, stamp, key::TIMER_SESSION));
    }
}

fn put_will<T: Tables>(step: &mut Step<'_, T>, sid: Sid, will: Option<&Will>) {
    let Some(will) = will else { return };
    let mut row = Vec::with_capacity(will.message.len() + 16);
    will.put(&mut row);
    step.put(Family::Client, &key::client_will(sid), &row);
}

fn drop_will<T: Tables>(step: &mut Step<'_, T>, sid: Sid, head: &mut Head) {
    if std::mem::take(&mut head.will) {
        step.delete(Family::Client, &key::client_will(sid));
    }
}

/// Deletes what it names of a session whose time is over. If that was resumed in between, or is gone, nothing happens.
pub(super) fn expire<T: Tables>(step: &mut Step<'_, T>, record: &SessionExpire) -> Result<Outcome, Stop> {
    let sid = record.sid;
    let mut head = head(step, sid)?.ok_or(Reason::NotFound)?;
    if head.epoch != record.epoch || head.timer.is_none() || !head.is_over(step.roots.clock) {
        return Err(Reason::Fenced.into());
    }
    // Without a lane no late progress adds rows: what the proposer reads from now on is all there is.
    step.delete(Family::Session, &key::lane(sid));
    for filter in &record.filters {
        step.delete(Family::Session, &key::subscription(sid, filter.as_str()));
        remove(step, &head.namespace, filter, Owner::Session(sid))?;
    }
    for (parked, stamp) in &record.flights {
        let key = if *parked { key::parked(sid, *stamp) } else { key::flight(sid, *stamp) };
        step.delete(Family::Session, &key);
    }
    if record.last {
        cancel_timer(step, &mut head);
        if head.state == SessionState::Disconnected {
            step.delete(Family::Client, &key::client_name(&head.namespace, &head.client.0));
        }
        drop_will(step, sid, &mut head);
        step.delete(Family::Client, &key::client_head(sid));
    }
    Ok(Outcome::Done)
}

/// A session's lane on this shard.
pub(super) fn lane<T: Tables>(step: &Step<'_, T>, sid: Sid) -> Result<Option<LaneRow>, Stop> {
    let row: Option<Bytes> = step.get(Family::Session, &key::lane(sid))?;
    row.map(|row| LaneRow::decode(&row).ok_or_else(|| damaged("lane"))).transpose()
}

#[cfg(test)]
mod tests;
