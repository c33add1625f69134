//! Asking other gateways: a connection each, made when it is first needed and again when it was lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use causeway_compute::port::{Answer, Ask, Member, PeerError, Peers};
use causeway_model::{Incarnation, Text};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, ready};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

use crate::client::{Dialer, Failed, chain};
use crate::proto as pb;
use crate::proto::Purpose;
use crate::proto::peers_client::PeersClient;
use crate::{ClientSettings, Error, Identity, PEER_BYTES, convert};

/// Questions that one gateway may be asked at once.
const WAITING: usize = 1024;

/// Gateways whose connections are kept. A cluster has fewer; those that are gone leave an entry until then.
const KEPT: usize = 1024;

/// Connections to other gateways. They end with the last handle.
pub struct PeerLinks(Arc<Inner>);

struct Inner {
    dialer: Arc<Dialer>,
    links: Mutex<HashMap<Incarnation, Arc<Link>>>,
}

struct Link {
    channel: Shared<BoxFuture<'static, Result<Channel, Text>>>,
    waiting: Arc<Semaphore>,
}

impl PeerLinks {
    /// Of `settings` counts who may connect and to which cluster; whom to ask is said with each question.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(settings: &ClientSettings, identity: Identity) -> Result<Arc<Self>, Error> {
        let dialer = Arc::new(Dialer::new(settings, identity, Purpose::Peer)?);
        Ok(Arc::new(Self(Arc::new(Inner { dialer, links: Mutex::default() }))))
    }
}

impl Inner {
    /// The connection to a gateway, or the attempt to make one that all who ask at once wait for.
    fn link(&self, to: Incarnation, address: &Text) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&to) {
            return Arc::clone(link);
        }
        if links.len() >= KEPT {
            links.clear();
        }
        let (dialer, address) = (Arc::clone(&self.dialer), address.clone());
        let dial = async move {
            match dialer.dial(&address).await {
                Ok(dialled) => Ok(dialled.channel),
                Err(Failed::Unreached(cause)) => Err(Text::from(cause)),
                Err(Failed::Refused(error)) => Err(Text::from(error.to_string())),
            }
        };
        let link = Arc::new(Link { channel: dial.boxed().shared(), waiting: Arc::new(Semaphore::new(WAITING)) });
        links.insert(to, Arc::clone(&link));
        link
    }

    /// The next question makes a new connection.
    fn lost(&self, to: Incarnation, link: &Arc<Link>) {
        let mut links = self.links.lock();
        if links.get(&to).is_some_and(|current| Arc::ptr_eq(current, link)) {
            links.remove(&to);
        }
    }
}

impl Peers for PeerLinks {
    fn ask(&self, to: &Member, asks: Vec<Ask>) -> BoxFuture<'static, Result<Vec<Answer>, PeerError>> {
        let (links, incarnation, gateway) = (Arc::clone(&self.0), to.incarnation, to.name.clone());
        let Some(address) = &to.address else { return ready(Err(PeerError::NoAddress { gateway })).boxed() };
        let link = self.0.link(incarnation, address);
        async move {
            let Ok(_permit) = Arc::clone(&link.waiting).try_acquire_owned() else {
                return Err(PeerError::Busy { gateway });
            };
            let count = asks.len();
            let unreachable = |cause| PeerError::Unreachable { gateway: gateway.clone(), cause };
            let channel = link.channel.clone().await.map_err(|cause| {
                links.lost(incarnation, &link);
                unreachable(cause)
            })?;
            let mut client = PeersClient::new(channel).max_decoding_message_size(PEER_BYTES);
            let asks = pb::Asks { asks: asks.iter().map(convert::ask_to).collect() };
            let answers = client.ask(asks).await.map_err(|status| {
                links.lost(incarnation, &link);
                unreachable(Text::from(chain(&status)))
            })?;
            let answers = answers.into_inner().answers.into_iter().map(convert::answer_from).collect();
            let answers: Result<Vec<_>, _> = answers;
            answers.ok().filter(|answers| answers.len() == count).ok_or(PeerError::Nonsense { gateway })
        }
        .boxed()
    }
}

impl fmt::Debug for PeerLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerLinks").field("links", &self.0.links.lock().len()).finish_non_exhaustive()
    }
}
