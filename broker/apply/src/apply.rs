//! Apply: one batch after another, record by record, dispatched on the kind.

use std::collections::VecDeque;

use bytes::Bytes;
use causeway_model::{Millis, Position};

use crate::record::{ClusterInit, Header, Kind, Record};
use crate::{AppliedMark, ApplyError, Effects, Family, Outcome, Reason, Tables, TablesError, digest, key, staged};

mod cluster;
mod interest;
mod message;
mod progress;
mod roots;
mod session;
mod topic;

use roots::Roots;

/// How many digests of past batches are kept for `Check` records.
const HISTORY: usize = 1024;

/// What a batch's header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchMeta {
    /// Index in the log.
    pub index: u64,
    /// The term in which it was proposed.
    pub term: u64,
    /// Where it starts.
    pub position: Position,
    /// Where it ends, and the next one starts.
    pub end: Position,
    /// The leader's wall clock when it was appended.
    pub time: Millis,
    /// What it says of the membership, if it changes it; opaque here.
    pub membership: Option<Bytes>,
}

/// The state of apply that is not in tables: roots that every record needs, loaded at open and kept in step.
///
/// One thread owns it. It must see every batch once, in order, and its effects must be written before the next
/// [`Effects::clear`]; after any error it must be opened again.
#[derive(Debug)]
pub struct Apply {
    roots: Roots,
    mark: AppliedMark,
    /// Ends of the last batches and the digests there.
    history: VecDeque<(Position, u64)>,
    /// Reused from batch to batch.
    records: Vec<(Position, Bytes)>,
    value: Vec<u8>,
}

impl Apply {
    /// Reads the roots from tables: mark, cluster, topics, filters. Nothing is read per queue or session.
    pub fn open<T: Tables>(tables: &T) -> Result<Self, ApplyError> {
        let mark = match tables.get(Family::Meta, &key::APPLIED)? {
            Some(row) => AppliedMark::decode(&row).ok_or(ApplyError::Damaged { row: "applied mark" })?,
            None => AppliedMark::default(),
        };
        let roots = Roots::open(tables, mark.time)?;
        let history = VecDeque::from([(mark.position, mark.digest)]);
        Ok(Self { roots, mark, history, records: Vec::new(), value: Vec::new() })
    }

    /// How far it has come.
    pub fn applied(&self) -> &AppliedMark {
        &self.mark
    }

    /// The log's constants; none before `ClusterInit`.
    pub fn cluster(&self) -> Option<&ClusterInit> {
        self.roots.cluster.as_ref()
    }

    /// The feature level.
    pub fn level(&self) -> u8 {
        self.roots.level
    }

    /// The first position that is still needed: the last `Trim`.
    pub fn first(&self) -> Position {
        self.roots.first
    }

    /// How many wildcard filters are active.
    pub fn active_filters(&self) -> u32 {
        self.roots.active_filters
    }

    /// Applies one whole batch: appends its mutations, outcomes and events to `out`.
    ///
    /// # Errors
    /// The shard must stop: see [`ApplyError`]. [`ApplyError::Unsupported`], [`ApplyError::Headless`] and
    /// [`ApplyError::Order`] are found before anything of the batch was applied; `out` then is as it was.
    pub fn batch<T: Tables>(
        &mut self,
        tables: &T,
        meta: &BatchMeta,
        records: impl Iterator<Item = (Position, Bytes)>,
        out: &mut Effects,
    ) -> Result<(), ApplyError> {
        let mut kept = std::mem::take(&mut self.records);
        kept.extend(records);
        let done = self.whole(tables, meta, &kept, out);
        kept.clear();
        self.records = kept;
        done
    }

    fn whole<T: Tables>(
        &mut self,
        tables: &T,
        meta: &BatchMeta,
        records: &[(Position, Bytes)],
        out: &mut Effects,
    ) -> Result<(), ApplyError> {
        self.check_order(meta)?;
        for (position, payload) in records {
            check_supported(*position, payload)?;
        }
        self.roots.clock = self.roots.clock.max(meta.time);
        for (position, payload) in records {
            let before = out.mutations.bytes().len();
            let outcome = self.record(tables, *position, payload, out)?;
            let written = out.mutations.bytes().get(before..).unwrap_or_default();
            debug_assert!(
                written.is_empty() || !matches!(outcome, Outcome::Rejected(_)),
                "a rejected record wrote: {outcome:?}"
            );
            self.mark.digest = digest::step(self.mark.digest, written);
            if !out.replay {
                out.outcomes.push(outcome);
            }
        }
        self.advance(meta, out);
        Ok(())
    }

