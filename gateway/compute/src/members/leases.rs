//! The leases themselves: a state machine that is told the time and does nothing else.
//!
//! ```text
//!            join          joined in the log            silent for a lease, or leave
//!  (nobody) ─────► joining ─────────────────► member ─────────────────────────────► lost ─► declared
//!                     │                         ▲                                     ▲
//!                     └── refused: (nobody)     │ join                                │
//!  the log, at start ──────────────────────► unnamed ─────────────────────────────────┘
//! ```
//!
//! - **Nobody who was heard of within the lease is lost; whoever was not, is, at the first tick after its lease.**
//! - **Whoever is lost is refused for ever after.** The last [`REMEMBERED`] of them are refused from memory. An older
//!   one is unknown here, and the log refuses it when it joins.
//! - Whoever may be joined in the log has a lease: a join whose outcome is not known runs out into *lost*.
//! - Each change of the map, and nothing else, makes a new epoch. An *unnamed* member (the log knows it, and it has not
//!   introduced itself to this leader yet) is in the map without an address: who asks everyone knows that somebody was
//!   not asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, Text};
use tokio::time::Instant;

use crate::port::{Map, MapEpoch, Member};

#[cfg(test)]
mod tests;

/// Lost incarnations, declared in the log already, that are refused from memory.
const REMEMBERED: usize = 4096;

/// Why an incarnation is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is lost.
    Fenced,
    /// It has not introduced itself.
    Unknown,
}

/// What a join needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: the log has it as joined already. The map with it.
    Known(Arc<Map>),
    /// `Gateway{joined}` in the log, then [`Leases::joined`] or [`Leases::not_joined`].
    New,
}

/// Who has a lease, and who lost it. Times are the caller's, of one clock that never steps back.
#[derive(Debug)]
pub struct Leases {
    length: Duration,
    period: Duration,
    ticked: Instant,
    present: BTreeMap<Incarnation, Present>,
    /// Lost, and the log does not say so yet.
    undeclared: BTreeSet<Incarnation>,
    declared: Remembered,
    map: Arc<Map>,
}

#[derive(Debug)]
struct Present {
    until: Instant,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// It is being joined: `open` proposals have no outcome yet, and none so far may have been done unseen.
    Joining { open: u32, doubtful: bool },
    /// The log says that it joined; it did not say its name to this leader.
    Unnamed,
    /// In the log and introduced.
    Member(Member),
}

impl Leases {
    /// The leases of a leader that begins now. `joined` are those whom the log knows as joined: each has one lease of
    /// grace to be heard of. `length` is a lease, `period` the time between ticks.
    pub fn new(
        term: u64,
        length: Duration,
        period: Duration,
        joined: impl IntoIterator<Item = Incarnation>,
        now: Instant,
    ) -> Self {
        let grace = |incarnation| (incarnation, Present { until: now + length, standing: Standing::Unnamed });
        let mut this = Self {
            length,
            period,
            ticked: now,
            present: joined.into_iter().map(grace).collect(),
            undeclared: BTreeSet::new(),
            declared: Remembered::default(),
            map: Arc::default(),
        };
        this.map = Arc::new(Map { epoch: MapEpoch { term, change: 0 }, members: this.members() });
        this
    }

