//! The commit log: sealed batches in segments, one writer, recovery.