    fn check_order(&self, meta: &BatchMeta) -> Result<(), ApplyError> {
        let mark = &self.mark;
        let follows = mark.position == Position(0) || meta.index == mark.index.wrapping_add(1);
        if follows && meta.position == mark.position && meta.end > meta.position {
            return Ok(());
        }
        Err(ApplyError::Order { index: meta.index, position: meta.position, applied: mark.index, end: mark.position })
    }

    fn record<T: Tables>(
        &mut self,
        tables: &T,
        at: Position,
        payload: &Bytes,
        out: &mut Effects,
    ) -> Result<Outcome, ApplyError> {
        let mut step = Step { roots: &mut self.roots, tables, out, at };
        let is_message = payload.first() == Some(&(Kind::Message as u8));
        let done = if is_message {
            message::message(&mut step, payload)
        } else {
            match Record::decode(payload) {
                Ok(record) => dispatch(&mut step, record, &self.history),
                Err(_) => Err(Stop::Reject(Reason::Invalid)),
            }
        };
        match done {
            Ok(outcome) => Ok(outcome),
            Err(Stop::Reject(reason)) => Ok(Outcome::Rejected(reason)),
            Err(Stop::Fail(error)) => Err(error),
        }
    }

    fn advance(&mut self, meta: &BatchMeta, out: &mut Effects) {
        let mark = &mut self.mark;
        mark.index = meta.index;
        mark.term = meta.term;
        mark.position = meta.end;
        mark.time = self.roots.clock;
        if let Some(membership) = &meta.membership {
            mark.membership_index = meta.index;
            mark.membership = membership.clone();
        }
        self.value.clear();
        mark.encode(&mut self.value);
        out.mutations.put(Family::Meta, &key::APPLIED, &self.value);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back((mark.position, mark.digest));
    }
}

fn check_supported(position: Position, payload: &[u8]) -> Result<(), ApplyError> {
    let header = Header::read(payload).ok_or(ApplyError::Headless { position })?;
    let Header { kind, version, level, .. } = header;
    header.supported().map(|_| ()).map_err(|_| ApplyError::Unsupported { kind, version, position, level })
}

/// Everything that one record may touch.
struct Step<'a, T> {
    roots: &'a mut Roots,
    tables: &'a T,
    out: &'a mut Effects,
    /// The record's position.
    at: Position,
}

/// Why a record takes no effect, or apply cannot go on.
enum Stop {
    Reject(Reason),
    Fail(ApplyError),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Reject(reason)
    }
}

impl From<TablesError> for Stop {
    fn from(error: TablesError) -> Self {
        Self::Fail(error.into())
    }
}

impl<T: Tables> Step<'_, T> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Stop> {
        Ok(staged::get(self.tables, &self.out.mutations, family, key)?)
    }

    fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.out.mutations.put(family, key, value);
    }

    fn delete(&mut self, family: Family, key: &[u8]) {
        self.out.mutations.delete(family, key);
    }

    /// The cluster's constants. Before `ClusterInit` no other record means anything.
    fn cluster(&self) -> Result<ClusterInit, Stop> {
        self.roots.cluster.ok_or(Stop::Reject(Reason::Invalid))
    }
}

fn damaged(row: &'static str) -> Stop {
    Stop::Fail(ApplyError::Damaged { row })
}

fn dispatch<T: Tables>(
    step: &mut Step<'_, T>,
    record: Record,
    history: &VecDeque<(Position, u64)>,
) -> Result<Outcome, Stop> {
    if !matches!(record, Record::ClusterInit(_)) {
        step.cluster()?;
    }
    match record {
        Record::ClusterInit(record) => cluster::init(step, record),
        Record::Check(record) => cluster::check(record, history),
        Record::Trim(record) => cluster::trim(step, record),
        Record::Gateway(record) => cluster::gateway(step, record),
        Record::FeatureLevel(record) => cluster::level(step, record),
        Record::Interest(record) => interest::interest(step, &record),
        Record::Subscribe(record) => interest::subscribe(step, record),
        Record::Unsubscribe(record) => interest::unsubscribe(step, &record),
        Record::SessionOpen(record) => session::open(step, &record),
        Record::SessionClose(record) => session::close(step, record),
        Record::SessionAbandon(record) => session::abandon(step, &record),
        Record::SessionExpire(record) => session::expire(step, &record),
        Record::Progress(lanes) => progress::progress(step, &lanes),
        Record::TopicPut(record) => topic::put(step, &record),
        Record::TopicDrop(record) => topic::drop(step, &record),
        // Messages never come here: see `record`.
        Record::Message(_) => Err(Stop::Reject(Reason::Invalid)),
    }
}

#[cfg(test)]
mod tests;
