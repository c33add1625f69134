//! The protocol layer's ports and what every protocol shares: notify, cache, sessions, listeners, drain, admin.

pub mod cache;
pub mod context;
pub mod drain;
pub mod interest;
pub mod metrics;
pub mod notify;
pub mod port;
pub mod registry;
#[cfg(feature = "suite")]
pub mod suite;
pub mod task;
