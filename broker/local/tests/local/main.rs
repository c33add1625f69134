//! One shard from outside: the port's suite, the leader's duties, restarts, reads.

mod boundary;
mod duties;
mod fragile;
mod members;
mod reading;
mod restart;
mod shard;
mod suite;
