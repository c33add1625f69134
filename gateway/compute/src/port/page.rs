//! Reading a queue: seek and iterate.

use causeway_model::{Millis, Namespace, Offset, Position, Qos, QueueId, Stamp};

/// One read of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Which queue.
    pub queue: QueueRef,
    /// Entries with a greater stamp (dense queues: at least this offset, see [`QueueRef::Dense`]).
    pub after: Position,
    /// Entries with at most this stamp.
    pub upto: Position,
    /// At most so many entries.
    pub limit: usize,
}

/// Names a queue to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueRef {
    /// A sparse queue: light, filter, client or overflow.
    Sparse(QueueId),
    /// A server-topic queue, read by offset: `after` and `upto` are ignored, entries at `offset` and above come.
    Dense(QueueId, Offset),
    /// The log itself: whatever `#` matches in a namespace.
    All(Namespace),
}

/// Entries of a queue in order. Queues have holes: nothing may be inferred from a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Everything at or below has been scanned: the next read's `after`.
    pub next: Position,
    /// Everything at or below was applied when the read was made.
    pub end: Position,
    /// The limit was reached before `upto`.
    pub more: bool,
}

/// An entry of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the queue.
    pub offset: Offset,
    /// The record that made it.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body.
    pub length: u32,
    /// When it was stored.
    pub time: Millis,
    /// What a reader may want to know before fetching.
    pub flags: EntryFlags,
}

/// What an entry says of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryFlags {
    /// The quality of service it was published with.
    pub qos: Qos,
    /// Published with RETAIN.
    pub retain: bool,
    /// Has an expiry.
    pub expires: bool,
    /// The body lies at an older position than the stamp.
    pub referred: bool,
}
