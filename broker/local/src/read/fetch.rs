//! Messages by position: at the tail from the log's memory, at once; older ones from its files, on the pool.

use std::sync::Arc;

use bytes::Bytes;
use causeway_apply::record::decode_message;
use causeway_model::{Kind, Message, Position};
use causeway_storage::Reader;

/// What a fetch has so far: an answer a position, and the positions that memory did not have.
pub(crate) struct Fetched {
    messages: Vec<Option<Arc<Message>>>,
    missing: Vec<(usize, Position)>,
}

/// Answers from memory as far as it goes. Below `first` there is nothing, and that is an answer.
pub(crate) fn cached(reader: &Reader, first: Position, positions: &[Position]) -> Result<Fetched, Kind> {
    let mut fetched = Fetched { messages: Vec::with_capacity(positions.len()), missing: Vec::new() };
    for (index, &at) in positions.iter().enumerate() {
        let message = match reader.cached(at) {
            _ if at < first => None,
            Some(payload) => Some(message(at, &payload)?),
            None => {
                fetched.missing.push((index, at));
                None
            }
        };
        fetched.messages.push(message);
    }
    Ok(fetched)
}

impl Fetched {
    /// Everything was in memory: the answer.
    pub(crate) fn complete(self) -> Result<Vec<Option<Arc<Message>>>, Self> {
        if self.missing.is_empty() { Ok(self.messages) } else { Err(self) }
    }

    /// Reads the rest from files. Blocks.
    pub(crate) fn read(mut self, reader: &Reader) -> Result<Vec<Option<Arc<Message>>>, Kind> {
        let positions: Vec<_> = self.missing.iter().map(|(_, at)| *at).collect();
        for ((index, at), payload) in self.missing.into_iter().zip(reader.read(&positions)) {
            let message = match payload {
                Ok(payload) => Some(message(at, &payload)?),
                Err(causeway_storage::Error::Trimmed { .. }) => None,
                Err(error) => return Err(crate::read::unreadable(&error)),
            };
            if let Some(to) = self.messages.get_mut(index) {
                *to = message;
            }
        }
        Ok(self.messages)
    }
}

/// A position that no entry names may lie inside a record: what is there then is no message, and the caller's mistake.
fn message(at: Position, payload: &Bytes) -> Result<Arc<Message>, Kind> {
    decode_message(payload).map(Arc::new).map_err(|error| {
        tracing::warn!(%error, position = %at, "no message at this position");
        Kind::Invalid
    })
}
