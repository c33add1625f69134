//! Tests across crates: architecture, simulation, crash, real clients.
