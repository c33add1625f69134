//! The link over loopback: the ports' suite, restarts, and peers that are wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod suite;
mod world;
