//! Interest with time that stands still.
