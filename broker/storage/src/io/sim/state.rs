//! The simulated disk itself: what is seen, what is durable, and what is between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use super::Op;
use super::loss::{self, Change, NameChange, Random};

#[derive(Debug)]
pub(super) struct State {
    pub(super) random: Random,
    pub(super) files: BTreeMap<u64, Inode>,
    pub(super) next_file: u64,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    pub(super) name_changes: Vec<NameChange>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) capacity: Option<u64>,
    /// Counts crashes: a handle of an older epoch is dead.
    pub(super) epoch: u64,
    /// Changes so far: everything but opening to read, and reading.
    pub(super) changes: u64,
    pub(super) syncs: u64,
    pub(super) cut_at: Option<u64>,
    pub(super) off: bool,
    pub(super) plan: Option<Plan>,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) op: Op,
    pub(super) skip: u64,
    pub(super) kind: io::ErrorKind,
    pub(super) times: u64,
}

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
    pub(super) changes: Vec<Change>,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            files: BTreeMap::new(),
            next_file: 0,
            dirs: BTreeSet::from([PathBuf::from("/")]),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            locks: BTreeSet::new(),
            capacity: None,
            epoch: 0,
            changes: 0,
            syncs: 0,
            cut_at: None,
            off: false,
            plan: None,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.names.values().filter_map(|file| self.files.get(file)).map(|inode| inode.now.len() as u64).sum()
    }

    pub(super) fn new_file(&mut self) -> u64 {
        self.next_file += 1;
        self.files.insert(self.next_file, Inode::default());
        self.next_file
    }

    /// Whether this operation goes on; what it leaves half done when it does not is the caller's.
    pub(super) fn admit(&mut self, op: Op, epoch: u64, change: bool) -> io::Result<()> {
        if self.off || epoch != self.epoch {
            return Err(io::Error::other("the power is off"));
        }
        if change {
            let at = self.changes;
            self.changes += 1;
            if self.cut_at.is_some_and(|cut| at >= cut) {
                self.off = true;
                return Err(io::Error::other("the power went off"));
            }
        }
        if let Some(plan) = &mut self.plan
            && plan.op == op
        {
            if plan.skip > 0 {
                plan.skip -= 1;
            } else if plan.times > 0 {
                plan.times -= 1;
                return Err(plan.kind.into());
            }
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) {
        self.off = false;
        self.cut_at = None;
        self.plan = None;
        self.epoch += 1;
        self.locks.clear();
        let changes = std::mem::take(&mut self.name_changes);
        loss::survive_names(&mut self.random, &mut self.durable_names, changes);
        self.names.clone_from(&self.durable_names);
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|file, _| named.contains(file));
        for inode in self.files.values_mut() {
            let changes = std::mem::take(&mut inode.changes);
            loss::survive(&mut self.random, &mut inode.durable, &changes);
            inode.now.clone_from(&inode.durable);
        }
    }

    pub(super) fn inode(&mut self, file: u64) -> io::Result<&mut Inode> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes as much of `bytes` as there is room for.
    pub(super) fn write(&mut self, file: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
        let free = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        let inode = self.inode(file)?;
        let room = (inode.now.len() as u64).saturating_add(free).saturating_sub(at);
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let (now, over) = bytes.split_at(fits);
        inode.apply(Change::Write { at, bytes: now.to_vec() });
        if over.is_empty() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
}

impl Inode {
    pub(super) fn apply(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }
}
