//! The power goes at every change that a run makes to the disk, and comes back.
//!
//! A run appends (small batches, large ones, some over a segment), syncs, rolls, reclaims, truncates and reopens, all by
//! its seed. For each change of it, the run is made again up to there; then what was not synced is lost or torn. Whatever is
//! lost, recovery must give a log that has every acknowledged batch and no other than the run's own, and that goes on: with
//! batches as long as those that were lost, so that every stale tail has exactly the place of a new one.
//!
//! `SIM_SEEDS=1000 cargo test -p causeway-storage --test log crash` runs more seeds; `SIM_FIRST=77` starts at another.

use std::collections::BTreeSet;

use bytes::Bytes;
use causeway_model::Position;
use causeway_storage::{Error, Header, Mark, Opened, Result, Sim};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{self, LINEAGE, draft, image, mark, replay};

/// What the log must be after a crash: these batches, at least the first `sure` ones.
#[derive(Debug, Default)]
struct Model {
    log: Vec<(Header, Bytes)>,
    sizes: Vec<usize>,
    marks: Vec<Mark>,
    sure: usize,
    /// The body of the append that the power went off in: it may be there, whole, or not.
    half_done: Option<Bytes>,
    /// Where the log may start: each reclaim adds a place, and removes the ones before it once it has returned.
    floors: BTreeSet<Position>,
    term: u64,
}

impl Model {
    fn committed(&self) -> u64 {
        self.log.last().map_or(0, |(header, _)| header.committed)
    }

    /// What the run does at one step.
    fn step(&mut self, opened: &mut Opened, random: &mut StdRng) -> Result<()> {
        match random.random_range(0..20) {
            0..=11 => self.append(opened, random),
            12..=16 => self.sync(opened),
            17 => self.truncate(opened, random),
            _ => self.reclaim(opened, random),
        }
    }

    fn append(&mut self, opened: &mut Opened, random: &mut StdRng) -> Result<()> {
        let size = match random.random_range(0..10) {
            0..=4 => random.random_range(1..200),
            5..=7 => random.random_range(200..2000),
            8 => random.random_range(2000..7000),
            _ => random.random_range(7000..12_000),
        };
        self.append_of(opened, random, size)
    }

    fn append_of(&mut self, opened: &mut Opened, random: &mut StdRng, size: usize) -> Result<()> {
        // Anything durable may be known as committed, on a follower even a good while later.
        let durable = self.sure as u64;
        let committed = random.random_range(self.committed()..=durable.saturating_sub(1).max(self.committed()));
        let sizes = [size, 1 + size % 7];
        let draft = draft(self.term, self.log.len() as u64, committed, &sizes);
        self.half_done = draft.groups.first().map(|group| group.bytes().clone());
        let batch = opened.writer.append(draft)?;
        self.half_done = None;
        self.log.push(image(&batch));
        self.sizes.push(size);
        self.marks.push(mark(&batch));
        Ok(())
    }

    fn sync(&mut self, opened: &mut Opened) -> Result<()> {
        opened.writer.sync()?;
        self.sure = self.log.len();
        Ok(())
    }

    fn truncate(&mut self, opened: &mut Opened, random: &mut StdRng) -> Result<()> {
        let (committed, first) = (opened.writer.committed(), opened.reader.first());
        let lowest = self.log.iter().position(|(header, _)| header.end() > first && header.index >= committed);
        let Some(lowest) = lowest.filter(|_| self.log.len() > 1) else { return Ok(()) };
        let keep = random.random_range(lowest..self.log.len());
        if keep + 1 == self.log.len() {
            return Ok(());
        }
        self.sure = self.sure.min(keep + 1);
        opened.writer.truncate_after(keep as u64)?;
        self.log.truncate(keep + 1);
        self.marks.truncate(keep + 1);
        self.sizes.truncate(keep + 1);
        self.sure = self.log.len();
        self.term += 1;
        Ok(())
    }

    fn reclaim(&mut self, opened: &mut Opened, random: &mut StdRng) -> Result<()> {
        let applied = usize::try_from(self.committed()).unwrap().min(self.sure.saturating_sub(1));
        let Some(upto) = self.marks.get(random.random_range(0..=applied)) else { return Ok(()) };
        let below = upto.position;
        // Any segment's start up to there may be the first after a crash.
        let starts = self.log.iter().map(|(header, _)| header.position).filter(|start| *start <= below);
        let mut floors: BTreeSet<_> = starts.chain([below]).collect();
        floors.append(&mut self.floors);
        self.floors = floors;
        let removed = opened.writer.reclaim(below)?;
        if let Some(last) = removed.last() {
            self.floors = BTreeSet::from([last.end]);
        }
        Ok(())
    }

