//! The link over loopback: the ports' suite, restarts, and peers that are wrong.

#![expect(clippy::unwrap_used, reason = "tests")]

mod answers;
mod gateways;
mod lookup;
mod metrics;
mod peers;
mod precise;
mod raw;
mod restart;
mod suite;
mod tls;
mod world;
