//! Who is connected here: (namespace, client) → its connection, at most one that is current.
//!
//! A takeover within the gateway: the newcomer enters at once, kicks whom it found and waits for its end, so that the
//! old connection's last progress is logged before the new one opens the session. Many newcomers queue up in order:
//! **a connection has ended only when its predecessors have**.
//!
//! Clients are kept by the id of their client queue, a keyed 128-bit hash: an entry is 24 bytes and nobody can make two
//! names collide. Fencing between gateways is the log's work (epochs), not the registry's.

mod changes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use causeway_model::{ClientId, Epoch, Millis, Namespace, QueueId, QueueKind, Sid, Text};
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::Notify;

pub use self::changes::{Change, Changes, Taken};
use crate::port::Cluster;

/// Why a connection is asked to go; protocols translate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kick {
    /// The same client connected again.
    TakenOver,
    /// Somebody with the right to do so asked for it.
    Administrator,
    /// The server is going down.
    Drain,
}

/// What people may know of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Online {
    /// Sorts pages: pass it to [`Registry::page`] to go on after this one.
    pub id: QueueId,
    /// Tenant.
    pub namespace: Namespace,
    /// The client's name.
    pub client: ClientId,
    /// Where it connects from.
    pub peer: SocketAddr,
    /// When it connected.
    pub since: Millis,
    /// Its session, once opened.
    pub session: Option<(Sid, Epoch)>,
}

const PARTS: usize = 16;

/// All current connections.
#[derive(Debug)]
pub struct Registry {
    cluster: Cluster,
    /// By the id's first four bits, so that parts in order are ids in order.
    parts: [Mutex<BTreeMap<QueueId, Arc<Connection>>>; PARTS],
    online: IntGauge,
    changes: changes::Feed,
}

#[derive(Debug)]
struct Connection {
    id: QueueId,
    namespace: Namespace,
    client: ClientId,
    peer: SocketAddr,
    since: Millis,
    state: Mutex<State>,
    kicked: Notify,
    gone: Notify,
}

#[derive(Debug, Default)]
struct State {
    session: Option<(Sid, Epoch)>,
    kick: Option<Kick>,
    gone: bool,
    previous: Option<Arc<Connection>>,
}

/// A connection's place in the registry. Dropping it says that the connection has ended.
#[derive(Debug)]
#[must_use = "dropping it ends the connection's entry"]
pub struct Presence {
    registry: Arc<Registry>,
    connection: Arc<Connection>,
}

/// Another connection, to ask things of.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Connection>);

impl Registry {
    /// Nobody is connected. `online` follows the count.
    pub fn new(cluster: Cluster, online: IntGauge) -> Arc<Self> {
        Arc::new(Self { cluster, parts: Default::default(), online, changes: changes::Feed::new() })
    }

    /// Makes a connection the current one of its client. Whoever was it comes back: kick it and await its end before
    /// the session is opened.
    pub fn enter(
        self: &Arc<Self>,
        namespace: &Namespace,
        client: &ClientId,
        peer: SocketAddr,
        since: Millis,
    ) -> (Presence, Option<Handle>) {
        let id = self.id(namespace, client);
        let connection = Arc::new(Connection {
            id,
            // Copies: names are slices of the buffer they were read into, and would keep all of it.
            namespace: Namespace::new(Text::from(namespace.as_str())).unwrap_or_default(),
            client: ClientId(Text::from(&*client.0)),
            peer,
            since,
            state: Mutex::default(),
            kicked: Notify::new(),
            gone: Notify::new(),
        });
        let previous = {
            let mut part = self.part(id).lock();
            let previous = part.insert(id, Arc::clone(&connection));
            connection.state.lock().previous.clone_from(&previous);
            previous
        };
        if previous.is_none() {
            self.online.inc();
        }
        (Presence { registry: Arc::clone(self), connection }, previous.map(Handle))
    }

    /// The current connection of a client.
    pub fn get(&self, namespace: &Namespace, client: &ClientId) -> Option<Handle> {
        self.by_id(self.id(namespace, client))
    }

    /// The current connection of a client, by the id of its queue.
    pub fn by_id(&self, id: QueueId) -> Option<Handle> {
        self.part(id).lock().get(&id).cloned().map(Handle)
    }

