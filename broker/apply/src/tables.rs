//! What apply needs of a database: ordered families of byte keys, read one by one or in ranges, written in one atomic
//! batch. RocksDB implements it in production, a `BTreeMap` ([`crate::Twin`]) in tests.

use std::fmt;
use std::ops::ControlFlow;

use bytes::Bytes;
use causeway_model::Position;

mod mutations;
pub(crate) mod staged;
mod twin;

pub use mutations::{Iter, Mutation, Mutations};
pub use twin::Twin;

/// A family of rows with one purpose; see [`crate::key`] for the keys of each. The numbers go into the digest and are
/// frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// The applied mark, the log's first position, the cluster, topics, gateways.
    Meta = 0,
    /// Heads of server-topic queues.
    Queue = 1,
    /// Entries of queues. Never read by apply: replicas drop trimmed entries at different moments.
    Entry = 2,
    /// Message keys. Never read by apply, like entries.
    Key = 3,
    /// Wildcard filters and their owners.
    Filter = 4,
    /// Clients, heads of sessions, and which gateway owns which.
    Client = 5,
    /// Subscriptions, lanes and what is in flight.
    Session = 6,
    /// Progress of groups.
    Group = 7,
    /// What falls due.
    Timer = 8,
    /// Old bodies that somebody still needs.
    Pin = 9,
    /// Retained messages.
    Retained = 10,
}

/// All families, in the order of their numbers.
pub const FAMILIES: [Family; 11] = [
    Family::Meta,
    Family::Queue,
    Family::Entry,
    Family::Key,
    Family::Filter,
    Family::Client,
    Family::Session,
    Family::Group,
    Family::Timer,
    Family::Pin,
    Family::Retained,
];

impl Family {
    /// The column family's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Queue => "queue",
            Self::Entry => "entry",
            Self::Key => "key",
            Self::Filter => "filter",
            Self::Client => "client",
            Self::Session => "session",
            Self::Group => "group",
            Self::Timer => "timer",
            Self::Pin => "pin",
            Self::Retained => "retained",
        }
    }

    /// The family with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        FAMILIES.get(usize::from(number)).copied()
    }

    /// Whether apply may read it: all but the two from which a compaction filter drops rows.
    pub fn is_readable(self) -> bool {
        !matches!(self, Self::Entry | Self::Key)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The database failed. The shard stops: what it would have written is in the log and comes again at the next open.
#[derive(Debug, thiserror::Error)]
#[error("tables: {operation} {family}: {source}")]
pub struct TablesError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which family; [`Family::Meta`] where it concerns all of them.
    pub family: Family,
    /// Why it failed.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a scan does with each row's key and value. It must not call the tables again.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Rows by family and key. Keys order by their bytes.
pub trait Tables: Send + Sync + 'static {
    /// The value of one row.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, TablesError>;

    /// Visits the rows with `from <= key < upto` in order of their keys, until there are no more or the visitor
    /// breaks. Sees one state, whatever is written meanwhile.
    fn scan(&self, family: Family, from: &[u8], upto: &[u8], visit: Visit<'_>) -> Result<(), TablesError>;

    /// Writes all of them in order as one atomic batch over all families: after a crash all are there or none is.
    /// Not durable before the next [`Durable::flush`].
    fn write(&self, mutations: &Mutations) -> Result<(), TablesError>;
}

/// What makes tables survive a crash. There is no write-ahead log below: the commit log is it.
pub trait Durable: Tables {
    /// Makes everything written so far durable, all families at once, and waits for it.
    fn flush(&self) -> Result<(), TablesError>;

    /// Entries whose body lies below the log's `flushed_first` position may be dropped. Only ever called with a first
    /// position that a waited flush has covered, so no crash can bring back a need for them.
    fn set_floor(&self, flushed_first: Position);

    /// Takes a checkpoint of what is flushed, keeps the newest two, and says how far the log may be cut: the applied
    /// position of the older of the two; zero while there is only one.
    fn checkpoint(&self) -> Result<Position, TablesError>;
}
