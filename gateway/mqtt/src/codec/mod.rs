//! MQTT packets as bytes and back: 3.1, 3.1.1 and 5.0, every packet type, both directions.
//!
//! ```text
//!  read buffer ──► Decoder ─► FixedHeader ─► size, sender, flags ─► Reader ─► one file a packet ──► Packet
//!                    │                                                            │
//!                    └ version, from CONNECT                                      └ Properties: checked, kept encoded
//!
//!  Packet ──► check ──► exact length ──► fixed header ‖ body ──► write buffer
//! ```
//!
//! Invariants, each with a test:
//! - **Strict both ways.** A packet that breaks a normative statement is an error, and what can be encoded is accepted
//!   by the decoder and equals what was encoded.
//! - **Nothing is copied.** Topic, payload, properties and strings are slices of the read buffer. So whatever outlives
//!   the packet by much (a client id, a filter) is to be copied by whoever keeps it: a slice keeps the buffer alive.
//! - **Memory is bounded by the packet**, and the packet by [`Limits`]: an oversized one is refused at its fixed header,
//!   lists stay encoded, nothing is reserved for bytes that have not come.
//! - **No panic on any input.**
//!
//! What depends on earlier packets is the session's: topic alias ranges, packet ids in use, receive maximum, whether
//! CONNACK has been sent. Sections are those of MQTT 5.0 unless they say otherwise.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

mod decoder;
mod error;
mod frame;
mod packet;
mod primitive;
mod property;
mod reason;
mod topic;
mod version;

pub use causeway_model::{PacketId, Qos, RetainHandling, Text};
pub use decoder::{Decoder, Limits};
pub use error::Error;
pub use frame::{FixedHeader, PacketType, Sender};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, FilterOptions, Packet, Parts, Publish, SharedPublish, SubAck, Subscribe,
    UnsubAck, Unsubscribe, Will,
};
pub use primitive::{MAX_FIELD, MAX_VARINT};
pub use property::{Holder, Properties, Property, PropertyId};
pub use reason::Reason;
pub use topic::split_shared;
pub use version::Version;
