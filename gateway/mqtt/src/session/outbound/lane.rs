//! A session's lane on one shard: what it has scanned, what waits to be delivered, what waits for an acknowledgement.
//!
//! ```text
//!   finished          in flight or finished ahead           candidates              not scanned
//!  ───────────┤cursor├───────── flights ─────────┤── pending (fetching first) ──┤next├──────────►
//! ```
//!
//! Invariant (design §5): everything that matches a subscription with a stamp at or below the cursor is finished; above
//! it only the flights say otherwise. Stamps of flights, then pending, then what is above `next`, ascend: deliveries
//! leave in stamp order.

use std::collections::VecDeque;

use causeway_compute::port::{FlightState, InFlight, Lane as Stored, LaneProgress};
use causeway_model::{Epoch, PacketId, Position, Qos, ShardId, Sid, Stamp};

use super::catchup::CatchUp;
use crate::session::subscription::Found;

/// An entry that may have to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) struct Candidate {
    pub(in crate::session) stamp: Stamp,
    pub(in crate::session) position: Position,
    /// Bytes of the record: what its delivery will cost in buffers, nearly.
    pub(in crate::session) length: u32,
    /// The QoS it was published with.
    pub(in crate::session) qos: Qos,
    pub(in crate::session) found: Found,
    /// In flight since an earlier connection: to be sent again under this packet id.
    pub(in crate::session) again: Option<PacketId>,
    /// Came while the client was away: not delivered at QoS 0.
    pub(in crate::session) away: bool,
    /// A place of the window is promised to it, since it is being fetched.
    pub(in crate::session) reserved: bool,
}

/// A delivery that was sent and not finished, or finished before one that was sent earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flight {
    stamp: Stamp,
    position: Position,
    qos: Qos,
    pid: Option<PacketId>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Of an earlier connection, not yet sent again on this one.
    Kept,
    /// Sent on this connection.
    Sent,
    Done,
}

#[derive(Debug)]
pub(in crate::session) struct Lane {
    pub(in crate::session) shard: ShardId,
    next: Position,
    pending: VecDeque<Candidate>,
    /// So many of the first candidates are being fetched.
    fetching: usize,
    flights: VecDeque<Flight>,
    pub(in crate::session) catch_up: Option<Box<CatchUp>>,
    /// Hints that came above the range that is caught up.
    ahead: VecDeque<Candidate>,
    /// The cursor that was last handed to the log.
    handed: Position,
}

/// What an acknowledgement was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::session) struct Acknowledged {
    /// It took a place of the window on this connection.
    pub(in crate::session) sent: bool,
}

