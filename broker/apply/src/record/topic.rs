//! Records of server topics: `TopicPut`, `TopicDrop`.

use bytes::{BufMut, BytesMut};
use causeway_model::{Namespace, Text};

use super::DecodeError;
use super::wire::{Reader, put_bytes};

/// The most queues that a server topic may have on one shard.
pub const MAX_SERVER_QUEUES: u16 = 1024;

/// Creates a server topic or gives it more queues.
///
/// ```text
/// queues u16 ‖ namespace ‖ name
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPut {
    /// Tenant.
    pub namespace: Namespace,
    /// First-level name.
    pub name: Text,
    /// Number of queues, 1 to [`MAX_SERVER_QUEUES`].
    pub queues: u16,
}

/// Drops a server topic and its queues.
///
/// ```text
/// namespace ‖ name
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDrop {
    /// Tenant.
    pub namespace: Namespace,
    /// First-level name.
    pub name: Text,
}

impl TopicPut {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u16(self.queues);
        put_bytes(buf, self.namespace.as_str().as_bytes());
        put_bytes(buf, self.name.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { queues: r.u16("queues")?, namespace: r.namespace()?, name: r.text("name")? })
    }
}

impl TopicDrop {
    pub(super) fn encode(&self, buf: &mut BytesMut) {
        put_bytes(buf, self.namespace.as_str().as_bytes());
        put_bytes(buf, self.name.as_bytes());
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { namespace: r.namespace()?, name: r.text("name")? })
    }
}
