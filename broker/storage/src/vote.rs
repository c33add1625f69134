//! The vote: a small file, replaced whole and durably.
//!
//! A node id belongs to its data directory, never to a pod's ordinal: the file names both, so that a directory that was
//! wiped and filled again cannot vote under an old id.

use std::path::Path;

use crate::error::{During, Error, Evidence, Fault, Operation, Result};
pub use crate::format::Vote;
use crate::format::{VOTE, VOTE_BYTES, VOTE_NEW};
use crate::io::{self, Fs};
use causeway_model::Position;

impl Vote {
    /// The vote in this directory; `None` before the first.
    ///
    /// # Errors
    /// `Corrupt` when the file is not whole. It is never taken for "no vote yet": that could be a second vote in a term.
    pub fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(VOTE);
        let Some(bytes) = io::read_small(fs, &path, VOTE_BYTES + 1).during(Operation::Read, &path)? else {
            return Ok(None);
        };
        let vote = <&[u8; VOTE_BYTES]>::try_from(bytes.as_slice()).map_err(|_| Fault::Short).and_then(Self::decode);
        vote.map(Some).map_err(|fault| Error::Corrupt {
            file: path,
            position: Position(0),
            fault,
            evidence: Evidence::Sealed,
        })
    }

    /// Replaces the vote in this directory. It is durable once this returns; after a crash before that it is the old one
    /// or this one, whole.
    pub fn save(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        io::write_small_atomic(fs, dir, VOTE_NEW, VOTE, &self.bytes()).during(Operation::Write, &dir.join(VOTE))
    }
}