impl Lane {
    pub(in crate::session) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            next: Position(0),
            pending: VecDeque::new(),
            fetching: 0,
            flights: VecDeque::new(),
            catch_up: None,
            ahead: VecDeque::new(),
            handed: Position(0),
        }
    }

    /// Takes up where an earlier connection ended: what it had in flight is to be sent again first.
    pub(in crate::session) fn resume(&mut self, stored: &Stored) {
        self.handed = stored.cursor;
        self.next = stored.cursor;
        let mut rows: Vec<_> = stored.flights.iter().filter(|row| row.stamp.position() > stored.cursor).collect();
        rows.sort_unstable_by_key(|row| row.stamp);
        for row in rows {
            let state = match row.state {
                FlightState::Sent | FlightState::Received if row.pid.is_some() => State::Kept,
                // Parking is not built: a parked row finishes its entry.
                FlightState::Sent | FlightState::Received | FlightState::Done | FlightState::Parked => State::Done,
            };
            let (stamp, position, qos) = (row.stamp, row.position, row.qos);
            self.flights.push_back(Flight { stamp, position, qos, pid: row.pid, state });
            if state == State::Kept {
                let (found, again) = (Found::Any, row.pid);
                self.pending.push_back(Candidate {
                    stamp,
                    position,
                    length: 0,
                    qos,
                    found,
                    again,
                    away: true,
                    reserved: false,
                });
            }
            // When rows were written everything up to the last of them had been started, so what has no row is
            // finished: it is not read again.
            self.next = self.next.max(stamp.position());
        }
        self.settle();
    }

    pub(in crate::session) fn next(&self) -> Position {
        self.next
    }

    pub(in crate::session) fn handed(&self) -> Position {
        self.handed
    }

    /// Nothing at or below is to be delivered: `upto` lies at or below what has been handed out as hints and taken.
    pub(in crate::session) fn scanned(&mut self, upto: Position) {
        if self.catch_up.is_none() {
            self.next = self.next.max(upto);
        }
    }

    /// The log holds nothing below `first`: the bytes that were skipped, if the cursor was below it.
    pub(in crate::session) fn skip_to(&mut self, first: Position) -> u64 {
        let gap = first.0.saturating_sub(self.next.0.saturating_add(1));
        if gap > 0 && self.next > Position(0) {
            self.next = Position(first.0.saturating_sub(1));
            return gap;
        }
        0
    }

    /// An entry that a hint brought.
    pub(in crate::session) fn offer(&mut self, candidate: Candidate) {
        let stamp = candidate.stamp.position();
        if stamp <= self.next {
            return;
        }
        match &self.catch_up {
            Some(catch_up) if stamp > catch_up.upto() => self.ahead.push_back(candidate),
            Some(_) => {}
            None => {
                self.next = stamp;
                self.pending.push_back(candidate);
            }
        }
    }

    /// An entry that a page brought: it is in order, since pages are merged.
    pub(in crate::session) fn caught(&mut self, stamp: Stamp, candidate: Option<Candidate>) {
        self.next = self.next.max(stamp.position());
        self.pending.extend(candidate);
    }

    /// All that hints did not bring has been read: go on with hints.
    pub(in crate::session) fn caught_up(&mut self) {
        if let Some(catch_up) = self.catch_up.take() {
            self.next = self.next.max(catch_up.upto());
            let ahead = std::mem::take(&mut self.ahead);
            for candidate in ahead {
                self.offer(candidate);
            }
        }
    }

    /// The read range grew: hints within it come from pages now.
    pub(in crate::session) fn extend(&mut self, upto: Position) {
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.extend(upto);
            let upto = catch_up.upto();
            self.ahead.retain(|candidate| candidate.stamp.position() > upto);
        }
    }

    /// Candidates that wait.
    pub(in crate::session) fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// The candidates to fetch next, unless a fetch is under way.
    pub(in crate::session) fn candidates(&mut self) -> impl Iterator<Item = &mut Candidate> {
        let count = if self.fetching == 0 { self.pending.len() } else { 0 };
        self.pending.iter_mut().take(count)
    }

    /// The first `count` candidates are being fetched.
    pub(in crate::session) fn fetch(&mut self, count: usize) {
        self.fetching = count;
    }

    /// The fetch is over, whatever came of it.
    pub(in crate::session) fn fetch_ended(&mut self) {
        for candidate in self.pending.iter_mut().take(self.fetching) {
            candidate.reserved = false;
        }
        self.fetching = 0;
    }

    /// Places of the window that are promised.
    pub(in crate::session) fn reserved(&self) -> usize {
        self.pending.iter().take(self.fetching).filter(|candidate| candidate.reserved).count()
    }

    /// Takes the next fetched candidate.
    pub(in crate::session) fn take_fetched(&mut self) -> Option<Candidate> {
        self.fetching = self.fetching.checked_sub(1)?;
        self.pending.pop_front()
    }

    /// A candidate was sent for the first time and waits for an acknowledgement.
    pub(in crate::session) fn sent(&mut self, candidate: &Candidate, qos: Qos, pid: PacketId) {
        let &Candidate { stamp, position, .. } = candidate;
        self.flights.push_back(Flight { stamp, position, qos, pid: Some(pid), state: State::Sent });
    }

    /// The QoS of a kept delivery that is now sent again; `None` if it was acknowledged meanwhile.
    pub(in crate::session) fn sent_again(&mut self, stamp: Stamp) -> Option<Qos> {
        let at = self.flights.binary_search_by_key(&stamp, |flight| flight.stamp).ok()?;
        let flight = self.flights.get_mut(at).filter(|flight| flight.state == State::Kept)?;
        flight.state = State::Sent;
        Some(flight.qos)
    }

    /// A kept delivery that can no longer be sent is finished.
    pub(in crate::session) fn give_up(&mut self, stamp: Stamp) {
        let at = self.flights.binary_search_by_key(&stamp, |flight| flight.stamp).ok();
        if let Some(flight) = at.and_then(|at| self.flights.get_mut(at)) {
            flight.state = State::Done;
        }
        self.settle();
    }

    /// PUBACK. `None`: no delivery of this lane has the id.
    pub(in crate::session) fn acknowledge(&mut self, pid: PacketId) -> Option<Acknowledged> {
        // Clients acknowledge in order, so this looks at the first one; at worst at all of a bounded window.
        let waits = |flight: &&mut Flight| flight.pid == Some(pid) && flight.state != State::Done;
        let flight = self.flights.iter_mut().find(waits)?;
        let sent = flight.state == State::Sent;
        flight.state = State::Done;
        self.settle();
        Some(Acknowledged { sent })
    }

    fn settle(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.state == State::Done) {
            self.flights.pop_front();
        }
    }

    /// Deliveries that were started and hold the cursor, or are finished ahead of it.
    pub(in crate::session) fn flights(&self) -> usize {
        self.flights.len()
    }

    /// Packet ids in use.
    pub(in crate::session) fn pids(&self) -> impl Iterator<Item = PacketId> {
        self.flights.iter().filter(|flight| flight.state != State::Done).filter_map(|flight| flight.pid)
    }

    /// Everything at or below is finished.
    pub(in crate::session) fn cursor(&self) -> Position {
        let below = |stamp: Stamp| Position(stamp.0.saturating_sub(1));
        let flight = self.flights.front().map_or(self.next, |flight| below(flight.stamp));
        let pending = self.pending.front().map_or(self.next, |candidate| below(candidate.stamp));
        self.next.min(flight).min(pending)
    }

    /// The cursor for the log, if it moved.
    pub(in crate::session) fn progress(&mut self, sid: Sid, epoch: Epoch) -> Option<LaneProgress> {
        let cursor = self.cursor();
        if cursor <= self.handed {
            return None;
        }
        self.handed = cursor;
        Some(LaneProgress { sid, epoch, cursor: Some(cursor), flights: Vec::new() })
    }

    /// The last progress: the cursor and all that is known above it, so that the next connection sends the same packet
    /// ids again and repeats nothing that is finished.
    pub(in crate::session) fn last_progress(&self, sid: Sid, epoch: Epoch) -> Option<LaneProgress> {
        let cursor = self.cursor();
        let row = |flight: &Flight| InFlight {
            stamp: flight.stamp,
            position: flight.position,
            qos: flight.qos,
            pid: flight.pid,
            state: if flight.state == State::Done { FlightState::Done } else { FlightState::Sent },
        };
        let flights: Vec<_> = self.flights.iter().map(row).collect();
        // What was handed over may not have reached the log: the cursor is said again.
        let known = cursor > Position(0) || !flights.is_empty();
        known.then_some(LaneProgress { sid, epoch, cursor: Some(cursor), flights })
    }
}