    /// The log after a crash is one that the run could have left.
    fn check(&mut self, opened: &Opened, what: &str) {
        let first = opened.reader.first();
        assert!(self.floors.contains(&first), "{what}: starts at {first}");
        let read = replay(opened, first).unwrap_or_else(|error| panic!("{what}: {error}"));
        let start = self.log.iter().position(|(header, _)| header.position >= first).unwrap_or(self.log.len());
        let kept = start + read.len();
        if let Some(body) = self.half_done.take()
            && kept == self.log.len() + 1
            && let Some(last) = read.last()
        {
            assert_eq!(image(last).1, body, "{what}");
            self.log.push(image(last));
            self.marks.push(mark(last));
        }
        assert!(kept >= self.sure, "{what}: {kept} batches of {} that were acknowledged", self.sure);
        assert!(kept <= self.log.len(), "{what}: {kept} batches of {} that were appended", self.log.len());
        for (read, expected) in read.iter().zip(&self.log[start..]) {
            assert_eq!(image(read), *expected, "{what}");
        }
        let records: Vec<_> = read.iter().flat_map(|batch| batch.records()).collect();
        let positions: Vec<_> = records.iter().map(|(position, _)| *position).collect();
        for ((_, expected), read) in records.into_iter().zip(opened.reader.read(&positions)) {
            assert_eq!(read.unwrap_or_else(|error| panic!("{what}: {error}")), expected, "{what}");
        }
        self.log.truncate(kept);
        self.marks.truncate(kept);
        self.sure = kept;
        self.floors = BTreeSet::from([first]);
    }

    /// How far tables may have applied the log.
    fn applied(&self, random: &mut StdRng) -> Mark {
        if self.sure == 0 || random.random() {
            return Mark::default();
        }
        self.marks[random.random_range(0..self.sure)]
    }
}

fn create(sim: &Sim) -> Result<Opened> {
    causeway_storage::create(std::sync::Arc::new(sim.clone()), &world::dir(), world::options(), LINEAGE)
}

/// Makes the run, until the power goes.
fn run(sim: &Sim, seed: u64) -> (Model, Result<()>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = Model { term: 1, floors: BTreeSet::from([Position(0)]), ..Model::default() };
    let mut all = || -> Result<()> {
        let mut opened = create(sim)?;
        for step in 0..40 {
            if step == 25 {
                // A clean restart in the middle: what was appended and not synced is still in the page cache.
                drop(opened);
                opened = world::open(sim, model.applied(&mut random))?;
                model.sure = model.log.len();
                model.term += 1;
            }
            model.step(&mut opened, &mut random)?;
        }
        model.sync(&mut opened)
    };
    let result = all();
    (model, result)
}

/// Opens what a crash left, checks it, goes on, and checks what a second crash leaves of that.
fn recover(sim: &Sim, mut model: Model, random: &mut StdRng, what: &str) {
    let lost = model.sizes.clone();
    if random.random() {
        // The power goes again while the log recovers.
        sim.cut_power(sim.changes() + random.random_range(0..6));
        let _ = world::open(sim, model.applied(random));
        sim.crash();
    }
    let opened = match world::open(sim, model.applied(random)) {
        Err(Error::Missing { .. }) if model.log.is_empty() => create(sim),
        opened => opened,
    };
    let mut opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    model.check(&opened, what);
    // A new life, in the places of what was lost.
    model.term += 1;
    let next = model.log.len();
    for size in lost.into_iter().skip(next).chain([10]) {
        model.append_of(&mut opened, random, size).unwrap_or_else(|error| panic!("{what}, going on: {error}"));
        if random.random() {
            model.sync(&mut opened).unwrap();
        }
    }
    drop(opened);
    sim.crash();
    let opened =
        world::open(sim, model.applied(random)).unwrap_or_else(|error| panic!("{what}, second crash: {error}"));
    model.check(&opened, &format!("{what}, second crash"));
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn a_crash_at_any_change_keeps_what_was_acknowledged_and_adopts_nothing_else() {
    let (first, seeds) = (number("SIM_FIRST", 0), number("SIM_SEEDS", 25));
    let (mut cuts, mut torn, mut rolled) = (0, 0, 0);
    for seed in first..first + seeds {
        let whole = Sim::new(seed);
        let (model, result) = run(&whole, seed);
        result.unwrap_or_else(|error| panic!("SIM_FIRST={seed}: {error}"));
        rolled += u64::from(model.log.last().is_some_and(|(header, _)| header.position > Position(16_384)));
        for cut in 0..whole.changes() {
            for loss in 0..2 {
                let what = format!("SIM_FIRST={seed} SIM_SEEDS=1, power cut at change {cut}, loss {loss}");
                let sim = Sim::new(seed << 32 | cut << 4 | loss);
                sim.cut_power(cut);
                let (model, result) = run(&sim, seed);
                assert!(result.is_err(), "{what}: the run went on");
                sim.crash();
                torn += u64::from(model.sure < model.log.len());
                cuts += 1;
                recover(&sim, model, &mut StdRng::seed_from_u64(seed ^ cut << 8 ^ loss), &what);
            }
        }
    }
    println!("{seeds} seeds from {first}: {cuts} crashes, {torn} with writes in flight, {rolled} runs rolled");
    assert!(torn * 5 > cuts && rolled * 2 > seeds, "the runs leave too little in flight to show anything");
}
