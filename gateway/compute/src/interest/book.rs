//! Which wildcards are wanted, and what is known of each on each shard. Pure: events and times in, proposals out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use causeway_model::{Filter, Namespace};
use tokio::time::Instant;

/// A wildcard of a tenant.
pub(super) type Key = (Namespace, Filter);

/// Names one proposal, so that its outcome is not taken for that of a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(pub(super) u64);

/// What is known of one wildcard on one shard.
///
/// ```text
///            want: propose add          added
///   absent ───────────────────► adding ───────► active
///     ▲                          ▲ ▲ │            │ idle for the delay: propose remove
///     │ removed            want: │ │ │ failed     ▼
///     └──────────────────────────┼─┘ ▼◄─────── removing
///                          want: └─ doubtful ──►  (idle for the delay: propose remove)
/// ```
///
/// Proposals of one shard take effect in call order, so an add may follow a remove without waiting for its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not indexed.
    #[default]
    Absent,
    /// An add is proposed. `clean`: it was absent before, so a refusal leaves it absent.
    Adding {
        /// The proposal.
        turn: Turn,
        /// See above.
        clean: bool,
    },
    /// Indexed.
    Active,
    /// A remove is proposed.
    Removing(Turn),
    /// A proposal's outcome is not known, or a remove was refused: it may be indexed or not. Who wants it adds again.
    Doubtful,
}

/// What a newcomer has to do on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It is indexed: start at what is applied.
    Ready,
    /// Wait for the add that is under way.
    Wait,
    /// Propose an add and wait for it.
    Add(Turn),
}

/// What came of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took effect.
    Done,
    /// Nothing was done.
    Refused,
    /// It may have taken effect.
    Unknown,
}

#[derive(Debug, Default)]
struct Wildcard {
    users: usize,
    phases: Vec<Phase>,
    /// When nobody uses it: its place among the deadlines.
    deadline: Option<(Instant, Turn)>,
}

/// All wildcards of a gateway's volatile sessions.
#[derive(Debug)]
pub(super) struct Book {
    shards: usize,
    delay: Duration,
    turn: u64,
    wildcards: HashMap<Key, Wildcard>,
    deadlines: BTreeMap<(Instant, u64), Key>,
}

impl Book {
    pub(super) fn new(shards: usize, delay: Duration) -> Self {
        Self { shards, delay, turn: 0, wildcards: HashMap::new(), deadlines: BTreeMap::new() }
    }

    /// Wildcards that are wanted or not yet gone.
    pub(super) fn len(&self) -> usize {
        self.wildcards.len()
    }

    /// A subscriber comes: what it has to do on each shard, in shard order.
    pub(super) fn want(&mut self, key: &Key) -> Vec<Want> {
        let wildcard = self.wildcards.entry(key.clone()).or_default();
        wildcard.phases.resize(self.shards, Phase::Absent);
        wildcard.users += 1;
        if let Some((at, turn)) = wildcard.deadline.take() {
            self.deadlines.remove(&(at, turn.0));
        }
        let turns = &mut self.turn;
        let want = |phase: &mut Phase| match *phase {
            Phase::Active => Want::Ready,
            Phase::Adding { .. } => Want::Wait,
            Phase::Absent | Phase::Removing(_) | Phase::Doubtful => {
                *turns += 1;
                let turn = Turn(*turns);
                *phase = Phase::Adding { turn, clean: *phase == Phase::Absent };
                Want::Add(turn)
            }
        };
        wildcard.phases.iter_mut().map(want).collect()
    }

    /// A subscriber that came goes, or its coming failed.
    pub(super) fn release(&mut self, key: &Key, now: Instant) {
        if let Some(wildcard) = self.wildcards.get_mut(key) {
            wildcard.users = wildcard.users.saturating_sub(1);
        }
        self.rest(key, now);
    }

    /// An add's outcome.
    pub(super) fn added(&mut self, key: &Key, shard: usize, turn: Turn, outcome: Outcome, now: Instant) {
        let phase = self.wildcards.get_mut(key).and_then(|wildcard| wildcard.phases.get_mut(shard));
        if let Some(phase) = phase
            && let Phase::Adding { turn: current, clean } = *phase
            && current == turn
        {
            *phase = match outcome {
                Outcome::Done => Phase::Active,
                Outcome::Refused if clean => Phase::Absent,
                Outcome::Refused | Outcome::Unknown => Phase::Doubtful,
            };
        }
        self.rest(key, now);
    }

    /// A remove's outcome.
    pub(super) fn removed(&mut self, key: &Key, shard: usize, turn: Turn, outcome: Outcome, now: Instant) {
        let phase = self.wildcards.get_mut(key).and_then(|wildcard| wildcard.phases.get_mut(shard));
        if let Some(phase) = phase.filter(|phase| **phase == Phase::Removing(turn)) {
            *phase = match outcome {
                Outcome::Done => Phase::Absent,
                // Tried again after the delay.
                Outcome::Refused | Outcome::Unknown => Phase::Doubtful,
            };
        }
        self.rest(key, now);
    }

    /// When [`Book::expire`] has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first_key_value().map(|((at, _), _)| *at)
    }

    /// Removes to propose: wildcards that nobody has used for the delay, at most `limit` of them.
    pub(super) fn expire(&mut self, now: Instant, limit: usize) -> Vec<(Key, usize, Turn)> {
        let mut removes = Vec::new();
        for _ in 0..limit {
            let Some(first) = self.deadlines.first_entry().filter(|first| first.key().0 <= now) else { break };
            let key = first.remove();
            let Some(wildcard) = self.wildcards.get_mut(&key) else { continue };
            wildcard.deadline = None;
            for (shard, phase) in wildcard.phases.iter_mut().enumerate() {
                if matches!(phase, Phase::Active | Phase::Doubtful) {
                    self.turn += 1;
                    *phase = Phase::Removing(Turn(self.turn));
                    removes.push((key.clone(), shard, Turn(self.turn)));
                }
            }
        }
        removes
    }

    /// An unused wildcard gets a deadline while a shard may have it and nothing is under way there (else the outcome
    /// brings it here again), and is forgotten when no shard has it.
    fn rest(&mut self, key: &Key, now: Instant) {
        let Some(wildcard) = self.wildcards.get_mut(key).filter(|wildcard| wildcard.users == 0) else { return };
        if wildcard.phases.iter().all(|phase| *phase == Phase::Absent) {
            if let Some((at, turn)) = wildcard.deadline {
                self.deadlines.remove(&(at, turn.0));
            }
            self.wildcards.remove(key);
        } else if wildcard.deadline.is_none()
            && wildcard.phases.iter().any(|phase| matches!(phase, Phase::Active | Phase::Doubtful))
        {
            self.turn += 1;
            let at = now + self.delay;
            wildcard.deadline = Some((at, Turn(self.turn)));
            self.deadlines.insert((at, self.turn), key.clone());
        }
    }
}
