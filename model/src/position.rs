//! Where things are: positions in a log, stamps in a queue, offsets of a reader.

use std::fmt;

/// A byte offset in a shard's log, the same on every replica.
///
/// Batch headers lie inside the position space; segment headers and padding lie outside it, so positions are equal
/// everywhere whatever the segment size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// The position of the record that put an entry in a queue. Orders the entries of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

/// A reader's index within one queue: dense in a server-topic queue, the stamp in every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

/// Names one log of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// The identity that `ClusterInit` gives a log. Every segment names it, so files of another log are refused.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lineage(pub u128);

impl Position {
    /// The position `bytes` further on; saturates at the end of the space.
    #[must_use]
    pub fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// The stamp of an entry that the record at this position puts in a queue.
    pub fn stamp(self) -> Stamp {
        Stamp(self.0)
    }
}

impl Stamp {
    /// The position of the record that made this entry.
    pub fn position(self) -> Position {
        Position(self.0)
    }

    /// The offset of the entry with this stamp in a sparse queue.
    pub fn offset(self) -> Offset {
        Offset(self.0)
    }
}

macro_rules! number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
number!(Position, Stamp, Offset, ShardId);

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({self})")
    }
}
