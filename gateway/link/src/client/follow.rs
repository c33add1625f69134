//! The frames of one reader on one link, and what it wants to hear of.

use std::sync::Arc;

use causeway_compute::port::{Change, Offered};
use causeway_model::Position;
use futures_util::future::pending;
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::link::Link;
use super::readers::Reader;
use crate::convert;
use crate::proto as pb;
use crate::proto::brokers_client::BrokersClient;
use crate::proto::notify_request::Kind as Said;

/// What the broker says to one reader on one link.
pub(super) struct Events {
    stream: Streaming<pb::NotifyEvent>,
    /// With it ends what the reader says: a connection is not closed while somebody may still speak on it.
    _listens: oneshot::Sender<()>,
}

impl Link {
    /// One reader's frames on this link.
    pub(super) async fn follow(&self, reader: Arc<Reader>, client: BrokersClient<Channel>) -> Result<(), Status> {
        match self.begin(reader, client).await? {
            Some((reader, events)) => self.read(reader, events).await,
            None => Ok(()),
        }
    }

    /// Asks for a reader's frames; `None` if the reader has left.
    pub(super) async fn begin(
        &self,
        reader: Arc<Reader>,
        mut client: BrokersClient<Channel>,
    ) -> Result<Option<(Arc<Reader>, Events)>, Status> {
        if reader.sender.closed().now_or_never().is_some() {
            self.leave(&reader);
            return Ok(None);
        }
        let (listens, left) = oneshot::channel();
        match client.notify(requests(&reader).take_until(left)).await {
            Ok(events) => {
                self.shared.proposals.lift(reader.barrier);
                Ok(Some((reader, Events { stream: events.into_inner(), _listens: listens })))
            }
            Err(status) if status.code() == Code::NotFound => {
                self.leave(&reader);
                Ok(None)
            }
            Err(status) => Err(status),
        }
    }

    pub(super) async fn read(&self, reader: Arc<Reader>, mut events: Events) -> Result<(), Status> {
        loop {
            let event = tokio::select! {
                () = reader.sender.closed() => None,
                event = events.stream.message() => event?,
            };
            // The reader has left, or the broker ended its stream.
            let Some(event) = event else { break };
            self.shared.standings.advance(event.standing.as_slice());
            if let (Some(wants), Some(wanted)) = (&reader.wants, event.wanted) {
                wants.answered(wanted.number, Position(wanted.from));
            }
            for frame in &event.frames {
                if self.offer(&reader, frame)? == Offered::Gone {
                    break;
                }
            }
        }
        self.leave(&reader);
        Ok(())
    }

    fn leave(&self, reader: &Reader) {
        self.shared.proposals.lift(reader.barrier);
        self.shared.readers.remove(reader.number);
    }

    fn offer(&self, reader: &Reader, frame: &pb::Frame) -> Result<Offered, Status> {
        let frame = convert::frame_from(reader.shard, frame);
        let frame = frame.map_err(|malformed| Status::data_loss(format!("a frame makes no sense: {malformed}")))?;
        self.shared.standings.reach(reader.shard, frame.to);
        Ok(reader.sender.offer(&Arc::new(frame)))
    }
}

/// What a reader says: a start, then the queues that it wants to hear of, unless that is all.
fn requests(reader: &Reader) -> impl Stream<Item = pb::NotifyRequest> + Send + use<> {
    let start = pb::NotifyRequest { kind: Some(Said::Start(pb::NotifyStart { shard: reader.shard.0 })) };
    let wants = reader.wants.clone().map(|wants| (wants.begin(), wants));
    let changes = stream::unfold(wants, |wants| async {
        // Without a list, or once a newer stream has it, nothing is said; the end would be the stream's.
        let Some((begun, wants)) = wants else { return pending().await };
        let Some(change) = wants.change(begun).await else { return pending().await };
        let Change { number, add, remove, more } = change;
        let (add, remove) = (convert::ids_to(&add), convert::ids_to(&remove));
        let said = Said::Wants(pb::NotifyWants { number, add, remove, more });
        Some((pb::NotifyRequest { kind: Some(said) }, Some((begun, wants))))
    });
    stream::iter([start]).chain(changes)
}
