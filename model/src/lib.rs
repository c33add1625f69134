//! The words of Causeway: names, filters, messages, positions, sessions. No I/O, nothing of ours below it.
//!
//! Three words carry the system, each a newtype here. A [`Position`] is a byte offset in a shard's log, the same on
//! every replica. A [`Stamp`] is the position of the record that put an entry in a queue. An [`Offset`] is a reader's
//! index within one queue; in a sparse queue the offset of an entry *is* its stamp.

mod clock;
mod error;
mod message;
mod position;
mod property;
mod queue;
mod session;
mod subscribe;
mod topic;

pub use bytestring::ByteString as Text;
pub use clock::{Clock, ManualClock, Millis, SystemClock};
pub use error::Kind;
pub use message::{Message, Publisher, Qos};
pub use position::{Lineage, Offset, Position, ShardId, Stamp};
pub use property::{Properties, PropertiesBuilder, Property, PropertyError};
pub use queue::{HashKey, QueueId, QueueIdMap, QueueIdSet, QueueKind};
pub use session::{ClientId, Epoch, Incarnation, PacketId, Sid};
pub use subscribe::{RetainHandling, SubscribeOptions};
pub use topic::{
    Filter, MAX_LEVELS, MAX_NAME_BYTES, NameError, Namespace, Topic, in_all_queue, in_all_queue_name, topic_queue,
};
