//! Many gateways in one process, on a network that a test can break.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer than the one that is due fails the test")]

mod moving;
mod net;
mod single;
mod suite;
