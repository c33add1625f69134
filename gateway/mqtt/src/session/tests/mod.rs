//! The session against a small broker, without a socket, a clock or a thread.

#![expect(clippy::wildcard_enum_match_arm, reason = "any other packet than the one that is due fails the test")]

mod addressed;
mod broker;
mod connect;
mod deliver;
mod peer;
mod publish;
mod subscribe;
mod takeover;
mod world;
