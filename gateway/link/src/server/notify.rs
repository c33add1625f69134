//! Frames for one reader: as they come, several a message when they queue up, and a heartbeat when there are none. A
//! reader that says what it wants to hear of is told of that; see [`Narrow`].

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use causeway_compute::port::{Broker, Frame, Frames};
use causeway_model::{Position, ShardId};
use futures_util::StreamExt;
use futures_util::future::pending;
use futures_util::stream::{self, BoxStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::{Status, Streaming};

use super::links::Link;
use super::narrow::{MOST, Narrow};
use super::service::{standings, superseded, unreadable};
use crate::metrics::Follower;
use crate::proto as pb;
use crate::proto::notify_request::Kind as Said;
use crate::{ServerMetrics, convert};

/// Half of the time for which a reader hears nothing at most: it may have missed frames, and nobody else would say so.
const TICK: Duration = Duration::from_millis(125);

/// Bytes of frames in one message, about.
const BATCH_BYTES: usize = 256 << 10;

/// What one reader is told.
pub(crate) type Events = BoxStream<'static, Result<pb::NotifyEvent, Status>>;

/// A reader that is being told.
pub(crate) struct Following {
    link: Arc<Link>,
    broker: Arc<dyn Broker>,
    shard: ShardId,
    frames: Frames,
    narrow: Narrow,
    /// Everything at or below was in a frame, or before the stream.
    at: Position,
    inbound: Option<Streaming<pb::NotifyRequest>>,
    tick: Interval,
    /// Nothing was said since the last tick.
    silent: bool,
    follower: Arc<Follower>,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// Reads the start and subscribes. When it returns, the reader will hear of everything applied from now on.
    pub(crate) async fn start(
        link: Arc<Link>,
        broker: Arc<dyn Broker>,
        metrics: &ServerMetrics,
        mut inbound: Streaming<pb::NotifyRequest>,
    ) -> Result<Self, Status> {
        let first = inbound.message().await.map_err(|status| unreadable(&link.name, &status))?;
        let Some(Said::Start(start)) = first.and_then(|first| first.kind) else {
            return Err(Status::invalid_argument("notify begins with a start"));
        };
        let shard = ShardId(start.shard);
        if !broker.cluster().shards().any(|known| known == shard) {
            return Err(Status::not_found(format!("no shard {shard}")));
        }
        let place = Arc::clone(&link.readers).try_acquire_owned();
        let place =
            place.map_err(|_| Status::resource_exhausted("more readers of frames than a gateway has use for"))?;
        let frames = broker.notify(shard);
        // Read after the frames began: all above is in one.
        let at = broker.applied(shard);
        let (narrow, inbound) = (Narrow::new(shard, MOST), Some(inbound));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watched = Arc::clone(&broker);
        let follower = metrics.follow(&link.name, at, move || watched.applied(shard));
        Ok(Self { link, broker, shard, frames, narrow, at, inbound, tick, silent: true, follower, _place: place })
    }

    /// What the reader is told, until its link ends or there will be no more frames.
    pub(crate) fn events(self) -> Events {
        let next = |following: Option<Self>| async {
            let mut following = following?;
            match following.next().await {
                Ok(event) => event.map(|event| (Ok(event), Some(following))),
                Err(status) => Some((Err(status), None)),
            }
        };
        stream::unfold(Some(self), next).boxed()
    }

    /// Waits until there is something to say. `None`: there will be no more frames.
    async fn next(&mut self) -> Result<Option<pb::NotifyEvent>, Status> {
        let mut event = pb::NotifyEvent::default();
        let mut heartbeat = false;
        while !heartbeat && event.frames.is_empty() && event.wanted.is_none() {
            tokio::select! {
                // In this order: however many frames are left out, the reader hears of how far the shard is.
                biased;
                () = self.link.ended.cancelled() => return Err(superseded()),
                said = said(&mut self.inbound) => match said.map_err(|status| unreadable(&self.link.name, &status))? {
                    Some(request) => event.wanted = Some(self.want(request)?),
                    None => self.inbound = None,
                },
                _ = self.tick.tick() => heartbeat = mem::replace(&mut self.silent, true),
                frame = self.frames.recv() => match frame {
                    Some(frame) => self.tell(&frame, &mut event),
                    None => return Ok(None),
                },
            }
        }
        self.silent = false;
        event.standing = standings(&*self.broker, std::iter::once(self.shard)).next();
        if heartbeat {
            // Of frames that it missed and that none followed it hears by the standing.
            event.frames.extend(self.narrow.flush().as_ref().map(convert::frame_to));
            self.follower.stands(self.at, event.standing.map(|standing| Position(standing.applied)));
        }
        self.follower.sends(event.frames.len());
        Ok(Some(event))
    }

    /// What of a frame, and of those that are there already, the reader is to hear.
    fn tell(&mut self, frame: &Arc<Frame>, event: &mut pb::NotifyEvent) {
        let (mut next, mut bytes) = (Some(Arc::clone(frame)), 0);
        while let Some(frame) = next {
            bytes += frame.bytes();
            self.follower.takes(&frame);
            self.at = frame.to.max(self.at);
            self.narrow.tell(&frame, |frame| event.frames.push(convert::frame_to(frame)));
            next = if bytes < BATCH_BYTES { self.frames.try_recv() } else { None };
        }
    }

    /// Changes what the reader hears of: the frames that are taken from now on follow the list as it is now.
    fn want(&mut self, request: pb::NotifyRequest) -> Result<pb::NotifyWanted, Status> {
        let Some(Said::Wants(wants)) = request.kind else {
            return Err(Status::invalid_argument("notify begins once"));
        };
        let ids = |block| convert::ids_from(block).map_err(|malformed| Status::invalid_argument(malformed.to_string()));
        if !self.narrow.change(&ids(&wants.add)?, &ids(&wants.remove)?, wants.more) {
            let (gateway, shard) = (&*self.link.name, self.shard.0);
            tracing::warn!(gateway, shard, most = MOST, "wants more queues than are kept for it: it hears of all");
        }
        Ok(pb::NotifyWanted { number: wants.number, from: self.at.0 })
    }
}

/// What the reader says next; `None`: it will say no more. Cancel safe.
async fn said(inbound: &mut Option<Streaming<pb::NotifyRequest>>) -> Result<Option<pb::NotifyRequest>, Status> {
    match inbound {
        Some(inbound) => inbound.message().await,
        None => pending().await,
    }
}
