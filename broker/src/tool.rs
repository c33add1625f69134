//! The tools: they print, so each writes to the output that it is given.

pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod queue;
