//! What one packet costs.

fn main() {}
