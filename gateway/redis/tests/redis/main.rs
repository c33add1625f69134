//! Against Debian's redis-server, one a test, on a socket in a directory of its own.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod away;
mod gateways;
mod server;
mod suite;
