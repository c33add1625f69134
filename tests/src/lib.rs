//! What the tests across crates share: a broker as a real process, and a plain blocking MQTT client that hides nothing.

pub mod client;
pub mod daemon;
pub mod process;
pub mod system;

/// The seed of a randomised test: from the environment variable `SEED`, or drawn. Printed, so that a failure can be
/// repeated.
pub fn seed(test: &str) -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    eprintln!("{test}: SEED={seed}");
    seed
}
