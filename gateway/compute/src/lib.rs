//! The protocol layer's ports and what every protocol shares: notify, cache, sessions, listeners, drain, admin.

pub mod port;
