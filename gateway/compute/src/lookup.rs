//! Where clients are: which gateway holds a connection, asked of any gateway.
//!
//! ```text
//!  find · kick · take over                       a client came or went
//!        │                                              │
//!     Clients ── here? ──► Registry ──changes──────► feed (one task)
//!        │                                              │ batches, again after a failure
//!        ├── hint? ──► port::Lookup ◄───────────────────┘
//!        │                └ Slots, the built-in: a client's slot ─► the gateway that owns it
//!        ├── is it so? ──► the gateway that the hint names
//!        └── no hint ────► every gateway of the map
//! ```
//!
//! Invariants:
//! - A hint is never believed: *online* comes from the gateway that holds the connection, *offline* from all of them,
//!   each knowing no newer map than the asker. Whoever is silent makes it *unknown*.
//! - An older opening of a session never hides a newer one.
//! - A connect never waits for another gateway, but for at most [`Settings::take_over`] before a session is resumed.
//!
//! It refuses to be a truth: who owns a session is in the log, and fencing protects it.

mod clients;
mod errand;
mod feed;
mod greet;
mod metrics;
mod others;
mod reach;
mod routes;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use causeway_model::Text;
use tokio::sync::watch;

pub use self::clients::{Clients, Everybody, Kicks, Whereabouts};
pub use self::metrics::LookupMetrics;
pub use self::routes::owner_of;
pub use self::slots::Slots;
use crate::port::{Lookup, Map, Peers};

/// The other gateways, as one gateway is given them.
#[derive(Clone)]
pub struct Network {
    /// What people call this gateway.
    pub name: Text,
    /// Asks the others.
    pub peers: Arc<dyn Peers>,
    /// Who serves now.
    pub map: watch::Receiver<Arc<Map>>,
    /// Where hints are kept; `None`: in the gateways' own memory.
    pub lookup: Option<Arc<dyn Lookup>>,
    /// Deadlines and bounds.
    pub settings: Settings,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Deadlines and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long another gateway may take to answer before it counts as silent.
    pub deadline: Duration,
    /// How long a client that resumes its session waits in all for the last words of its old connection elsewhere.
    pub take_over: Duration,
    /// Entries that this gateway keeps for the slots it owns, at most 94 bytes each; over it, clients that come are
    /// found by asking everybody.
    pub entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { deadline: Duration::from_millis(500), take_over: Duration::from_millis(200), entries: 8 << 20 }
    }
}
