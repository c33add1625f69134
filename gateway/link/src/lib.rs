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
//!   neither clean start nor volatile, which is answered `Unknown`.
//! - At most one link of an incarnation is served: the older one ends before the newer one's handshake is answered.
//! - A peer that is wrong (token, certificate, version, cluster, bytes) is refused with words on both sides; one that
//!   stops reading stalls itself alone, within a bound of memory.
//!
//! It knows no record, key layout or table, and it does not route: which broker leads a shard is the port's business.

mod client;
mod error;
mod server;
mod settings;

pub use client::{Client, Identity, connect};
pub use error::Error;
pub use server::{BrokerServices, Services, serve};
pub use settings::{Backoff, ClientSettings, Liveness, ServerSettings, Tls};
