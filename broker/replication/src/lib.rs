//! The committer seam: ordered proposals in, durable and applied records out.
