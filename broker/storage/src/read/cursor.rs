//! Whole batches, in order, as far as they are durable.

use std::sync::Arc;

use causeway_model::Position;

use super::walk::{Step, Walk};
use crate::batch::Batch;
use crate::error::{Error, Evidence, Result};
use crate::log::Shared;

/// An iterator over whole batches. It ends at the durable end of the moment; asked again later it goes on from there. It
/// stops for good after an error.
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    from: Position,
    walk: Option<Walk>,
    failed: bool,
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>, from: Position) -> Self {
        Self { shared, from, walk: None, failed: false }
    }

    /// Where the next batch starts (or, before the first one, the position that was asked for).
    pub fn position(&self) -> Position {
        self.from
    }

    fn step(&mut self) -> Result<Option<Arc<Batch>>> {
        loop {
            let durable = self.shared.durable.get();
            if self.from >= durable {
                return Ok(None);
            }
            let floor = self.shared.floor.get();
            if self.from < floor {
                return Err(Error::Trimmed { position: self.from, first: floor });
            }
            // The durable end is the end of a batch, unless a truncation came between.
            if let Some(batch) = self.shared.ring.batch(self.from).filter(|batch| batch.end() <= durable) {
                self.walk = None;
                self.from = batch.end();
                return Ok(Some(batch));
            }
            let mut walk = match self.walk.take() {
                Some(walk) => walk,
                None => self.start(durable)?,
            };
            match walk.step()? {
                Step::Batch(batch) => {
                    self.walk = Some(walk);
                    if batch.end() > self.from {
                        self.from = batch.end();
                        return Ok(Some(Arc::new(batch)));
                    }
                }
                // The segment's end, or what was the durable end when this walk started: the next walk knows.
                Step::End => {}
                Step::Bad(fault) => {
                    let (file, position) = (walk.path().to_owned(), walk.at());
                    return Err(Error::Corrupt { file, position, fault, evidence: Evidence::Durable });
                }
            }
        }
    }

    fn start(&self, durable: Position) -> Result<Walk> {
        let trimmed = || Error::Trimmed { position: self.from, first: self.shared.floor.get() };
        let place = self.shared.segments.at(self.from).ok_or_else(trimmed)?;
        let upto = place.next.unwrap_or(durable).min(durable);
        let file = self.shared.open(&place.segment, self.from)?;
        Ok(Walk::new(file, &place.segment, place.segment.near(self.from), upto))
    }
}

impl Iterator for Cursor {
    type Item = Result<Arc<Batch>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}
