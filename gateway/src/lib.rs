//! The gateway: every protocol, over any ports.
//!
//! ```text
//!   clients ─► listeners ─► protocols (MQTT) ─► compute (hub, interest, registry, cache) ─► ports ─► brokers
//! ```
//!
//! One entry, [`serve`]. A gateway process calls it with ports to remote brokers, a broker that hosts the gateway with
//! its own; nothing here can tell which. Neither the store nor consensus is in this crate's tree.

pub mod api;
pub mod config;
pub mod exact;
pub mod host;
mod serve;
mod settings;

pub use serve::{Error, Ports, Reach, Running, serve};
pub use settings::{Drain, Linked, Lookup, Mqtt, Secret, Served, Settings};
