//! The protocol layer: the port that protocols call, and what every protocol shares.
//!
//! ```text
//!  listener ─► protocol's connection ─► port::Broker ─────────────► brokers, here or far away
//!                │  ▲        │ who is connected: registry               │
//!                │  └ hints  │ wildcards: interest                      │ frames
//!                │           └ bodies: cache                            ▼
//!                └ mailbox ◄───────────────────────────────────────── notify (a dispatcher a shard)
//!
//!  process: drain · task · metrics · admin                                  context: all of it, built once
//! ```
//!
//! The port is the contract; `suite` (feature `suite`) is its behaviour, which every implementation runs. Nothing here
//! knows a protocol, a record, a table or a file. Every task is started by [`task`], every buffer has a bound.

pub mod admin;
pub mod cache;
pub mod context;
#[cfg(test)]
mod double;
pub mod drain;
pub mod interest;
pub mod listener;
pub mod lookup;
pub mod members;
pub mod metrics;
pub mod notify;
pub mod port;
pub mod process;
pub mod registry;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
pub mod task;
