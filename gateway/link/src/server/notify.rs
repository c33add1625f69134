//! Frames for one reader: as they come, several a message when they queue up, and a heartbeat when there are none. A
//! reader that says what it wants to hear of is told of that; see [`Narrow`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use causeway_compute::port::{Broker, Frames};
use causeway_model::{Position, ShardId};
use futures_util::{Stream, StreamExt};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Status, Streaming};

use super::links::Link;
use super::narrow::{MOST, Narrow};
use super::service::{standings, superseded, unreadable};
use crate::convert;
use crate::proto as pb;
use crate::proto::notify_request::Kind as Said;

/// How often a silent reader is told where the shard stands: it may have missed frames, and nobody else would say so.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Bytes of frames in one message, about.
const BATCH_BYTES: usize = 256 << 10;

/// The stream of events.
pub(crate) struct Following {
    link: Arc<Link>,
    broker: Arc<dyn Broker>,
    shard: ShardId,
    frames: Frames,
    narrow: Narrow,
    /// Everything at or below was in a frame, or before the stream.
    at: Position,
    /// What was asked for last and is to be answered.
    wanted: Option<pb::NotifyWanted>,
    inbound: Option<Streaming<pb::NotifyRequest>>,
    tick: Interval,
    /// Nothing was sent since the last tick.
    silent: bool,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Following {
    /// Reads the start and subscribes. When it returns, the reader will hear of everything applied from now on.
    pub(crate) async fn start(
        link: Arc<Link>,
        broker: Arc<dyn Broker>,
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
        let frames = broker.notify(shard);
        // Read after the frames began: all above is in one.
        let (at, narrow) = (broker.applied(shard), Narrow::new(shard, MOST));
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = Some(Box::pin(link.ended.clone().cancelled_owned()));
        let inbound = Some(inbound);
        Ok(Self { link, broker, shard, frames, narrow, at, wanted: None, inbound, tick, silent: true, ended })
    }

    /// Whose frames they are.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    fn listen(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        while let Some(inbound) = &mut self.inbound {
            match inbound.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.inbound = None,
                Poll::Ready(Some(Err(status))) => return Err(unreadable(&self.link.name, &status)),
                Poll::Ready(Some(Ok(pb::NotifyRequest { kind: Some(Said::Wants(wants)) }))) => self.want(&wants)?,
                Poll::Ready(Some(Ok(_))) => return Err(Status::invalid_argument("notify begins once")),
            }
        }
        Ok(())
    }

    fn want(&mut self, wants: &pb::NotifyWants) -> Result<(), Status> {
        let ids = |block| convert::ids_from(block).map_err(|malformed| Status::invalid_argument(malformed.to_string()));
        if !self.narrow.change(&ids(&wants.add)?, &ids(&wants.remove)?, wants.more) {
            let (gateway, shard) = (&*self.link.name, self.shard.0);
            tracing::warn!(
                gateway,
                shard,
                most = MOST,
                "it wants to hear of more queues than are kept: it hears of all"
            );
        }
        // The frames that are taken from now on follow the list as it is now.
        self.wanted = Some(pb::NotifyWanted { number: wants.number, from: self.at.0 });
        Ok(())
    }

    /// Frames that are there; true when there will be no more.
    fn collect(&mut self, cx: &mut Context<'_>, frames: &mut Vec<pb::Frame>) -> bool {
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            match self.frames.poll_recv(cx) {
                Poll::Ready(Some(frame)) => {
                    bytes += frame.bytes();
                    self.at = frame.to.max(self.at);
                    self.narrow.tell(&frame, |frame| frames.push(convert::frame_to(frame)));
                }
                Poll::Ready(None) => return true,
                Poll::Pending => return false,
            }
        }
        false
    }
}

impl Stream for Following {
    type Item = Result<pb::NotifyEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(ended) = &mut this.ended else { return Poll::Ready(None) };
        if ended.as_mut().poll(cx).is_ready() {
            this.ended = None;
            return Poll::Ready(Some(Err(superseded())));
        }
        if let Err(status) = this.listen(cx) {
            this.ended = None;
            return Poll::Ready(Some(Err(status)));
        }
        let mut frames = Vec::new();
        let over = this.collect(cx, &mut frames);
        if frames.is_empty() && over {
            this.ended = None;
            return Poll::Ready(None);
        }
        let mut due = false;
        while this.tick.poll_tick(cx).is_ready() {
            due = std::mem::replace(&mut this.silent, true);
        }
        if frames.is_empty() && this.wanted.is_none() && !due {
            return Poll::Pending;
        }
        if due {
            frames.extend(this.narrow.flush().as_ref().map(convert::frame_to));
        }
        this.silent = false;
        let standing = standings(&*this.broker, std::iter::once(this.shard)).next();
        Poll::Ready(Some(Ok(pb::NotifyEvent { frames, standing, wanted: this.wanted.take() })))
    }
}
