//! Membership: which gateways serve, each under a lease that it must renew.

use std::sync::Arc;
use std::time::Duration;

use causeway_model::{Incarnation, Text};
use futures_util::future::BoxFuture;

use super::Error;

/// One gateway process, as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// This run of it.
    pub incarnation: Incarnation,
    /// What people call it.
    pub name: Text,
    /// Where other gateways reach it, `host:port`; `None`: they cannot.
    pub address: Option<Text>,
}

/// Orders maps. A leader's term comes first, so that a new leader's maps are newer than all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapEpoch {
    /// The leader's term.
    pub term: u64,
    /// Changes in this term.
    pub change: u64,
}

/// The gateways that serve now. Who answers for which clients follows from the list alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Which map this is.
    pub epoch: MapEpoch,
    /// By incarnation, each once.
    pub members: Vec<Member>,
}

impl Map {
    /// A member of the map.
    pub fn member(&self, incarnation: Incarnation) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&incarnation, |member| member.incarnation).ok()?;
        self.members.get(at)
    }
}

/// What a gateway that is known to serve gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it is taken to be alive without another word of it.
    pub length: Duration,
    /// Who serves now.
    pub map: Arc<Map>,
}

/// Who serves. Called by each gateway for itself, answered by the leader of shard 0.
///
/// A lease protects nobody's data: epochs do (design §5). It decides when a silent gateway is taken for dead, so that
/// its sessions are closed and its clients' expiry begins.
pub trait Members: Send + Sync + 'static {
    /// Takes up a lease. When it resolves, the incarnation is joined in the log. Joining again renews, and replaces name
    /// and address.
    ///
    /// # Errors
    /// `Fenced`: the incarnation was declared lost; a new one is needed. The port's others: nothing was done.
    fn join(&self, member: Member) -> BoxFuture<'static, Result<Lease, Error>>;

    /// Renews the lease.
    ///
    /// # Errors
    /// `Fenced`: declared lost. `NotFound`: the leader does not know it (it started anew): join again. Others: try again.
    fn beat(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<Lease, Error>>;

    /// Ends the lease at once: the gateway has no clients any more and will not come back. It is declared lost.
    fn leave(&self, incarnation: Incarnation) -> BoxFuture<'static, Result<(), Error>>;
}
