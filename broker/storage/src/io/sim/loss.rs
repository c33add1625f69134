//! What a power cut leaves of changes that were not synced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A change of a file since its last sync.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { at: u64, bytes: Vec<u8> },
    Length(usize),
}

/// A change of a directory since its last sync.
#[derive(Clone, Debug)]
pub(super) enum NameChange {
    Created { path: PathBuf, file: u64 },
    Renamed { from: PathBuf, to: PathBuf },
    Removed { path: PathBuf },
}

/// `SplitMix64`: small, and the same everywhere.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

const SECTOR: usize = 512;

impl Change {
    pub(super) fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => overlay(file, usize::try_from(*at).unwrap_or(usize::MAX), bytes),
            Self::Length(length) => file.resize(*length, 0),
        }
    }
}

/// Puts `bytes` into `file` at `at`, with zeros between its end and there.
fn overlay(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if bytes.is_empty() {
        return;
    }
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}

/// Puts into `file` what a power cut lets through of its changes.
pub(super) fn survive(random: &mut Random, file: &mut Vec<u8>, changes: &[Change]) {
    match random.below(4) {
        0 => {}
        1 => changes.iter().for_each(|change| change.apply(file)),
        2 => first_few(random, file, changes),
        _ => any_sectors(random, file, changes),
    }
}

/// The first few changes, and of the next one some bytes: a disk that writes in order.
fn first_few(random: &mut Random, file: &mut Vec<u8>, changes: &[Change]) {
    let whole = random.below(changes.len() as u64 + 1);
    let mut rest = changes.iter();
    for change in rest.by_ref().take(usize::try_from(whole).unwrap_or(0)) {
        change.apply(file);
    }
    if let Some(Change::Write { at, bytes }) = rest.next() {
        let some = random.below(bytes.len() as u64 + 1);
        let some = bytes.get(..usize::try_from(some).unwrap_or(0)).unwrap_or_default();
        overlay(file, usize::try_from(*at).unwrap_or(usize::MAX), some);
    }
}

/// Each sector of each write, or not: a disk that writes as it likes.
fn any_sectors(random: &mut Random, file: &mut Vec<u8>, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Length(_) => {
                if random.coin() {
                    change.apply(file);
                }
            }
            Change::Write { at, bytes } => {
                let mut at = usize::try_from(*at).unwrap_or(usize::MAX);
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let (sector, after) = rest.split_at((SECTOR - at % SECTOR).min(rest.len()));
                    if random.coin() {
                        overlay(file, at, sector);
                    }
                    at += sector.len();
                    rest = after;
                }
            }
        }
    }
}

impl NameChange {
    pub(super) fn is_in(&self, dir: &Path) -> bool {
        let (Self::Created { path, .. } | Self::Renamed { from: path, .. } | Self::Removed { path }) = self;
        path.parent() == Some(dir)
    }

    /// Does nothing where an earlier change that it needs was lost.
    pub(super) fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Created { path, file } => {
                names.insert(path, file);
            }
            Self::Renamed { from, to } => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Removed { path } => {
                names.remove(&path);
            }
        }
    }
}

/// Puts into `names` what a power cut lets through of the changes of names.
pub(super) fn survive_names(random: &mut Random, names: &mut BTreeMap<PathBuf, u64>, changes: Vec<NameChange>) {
    let count = changes.len() as u64;
    let keep: Box<dyn FnMut(u64) -> bool> = match random.below(4) {
        0 => Box::new(|_| false),
        1 => Box::new(|_| true),
        2 => {
            let first = random.below(count + 1);
            Box::new(move |i| i < first)
        }
        _ => Box::new(|_| random.coin()),
    };
    let mut keep = keep;
    for (i, change) in (0..).zip(changes) {
        if keep(i) {
            change.apply(names);
        }
    }
}
