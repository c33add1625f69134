//! The session against a small broker, without a socket, a clock or a thread.

mod broker;
mod peer;
mod world;
