//! The server over sockets, on the broker's own code with a disk and tables in memory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other packet than the one that is due fails the test")]

mod broker;
mod client;
mod drain;
mod ends;
mod fuzz;
mod gate;
mod limits;
mod session;
