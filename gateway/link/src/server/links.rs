//! Who is connected: a link a handshake, at most one an incarnation.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use causeway_model::{Incarnation, Text};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Request, Status};

use super::sparing::Sparing;
use crate::ServerMetrics;

/// What a link is for. A process may have one of each with the same incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// It uses a broker.
    Broker,
    /// It asks another gateway.
    Peer,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) number: u128,
    pub(crate) name: Text,
    pub(crate) incarnation: Incarnation,
    pub(crate) purpose: Purpose,
    /// Places for readers of frames.
    pub(crate) readers: Arc<Semaphore>,
    /// Held while something is done for the link that must not happen after its end.
    gate: Mutex<Gate>,
    pub(crate) ended: CancellationToken,
}

#[derive(Debug)]
struct Gate {
    open: bool,
}

impl Link {
    pub(crate) fn new(number: u128, name: Text, incarnation: Incarnation, purpose: Purpose, readers: usize) -> Self {
        let (readers, gate) = (Arc::new(Semaphore::new(readers)), Mutex::new(Gate { open: true }));
        Self { number, name, incarnation, purpose, readers, gate, ended: CancellationToken::new() }
    }

    /// Does it unless the link has ended; no end comes in between.
    pub(crate) fn act<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let gate = self.gate.lock();
        gate.open.then(act)
    }

    /// When this returns, nothing is done for the link any more; its streams end soon.
    pub(crate) fn end(&self) {
        self.gate.lock().open = false;
        self.ended.cancel();
    }
}

/// One connection. Requests find it in their extensions.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    pub(crate) received: AtomicU64,
    refused: AtomicBool,
    link: Mutex<Option<Arc<Link>>>,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        Self { peer, received: AtomicU64::new(0), refused: AtomicBool::new(false), link: Mutex::default() }
    }

    /// The connection that a request came on.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Arc<Self>, Status> {
        let plain = || request.extensions().get::<Arc<Self>>().cloned();
        let secured = || request.extensions().get::<TlsConnectInfo<Arc<Self>>>().map(|info| Arc::clone(info.get_ref()));
        plain().or_else(secured).ok_or_else(|| Status::internal("a request without its connection"))
    }

    /// The link that a request belongs to, which must be for its purpose.
    pub(crate) fn link_of<T>(request: &Request<T>, purpose: Purpose) -> Result<Arc<Link>, Status> {
        let link = Self::of(request)?.link();
        let link = link.ok_or_else(|| Status::unauthenticated("no handshake on this connection"))?;
        if link.purpose != purpose {
            return Err(Status::permission_denied("the link is not for this"));
        }
        Ok(link)
    }

    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.lock().clone()
    }

    /// Its handshake was refused, which is counted and said.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn has_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// All links.
#[derive(Debug)]
pub(crate) struct Links {
    state: Mutex<State>,
    pub(crate) metrics: ServerMetrics,
    /// Lines of the log: handshakes that were refused.
    pub(crate) refused: Sparing,
    /// Connections over the limit.
    pub(crate) crowded: Sparing,
    /// Connections that never had a link.
    pub(crate) strange: Sparing,
}

#[derive(Debug)]
struct State {
    current: HashMap<(Purpose, Incarnation), Arc<Link>>,
    closed: bool,
}

impl Links {
    pub(crate) fn new(closed: bool, metrics: ServerMetrics) -> Arc<Self> {
        let state = Mutex::new(State { current: HashMap::new(), closed });
        let [refused, crowded, strange] = Default::default();
        Arc::new(Self { state, metrics, refused, crowded, strange })
    }

    /// Makes a link the one of its incarnation and of its connection. The older one has ended when this returns: what
    /// was still on its way there will not be done.
    ///
    /// # Errors
    /// No links are made any more, or the connection has one: it stands for one link from its handshake to its end.
    pub(crate) fn enter(&self, link: &Arc<Link>, connection: &Connection) -> Result<(), Status> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Status::unavailable("shutting down"));
        }
        let mut place = connection.link.lock();
        if place.is_some() {
            return Err(Status::failed_precondition("the handshake of this connection is done"));
        }
        *place = Some(Arc::clone(link));
        self.metrics.entered(&link.name);
        if let Some(old) = state.current.insert((link.purpose, link.incarnation), Arc::clone(link)) {
            old.end();
            tracing::info!(gateway = %old.name, link = format!("{:032x}", old.number), "link ended by a newer one");
        }
        Ok(())
    }

    /// The connection is gone, and with it its link.
    pub(crate) fn leave(&self, connection: &Connection) -> Option<Arc<Link>> {
        let link = connection.link.lock().take()?;
        let mut state = self.state.lock();
        let key = (link.purpose, link.incarnation);
        if state.current.get(&key).is_some_and(|current| current.number == link.number) {
            state.current.remove(&key);
        }
        drop(state);
        link.end();
        self.metrics.left(&link.name);
        Some(link)
    }

    /// Ends all links for good.
    pub(crate) fn close(&self) {
        let links = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.current)
        };
        for link in links.values() {
            link.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn link(number: u128, incarnation: u128, purpose: Purpose) -> Arc<Link> {
        Arc::new(Link::new(number, "g".into(), Incarnation(incarnation), purpose, 1))
    }

    fn connection() -> Connection {
        Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn a_newer_link_of_an_incarnation_ends_the_older_and_no_other() {
        let links = Links::new(false, ServerMetrics::register(&Registry::new()).unwrap());
        let places = [connection(), connection(), connection(), connection()];
        let [old, new] = [link(1, 7, Purpose::Broker), link(2, 7, Purpose::Broker)];
        let others = [link(3, 8, Purpose::Broker), link(4, 7, Purpose::Peer)];
        for (link, at) in [&old, &others[0], &others[1], &new].into_iter().zip(&places) {
            links.enter(link, at).unwrap();
        }
        assert_eq!(old.act(|| ()), None);
        assert!(old.ended.is_cancelled());
        for link in [&new, &others[0], &others[1]] {
            assert_eq!(link.act(|| 1), Some(1));
        }
        assert_eq!(links.leave(&places[0]).unwrap().number, 1);
        assert_eq!(new.act(|| 1), Some(1), "the end of the old connection does not end the new link");
        links.leave(&places[3]);
        assert_eq!(new.act(|| 1), None);
        assert_eq!(links.state.lock().current.len(), 2);
        let again = links.enter(&link(5, 9, Purpose::Broker), &places[1]).unwrap_err();
        assert_eq!(again.message(), "the handshake of this connection is done");
        links.close();
        assert_eq!(others[0].act(|| 1), None);
        assert!(links.enter(&link(5, 9, Purpose::Broker), &places[0]).is_err());
    }
}
