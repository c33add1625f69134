//! The asking side: every port, and one task that keeps the link.
//!
//! ```text
//!  propose ─► encode ─► calls (order, budget) ─► stream ═══► server          ports: encodes, queues, decodes
//!                          ▲ answer, lose           │                        calls, outstanding: the queue
//!  Frames ◄─ readers ◄──── link: a task ◄═══════════╝                        link: the task; dial: the handshake
//! ```

mod calls;
mod dial;
mod follow;
mod link;
mod members;
mod outstanding;
mod ports;
mod readers;
mod shared;

pub(crate) use self::dial::{Dialer, Failed, chain};

use std::fmt;
use std::sync::Arc;

use causeway_compute::task::{Kind, Tasks};
use causeway_model::{Incarnation, Text};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::link::Link;
use self::shared::Shared;
use crate::proto::Purpose;
use crate::{ClientSettings, Error};

/// Who the client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What people call it.
    pub name: Text,
    /// This run of it. A new link of an incarnation ends its older one.
    pub incarnation: Incarnation,
}

/// The brokers' ports, far away. The link ends with the last handle, or when the drain closes.
pub struct Client {
    shared: Arc<Shared>,
    _ends: DropGuard,
}

/// Connects: returns after the first handshake. While brokers cannot be reached it goes on trying and says so in the
/// log.
///
/// # Errors
/// What trying again would not mend: a broker that refuses the token, another cluster or version, a certificate. Met
/// later, by a link that is made anew, it is a failure of the process.
pub async fn connect(settings: ClientSettings, identity: Identity, tasks: &Tasks) -> Result<Arc<Client>, Error> {
    if settings.brokers.is_empty() {
        return Err(Error::Settings(vec!["link.brokers: at least one is needed".to_owned()]));
    }
    let mut dialer = Dialer::new(&settings, identity, Purpose::Broker)?;
    let drain = tasks.drain().clone();
    let first = tokio::select! {
        biased;
        () = drain.begun() => return Err(Error::Draining),
        first = dialer.dial_until_reached() => first?,
    };
    let shared = Arc::new(Shared::new(&settings, first.cluster, dialer.metrics.clone()));
    let end = CancellationToken::new();
    let client = Client { shared: Arc::clone(&shared), _ends: end.clone().drop_guard() };
    tasks.spawn_fallible(Kind::Link, async move {
        let link = Link { shared: Arc::clone(&shared), dialer };
        let outcome = tokio::select! {
            biased;
            () = drain.closing() => Ok(()),
            () = end.cancelled() => Ok(()),
            outcome = link.keep(first) => outcome,
        };
        shared.close();
        outcome
    });
    Ok(Arc::new(client))
}

impl Client {
    /// Whether the link is up.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connected", &*self.shared.connected.borrow()).finish_non_exhaustive()
    }
}
