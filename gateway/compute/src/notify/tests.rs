//! Notify under every interleaving.
