//! The management API on the admin port, the same on a broker and on a gateway.
//!
//! ```text
//!  admin HTTP (who may ask, how much) ─► route ─► handler ─► what serves now: context, overview, map, lookup
//!                                          └────► document: made of the same handlers, `GET /api/v1/openapi.json`
//! ```
//!
//! Handlers hold no state and no logic beyond making an answer of what the ports say. Every error is
//! `{"error": "…"}`; until the host says what serves, every question about it is answered 503. Pages have cursors, never
//! numbers or totals over what has no bound.
//!
//! It refuses to know who asks: `compute::admin` has decided that before.

mod answer;
mod clients;
mod cluster;
mod document;
mod drain;
mod listing;
mod queue;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use causeway_compute::context::Context;
use causeway_compute::port::{Map, Overview};
use causeway_compute::process::Process;
use causeway_model::Text;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

pub use document::document;
pub use listing::{FilterView, LightView, List, Listing, TopicView};
pub use queue::{EntryView, MOST_ENTRIES, MessageView, QueuePage, ShardPage, queue_page};

use answer::Refused;

/// What kind of process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProcessKind {
    /// Holds logs and tables, and hosts a gateway.
    Broker,
    /// Serves protocols over brokers elsewhere.
    Gateway,
}

/// The process that answers, from its first moment.
#[derive(Clone)]
pub struct Host {
    /// What it is.
    pub kind: ProcessKind,
    /// Its version.
    pub version: &'static str,
    /// Its drain.
    pub process: Process,
    /// Lists queues; `None` where the tables are elsewhere.
    pub listing: Option<Arc<dyn List>>,
}

/// One run of the gateway that the process serves.
#[derive(Clone)]
pub struct Serving {
    /// What people call it.
    pub name: Text,
    /// What its connections stand on.
    pub context: Arc<Context>,
    /// What the brokers say of clients, gateways and shards.
    pub overview: Arc<dyn Overview>,
    /// Who serves now.
    pub map: watch::Receiver<Arc<Map>>,
}

/// What the API answers from. Cheap to clone; every clone sees the same.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    host: Host,
    serving: watch::Sender<Option<Arc<Serving>>>,
}

impl Api {
    /// Of a process that is starting.
    pub fn new(host: Host) -> Self {
        Self(Arc::new(Inner { host, serving: watch::Sender::new(None) }))
    }

    /// From here on it answers from this run.
    pub fn serve(&self, serving: Serving) {
        self.0.serving.send_replace(Some(Arc::new(serving)));
    }

    /// The run is over: until the next one it answers as when starting.
    pub fn end(&self) {
        self.0.serving.send_replace(None);
    }

    /// The routes, for the host's admin HTTP.
    pub fn routes(&self) -> Router {
        document::routes().with_state(self.clone())
    }

    fn host(&self) -> &Host {
        &self.0.host
    }

    fn serving(&self) -> Result<Arc<Serving>, Refused> {
        self.0.serving.borrow().clone().ok_or_else(Refused::starting)
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("kind", &self.0.host.kind).finish_non_exhaustive()
    }
}