    /// Who serves now.
    pub fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map)
    }

    /// Takes up a lease.
    ///
    /// # Errors
    /// [`Refused::Fenced`].
    pub fn join(&mut self, member: &Member, now: Instant) -> Result<Entry, Refused> {
        let incarnation = member.incarnation;
        self.check(incarnation)?;
        let until = now + self.length;
        let new = Standing::Joining { open: 0, doubtful: false };
        let present = self.present.entry(incarnation).or_insert(Present { until, standing: new });
        present.until = until;
        if let Standing::Joining { open, .. } = &mut present.standing {
            *open += 1;
            return Ok(Entry::New);
        }
        self.joined(member.clone(), now).map(Entry::Known)
    }

    /// The log has it as joined.
    ///
    /// # Errors
    /// [`Refused::Fenced`]: it was lost meanwhile.
    pub fn joined(&mut self, member: Member, now: Instant) -> Result<Arc<Map>, Refused> {
        self.check(member.incarnation)?;
        let (incarnation, until) = (member.incarnation, now + self.length);
        let same = self.map.member(incarnation) == Some(&member);
        self.present.insert(incarnation, Present { until, standing: Standing::Member(member) });
        if !same {
            self.changed();
        }
        Ok(self.map())
    }

    /// A join came to nothing; `undone`: for sure. Otherwise it keeps its lease until it is lost or joins.
    pub fn not_joined(&mut self, incarnation: Incarnation, undone: bool) {
        let Some(Present { standing: Standing::Joining { open, doubtful }, .. }) = self.present.get_mut(&incarnation)
        else {
            return;
        };
        *open = open.saturating_sub(1);
        *doubtful |= !undone;
        if *open == 0 && !*doubtful {
            self.present.remove(&incarnation);
        }
    }

    /// The log says that it is lost already.
    pub fn fenced(&mut self, incarnation: Incarnation) {
        self.declared.add(incarnation);
        if self.present.remove(&incarnation).is_some_and(|present| present.is_mapped()) {
            self.changed();
        }
    }

    /// Renews a lease.
    ///
    /// # Errors
    /// [`Refused::Unknown`]: it must join. Its lease, if it has one, is renewed all the same: it is alive.
    pub fn beat(&mut self, incarnation: Incarnation, now: Instant) -> Result<Arc<Map>, Refused> {
        self.check(incarnation)?;
        let present = self.present.get_mut(&incarnation).ok_or(Refused::Unknown)?;
        present.until = now + self.length;
        match present.standing {
            Standing::Member(_) => Ok(self.map()),
            Standing::Joining { .. } | Standing::Unnamed => Err(Refused::Unknown),
        }
    }

    /// Ends a lease at once: it is lost. Nothing for one that is not known.
    pub fn leave(&mut self, incarnation: Incarnation) {
        let Some(present) = self.present.remove(&incarnation) else { return };
        self.undeclared.insert(incarnation);
        if present.is_mapped() {
            self.changed();
        }
    }

    /// Looks who is silent, and says who is lost from now on. A tick that is late, because the process was paused,
    /// extends every lease by the time lost, to a full one at most: who could not be heard is not silent.
    pub fn tick(&mut self, now: Instant) -> Vec<Incarnation> {
        let gap = now.saturating_duration_since(self.ticked);
        self.ticked = now;
        if gap > self.period * 2 {
            let (away, full) = (gap.saturating_sub(self.period), now + self.length);
            self.present.values_mut().for_each(|present| present.until = full.min(present.until + away));
        }
        let silent = self.present.iter().filter(|(_, present)| present.until <= now);
        let lost: Vec<_> = silent.map(|(incarnation, _)| *incarnation).collect();
        let mut mapped = false;
        for incarnation in &lost {
            mapped |= self.present.remove(incarnation).is_some_and(|present| present.is_mapped());
        }
        self.undeclared.extend(&lost);
        if mapped {
            self.changed();
        }
        lost
    }

    /// Up to `limit` that are lost while the log does not say so.
    pub fn undeclared(&self, limit: usize) -> Vec<Incarnation> {
        self.undeclared.iter().take(limit).copied().collect()
    }

    /// Whether it is lost while the log does not say so.
    pub fn is_undeclared(&self, incarnation: Incarnation) -> bool {
        self.undeclared.contains(&incarnation)
    }

    /// The log says that they are lost.
    pub fn declared(&mut self, lost: &[Incarnation]) {
        for incarnation in lost {
            self.undeclared.remove(incarnation);
            self.declared.add(*incarnation);
        }
    }

    fn check(&self, incarnation: Incarnation) -> Result<(), Refused> {
        let lost = self.undeclared.contains(&incarnation) || self.declared.contains(incarnation);
        if lost { Err(Refused::Fenced) } else { Ok(()) }
    }

    fn changed(&mut self) {
        let MapEpoch { term, change } = self.map.epoch;
        self.map = Arc::new(Map { epoch: MapEpoch { term, change: change + 1 }, members: self.members() });
    }

    fn members(&self) -> Vec<Member> {
        let member = |(incarnation, present): (&Incarnation, &Present)| match &present.standing {
            Standing::Joining { .. } => None,
            Standing::Unnamed => Some(unnamed(*incarnation)),
            Standing::Member(member) => Some(member.clone()),
        };
        self.present.iter().filter_map(member).collect()
    }
}

impl Present {
    fn is_mapped(&self) -> bool {
        !matches!(self.standing, Standing::Joining { .. })
    }
}

fn unnamed(incarnation: Incarnation) -> Member {
    Member { incarnation, name: Text::from(incarnation.to_string()), address: None }
}

/// The newest of a set.
#[derive(Debug, Default)]
struct Remembered {
    set: BTreeSet<Incarnation>,
    order: VecDeque<Incarnation>,
}

impl Remembered {
    fn add(&mut self, incarnation: Incarnation) {
        if !self.set.insert(incarnation) {
            return;
        }
        self.order.push_back(incarnation);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }

    fn contains(&self, incarnation: Incarnation) -> bool {
        self.set.contains(&incarnation)
    }
}
