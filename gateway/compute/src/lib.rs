//! The protocol layer's ports and what every protocol shares: notify, cache, sessions, listeners, drain, admin.

pub mod admin;
pub mod cache;
pub mod context;
#[cfg(test)]
mod double;
pub mod drain;
pub mod flow;
pub mod interest;
pub mod listener;
pub mod metrics;
pub mod notify;
pub mod port;
pub mod process;
pub mod registry;
#[cfg(feature = "suite")]
pub mod suite;
pub mod task;
