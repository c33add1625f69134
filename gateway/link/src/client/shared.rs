//! What callers and the link's task have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use causeway_compute::port::{Cluster, Reply};
use causeway_model::{Kind, Position, ShardId};
use tokio::sync::{oneshot, watch};
use tonic::transport::Channel;

use super::calls::Calls;
use super::outstanding::{Call, Ended};
use super::readers::Readers;
use crate::proto as pb;
use crate::{ClientMetrics, ClientSettings, MESSAGE_BYTES};

/// What a call that found no room is told to wait.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Who waits for the outcome of a proposal.
pub(crate) type Proposer = oneshot::Sender<Result<Vec<Reply>, Kind>>;

/// Who waits for the answer to a query.
#[derive(Debug)]
pub(crate) struct Asker(pub(crate) oneshot::Sender<Result<Vec<pb::answer::Kind>, Kind>>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cluster: Cluster,
    pub(crate) standings: Standings,
    pub(crate) proposals: Arc<Calls<Proposer>>,
    pub(crate) queries: Arc<Calls<Asker>>,
    pub(crate) readers: Readers,
    pub(crate) connected: watch::Sender<bool>,
    /// Where to send what goes by no stream; `None` while the link is down.
    pub(crate) channel: watch::Sender<Option<Channel>>,
    message_bytes: AtomicUsize,
    /// Frames name what is wanted here, not everything.
    pub(crate) precise: bool,
    /// How long a call that is not queued waits for a link and for its answer.
    pub(crate) patience: Duration,
    metrics: ClientMetrics,
}

impl Shared {
    pub(crate) fn new(settings: &ClientSettings, cluster: Cluster, metrics: ClientMetrics) -> Self {
        Self {
            cluster,
            standings: Standings::new(cluster),
            proposals: Arc::new(Calls::new(settings.in_flight_bytes, metrics.proposals.clone())),
            queries: Arc::new(Calls::new(settings.in_flight_bytes, metrics.queries.clone())),
            readers: Readers::new(cluster.shards, settings.notify_frames, settings.notify_bytes),
            connected: watch::Sender::new(false),
            channel: watch::Sender::new(None),
            message_bytes: AtomicUsize::new(MESSAGE_BYTES),
            precise: settings.precise,
            patience: settings.liveness.timeout,
            metrics,
        }
    }

    /// The largest call that the server of this link reads.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_message_bytes(&self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(MESSAGE_BYTES);
        self.message_bytes.store(bytes, Ordering::Relaxed);
    }

    /// The link serves calls.
    pub(crate) fn made(&self, channel: Channel) {
        self.metrics.made();
        self.channel.send_replace(Some(channel));
        self.connected.send_replace(true);
    }

    /// The link is gone: calls wait, but for those that cannot.
    pub(crate) fn lost(&self) {
        if self.connected.send_replace(false) {
            self.metrics.lost();
        }
        self.channel.send_replace(None);
        for ended in self.proposals.lose() {
            match ended {
                Ended::Cut(call) => {
                    let replies = vec![Reply::Done; call.commands];
                    let _ = call.waiter.send(Ok(replies));
                }
                Ended::Unknown(call) => answer(call, Kind::Unknown),
            }
        }
        // Queries are sent again whole: none ends with the link.
        self.queries.lose();
    }

    /// No link any more: whoever waits is told what may have been done.
    pub(crate) fn close(&self) {
        self.metrics.closed();
        self.connected.send_replace(false);
        self.channel.send_replace(None);
        let (sent, unsent) = self.proposals.close();
        for call in sent {
            answer(call, Kind::Unknown);
        }
        for call in unsent {
            answer(call, Kind::Unavailable);
        }
        let (sent, unsent) = self.queries.close();
        for call in sent.into_iter().chain(unsent) {
            let _ = call.waiter.0.send(Err(Kind::Unavailable));
        }
        self.readers.close();
    }
}

/// Nobody may be waiting any more.
pub(crate) fn answer(call: Call<Proposer>, kind: Kind) {
    let _ = call.waiter.send(Err(kind));
}

/// Where the shards stand, as far as this side knows: only ever further on.
#[derive(Debug)]
pub(crate) struct Standings(Box<[Standing]>);

#[derive(Debug, Default)]
struct Standing {
    applied: AtomicU64,
    first: AtomicU64,
}

impl Standings {
    fn new(cluster: Cluster) -> Self {
        Self(cluster.shards().map(|_| Standing::default()).collect())
    }

    /// Takes note of what came. A shard that the cluster does not have is passed over.
    pub(crate) fn advance(&self, standings: &[pb::Standing]) {
        for standing in standings {
            if let Some(mine) = self.0.get(standing.shard as usize) {
                mine.applied.fetch_max(standing.applied, Ordering::AcqRel);
                mine.first.fetch_max(standing.first, Ordering::AcqRel);
            }
        }
    }

    /// Everything up to here is applied.
    pub(crate) fn reach(&self, shard: ShardId, applied: Position) {
        if let Some(standing) = self.0.get(shard.0 as usize) {
            standing.applied.fetch_max(applied.0, Ordering::AcqRel);
        }
    }

    pub(crate) fn applied(&self, shard: ShardId) -> Position {
        Position(self.0.get(shard.0 as usize).map_or(0, |standing| standing.applied.load(Ordering::Acquire)))
    }

    pub(crate) fn first(&self, shard: ShardId) -> Position {
        Position(self.0.get(shard.0 as usize).map_or(0, |standing| standing.first.load(Ordering::Acquire)))
    }
}
