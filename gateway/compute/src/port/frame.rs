//! The one shape of notify, hosted and remote alike.

use causeway_model::{Position, QueueId, ShardId, Stamp};

use super::EntryFlags;

/// What one applied batch put into queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The shard.
    pub shard: ShardId,
    /// Everything at or below was in earlier frames.
    pub from: Position,
    /// Everything at or below is applied.
    pub to: Position,
    /// The content was too large to carry: read `(from, to]` from the index.
    pub collapsed: bool,
    /// The entries in stamp order, those without subscribers too.
    pub notices: Vec<Notice>,
    /// The queues of all notices, back to back: see [`Notice::queues`].
    pub queues: Vec<QueueId>,
}

impl Frame {
    /// Each notice with the queues it entered.
    pub fn iter(&self) -> impl Iterator<Item = (&Notice, &[QueueId])> {
        let mut rest = self.queues.as_slice();
        self.notices.iter().map(move |notice| {
            let (mine, others) = rest.split_at_checked(usize::from(notice.queues)).unwrap_or((rest, &[]));
            rest = others;
            (notice, mine)
        })
    }
}

/// One message that entered queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The record that made the entries.
    pub stamp: Stamp,
    /// Where the body is.
    pub position: Position,
    /// Bytes of the record that holds the body.
    pub length: u32,
    /// What a reader may want to know before fetching.
    pub flags: EntryFlags,
    /// How many of the frame's queue ids are this notice's. The id of kind `All` stands for the namespace's `#`.
    pub queues: u16,
}
