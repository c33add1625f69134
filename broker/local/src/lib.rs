//! The gateway's ports over committer, tables and log, in one process.
