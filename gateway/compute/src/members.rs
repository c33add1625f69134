//! Who serves: incarnations of gateways, each under a lease.
//!
//! ```text
//!  gateway                              leader of shard 0
//!  Membership ── join, beat, leave ──►  Registrar ── tick ──► Leases: who is silent?
//!      ▲                                    │
//!      └──── lease, map of members ─────────┴── Gateway{joined · lost} ──► log ──► duties close its sessions
//! ```
//!
//! An *incarnation* is one run of a gateway. Whoever is silent for a whole lease is declared lost in the log, and **a
//! lost incarnation never comes back**: its run ends, and the process begins another one under a new name. Joined and
//! lost are records; the map (names, addresses, epoch) is not. The leader makes it from the leases, and its epoch (term,
//! change) orders it after every map of an older leader, because whoever uses it takes it for a hint.
//!
//! A lease protects no data: epochs in the log do. It refuses to judge by the silence that it caused itself: a registrar
//! that was paused extends every lease by the time it was away.

mod leases;
mod membership;
mod registrar;

pub use leases::{Entry, Leases, Refused};
pub use membership::Membership;
pub use registrar::Registrar;

use causeway_model::{Incarnation, Kind};

use crate::port;

/// Why a part of membership could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The brokers did not say who had joined.
    #[error("load the gateways that had joined: {source}")]
    Load {
        /// Why.
        source: port::Error,
    },
    /// The brokers do not let it in, and trying again would not help.
    #[error("join as {incarnation}: {source}")]
    Join {
        /// This run.
        incarnation: Incarnation,
        /// Why.
        source: port::Error,
    },
    /// The process began to drain before the gateway was let in.
    #[error("join as {incarnation}: the process drains")]
    Draining {
        /// This run.
        incarnation: Incarnation,
    },
}

impl Error {
    /// What went wrong, in the common words.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Load { source } | Self::Join { source, .. } => source.kind.clone(),
            Self::Draining { .. } => Kind::Unavailable,
        }
    }
}
