//! The internal RPC: the ports of [`causeway_compute::port`] over a network.
//!
//! ```text
//!  protocols ─► Client (Broker, Overview, Members) ═ HTTP/2 ═► serve ─► any ports
//!                 │ calls: order fixed, kept until answered         │ one link an incarnation
//!                 └ one connection task: dials, sends again         └ a stream stalls itself only
//! ```
//!
//! Invariants, each tested:
//! - The ports' suite holds for a client as it does for what the server wraps.
//! - A lost link costs its callers time, not an error: what was not answered is sent again in its order and before
//!   anything newer. Two commands are never sent twice: a QoS 0 publish, which is lost, and a session opening that is
//!   neither clean start nor volatile, which is answered `Unknown`. Messages and openings whose callers have gone by then
//!   are not sent again at all.
//! - At most one link of an incarnation is served: the older one ends before the newer one's handshake is answered.
//! - A peer that is wrong (token, certificate, version, cluster, bytes) is refused with words on both sides; one that
//!   stops reading stalls itself alone, within a bound of memory.
//!
//! It knows no record, key layout or table, and it does not route: which broker leads a shard is the port's business.

mod client;
mod codec;
mod convert;
mod error;
mod metrics;
mod peer;
mod proto;
mod server;
mod settings;
mod tls;

pub use client::{Client, Identity, connect};
pub use error::Error;
pub use metrics::{ClientMetrics, ServerMetrics};
pub use peer::PeerLinks;
pub use server::{BrokerServices, Services, serve};
pub use settings::{Backoff, ClientSettings, Liveness, ServerSettings, Tls};

/// The version of the protocol. Both sides must have the same.
const VERSION: u32 = 2;

/// The highest feature level that this build knows.
const LEVEL: u32 = 1;

/// The largest encoded call: a message of 64 MiB, its names and its properties.
const MESSAGE_BYTES: usize = 65 << 20;

/// The largest message that is decoded: one call of the largest size and what wraps it.
const MAX_DECODED: usize = MESSAGE_BYTES + (1 << 20);

/// The largest message between gateways.
const PEER_BYTES: usize = 16 << 20;

/// What may be under way on one stream before its reader has taken it: a batch or two.
const STREAM_WINDOW: u32 = 4 << 20;

/// The largest frame of HTTP/2: a batch in a few pieces instead of many.
const FRAME_BYTES: u32 = 128 << 10;

/// What may be under way on one connection: a stream that is not read must not hold up the others.
const CONNECTION_WINDOW: u32 = 32 << 20;