    /// How many clients have a current connection.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.lock().is_empty())
    }

    /// Up to `limit` connections in the order of their ids, after the given one.
    pub fn page(&self, after: Option<QueueId>, limit: usize) -> Vec<Online> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let first = after.map_or(0, part_of);
        let mut page = Vec::new();
        for part in self.parts.iter().skip(first) {
            let part = part.lock();
            let rest = limit.saturating_sub(page.len());
            page.extend(part.range((start, Bound::Unbounded)).take(rest).map(|(_, connection)| connection.online()));
        }
        page
    }

    /// Asks up to `limit` current connections to go, those that follow `after` in the order of their ids. How many there
    /// were, and the last one's id.
    pub fn kick_page(&self, after: Option<QueueId>, limit: usize, why: Kick) -> (usize, Option<QueueId>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let first = after.map_or(0, part_of);
        let (mut count, mut last) = (0, None);
        for part in self.parts.iter().skip(first) {
            // Copied out, so that nobody who enters or leaves waits for the wake-ups.
            let page: Vec<_> = {
                let part = part.lock();
                part.range((start, Bound::Unbounded)).take(limit - count).map(|(_, found)| Arc::clone(found)).collect()
            };
            count += page.len();
            last = page.last().map(|connection| connection.id).or(last);
            for connection in page {
                connection.kick(why);
            }
        }
        (count, last)
    }

    /// Asks every current connection to go whose session is not open yet.
    pub fn kick_entering(&self, why: Kick) {
        for part in &self.parts {
            let connections: Vec<_> = part.lock().values().cloned().collect();
            for connection in connections {
                if connection.state.lock().session.is_none() {
                    connection.kick(why);
                }
            }
        }
    }

    /// Up to `limit` clients in the order of their ids, after the given one, with the session that each has opened.
    pub fn sessions(&self, after: Option<QueueId>, limit: usize) -> Vec<(QueueId, Option<Epoch>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let first = after.map_or(0, part_of);
        let mut page = Vec::with_capacity(limit);
        for part in self.parts.iter().skip(first) {
            let part = part.lock();
            let rest = limit.saturating_sub(page.len());
            let epoch = |connection: &Connection| connection.state.lock().session.map(|(_, epoch)| epoch);
            page.extend(part.range((start, Bound::Unbounded)).take(rest).map(|(id, found)| (*id, epoch(found))));
        }
        page
    }

    /// Begins or ends to remember who comes and goes. Whoever opened a session before it began is in
    /// [`Registry::sessions`], whoever does after it is in the changes.
    pub fn follow(&self, followed: bool) {
        self.changes.follow(followed);
    }

    /// Takes the changes of up to `limit` clients.
    pub fn changes(&self, limit: usize) -> Taken {
        self.changes.take(limit)
    }

    /// Resolves when there are changes; cancel safe. One task waits.
    pub async fn changed(&self) {
        self.changes.changed().await;
    }

    /// The id that a client is kept by: that of its queue.
    pub fn id(&self, namespace: &Namespace, client: &ClientId) -> QueueId {
        self.cluster.key.queue(QueueKind::Client, namespace, &client.0)
    }

    fn part(&self, id: QueueId) -> &Mutex<BTreeMap<QueueId, Arc<Connection>>> {
        let [first, ..] = &self.parts;
        self.parts.get(part_of(id)).unwrap_or(first)
    }

    fn leave(&self, connection: &Arc<Connection>) {
        let mut part = self.part(connection.id).lock();
        let (previous, session) = {
            let mut state = connection.state.lock();
            state.gone = true;
            state.previous = state.previous.take().and_then(unended);
            (state.previous.clone(), state.session)
        };
        if part.get(&connection.id).is_some_and(|current| Arc::ptr_eq(current, connection)) {
            // A predecessor that is still there must be found by the next newcomer.
            if let Some(previous) = previous {
                part.insert(connection.id, previous);
            } else {
                part.remove(&connection.id);
                self.online.dec();
            }
        }
        drop(part);
        if let Some((_, epoch)) = session {
            self.changes.note(connection.id, Change { epoch, online: false });
        }
        connection.gone.notify_waiters();
    }
}

fn part_of(id: QueueId) -> usize {
    let [first, ..] = id.0;
    usize::from(first >> 4)
}

/// The nearest connection in a chain of predecessors that has not ended.
fn unended(mut connection: Arc<Connection>) -> Option<Arc<Connection>> {
    loop {
        let next = {
            let state = connection.state.lock();
            if !state.gone {
                break;
            }
            state.previous.clone()?
        };
        connection = next;
    }
    Some(connection)
}

impl Connection {
    fn kick(&self, why: Kick) {
        self.state.lock().kick.get_or_insert(why);
        self.kicked.notify_one();
    }

    fn online(&self) -> Online {
        let session = self.state.lock().session;
        let (namespace, client) = (self.namespace.clone(), self.client.clone());
        Online { id: self.id, namespace, client, peer: self.peer, since: self.since, session }
    }
}

impl Presence {
    /// The session that this connection opened.
    pub fn opened(&self, sid: Sid, epoch: Epoch) {
        self.connection.state.lock().session = Some((sid, epoch));
        self.registry.changes.note(self.connection.id, Change { epoch, online: true });
    }

    /// Resolves when somebody asked this connection to go; cancel safe. One task waits.
    pub async fn kicked(&self) -> Kick {
        loop {
            let notified = self.connection.kicked.notified();
            let kick = self.connection.state.lock().kick;
            match kick {
                Some(why) => return why,
                None => notified.await,
            }
        }
    }

    /// A handle to this connection.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.connection))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.registry.leave(&self.connection);
    }
}

impl Handle {
    /// Asks the connection to go; the first reason counts.
    pub fn kick(&self, why: Kick) {
        self.0.kick(why);
    }

    /// Resolves when the connection and all it took over from have ended; cancel safe.
    pub async fn ended(&self) {
        let mut next = unended(Arc::clone(&self.0));
        while let Some(connection) = next {
            let gone = connection.gone.notified();
            let mut gone = std::pin::pin!(gone);
            gone.as_mut().enable();
            if !connection.state.lock().gone {
                gone.await;
            }
            next = unended(Arc::clone(&connection));
        }
    }

    /// What people may know of it.
    pub fn online(&self) -> Online {
        self.0.online()
    }
}
