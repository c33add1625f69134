//! The internal RPC.
