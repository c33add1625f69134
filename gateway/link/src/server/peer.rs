//! What other gateways ask of this one.

use std::sync::Arc;

use causeway_compute::port::{Answer, Peer};
use tonic::{Request, Response, Status};

use super::links::{Connection, Purpose};
use crate::convert;
use crate::proto as pb;
use crate::proto::peers_server::Peers;

/// The port as a service.
pub(crate) struct Asked(pub(crate) Arc<dyn Peer>);

#[tonic::async_trait]
impl Peers for Asked {
    async fn ask(&self, request: Request<pb::Asks>) -> Result<Response<pb::PeerAnswers>, Status> {
        Connection::link_of(&request, Purpose::Peer)?;
        let asks = request.into_inner().asks.into_iter().map(convert::ask_from).collect::<Result<Vec<_>, _>>();
        let asks = asks.map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        let known: Vec<bool> = asks.iter().map(Option::is_some).collect();
        let mut answers = self.0.answer(asks.into_iter().flatten().collect()).await.into_iter();
        // A newer gateway may ask what this one does not know; the rest is answered.
        let answer = |known| if known { answers.next().unwrap_or(Answer::Refused) } else { Answer::Refused };
        let answers = known.into_iter().map(answer).map(|answer| convert::answer_to(&answer)).collect();
        Ok(Response::new(pb::PeerAnswers { answers }))
    }
}
