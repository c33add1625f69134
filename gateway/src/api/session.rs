//! What the log has of one client's session.

use axum::Json;
use axum::extract::State;
use causeway_compute::port::{ClientSession, CloseReason, FlightState, Lane, Session, Subscription};
use causeway_model::{ClientId, Namespace, Position, ShardId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Asked, Error, Named, Refusals, Refused, answered, namespace};
use super::clients::InNamespace;
use super::{Api, Serving};

/// A session as its shards have it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct SessionView {
    namespace: String,
    client: String,
    /// Home shard and the position of the opening that made it.
    sid: String,
    /// The position of its latest opening.
    epoch: u64,
    /// The gateway that holds, or held last, its connection: 32 hexadecimal digits.
    owner: String,
    /// A connection holds it, as far as the log knows.
    connected: bool,
    /// It has subscriptions and progress that outlive a connection.
    persistent: bool,
    /// How long it outlives its connection.
    expiry_ms: u64,
    /// When its last connection ended, in milliseconds since 1970; absent while connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_ms: Option<u64>,
    /// Why that ended; absent while connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    closed: Option<ClosedView>,
    /// What it subscribes to, as far as it is stored.
    subscriptions: Vec<SubscriptionView>,
    /// Its progress, a lane a shard; none unless it is persistent.
    lanes: Vec<LaneView>,
}

/// Why a connection ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ClosedView {
    /// The client said goodbye.
    Orderly,
    /// The client said goodbye and asked for its will.
    OrderlyWithWill,
    /// The network went away or the keep alive passed.
    ConnectionLost,
    /// The server ended it: drain, kick, protocol error.
    Server,
    /// The gateway that held it was declared lost.
    GatewayLost,
}

impl From<CloseReason> for ClosedView {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Orderly => Self::Orderly,
            CloseReason::OrderlyWithWill => Self::OrderlyWithWill,
            CloseReason::ConnectionLost => Self::ConnectionLost,
            CloseReason::Server => Self::Server,
            CloseReason::GatewayLost => Self::GatewayLost,
        }
    }
}

/// A stored subscription.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct SubscriptionView {
    filter: String,
    /// The highest quality of service at which messages are delivered.
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    /// The subscription identifier that deliveries carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    /// Where it starts.
    from: Vec<Start>,
}

/// Where a subscription starts on one shard.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Start {
    shard: u32,
    /// Messages above this position match.
    position: u64,
}

/// A session's progress through the messages of one shard.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct LaneView {
    shard: u32,
    /// Everything at or below this position is finished.
    cursor: u64,
    /// How far the cursor is behind what is applied, whether messages there match or not.
    lag_bytes: u64,
    /// Deliveries above the cursor.
    in_flight: InFlightView,
}

/// Deliveries above the cursor, by how far each has come.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct InFlightView {
    /// Sent, and no answer came.
    sent: usize,
    /// The client has it, and the exchange of QoS 2 is not over.
    received: usize,
    /// Finished ahead of the cursor.
    done: usize,
    /// Given up for now; offered again later.
    parked: usize,
}

/// The session that a client has now, as the log has it: what was confirmed, not what is under way.
#[utoipa::path(get, path = "/sessions/{client}", tag = "clients", params(
        ("client" = String, Path, description = "The client's identifier"), InNamespace),
    responses((status = 200, description = "The session", body = SessionView),
        (status = 404, description = "The client has no session", body = Error), Refusals))]
pub(super) async fn session(
    State(api): State<Api>,
    Named(client): Named,
    Asked(within): Asked<InNamespace>,
) -> Result<Json<SessionView>, Refused> {
    let namespace = namespace(within.namespace)?;
    let serving = api.serving()?;
    let Some(head) = answered(serving.overview.client(namespace.clone(), client.clone())).await? else {
        return Err(Refused::not_found(format!("client {:?} has no session", &*client.0)));
    };
    // Between the two the session may go: then there is nothing of it.
    let (subscriptions, lanes) = if head.persistent { rows(&serving, head).await? } else { Default::default() };
    Ok(Json(view(&namespace, &client, head, subscriptions, lanes)))
}

async fn rows(serving: &Serving, head: ClientSession) -> Result<(Vec<SubscriptionView>, Vec<LaneView>), Refused> {
    let broker = &serving.context.broker;
    let (mut subscriptions, mut lanes) = (Vec::new(), Vec::new());
    for shard in serving.context.cluster.shards() {
        let Session { subscriptions: stored, lane } = answered(broker.session(shard, head.sid)).await?;
        subscriptions.extend(stored.iter().map(subscription_view));
        lanes.push(lane_view(shard, &lane, broker.applied(shard)));
    }
    Ok((subscriptions, lanes))
}

fn view(
    namespace: &Namespace,
    client: &ClientId,
    head: ClientSession,
    subscriptions: Vec<SubscriptionView>,
    lanes: Vec<LaneView>,
) -> SessionView {
    SessionView {
        namespace: namespace.as_str().to_owned(),
        client: client.0.to_string(),
        sid: head.sid.to_string(),
        epoch: head.epoch.0.0,
        owner: head.owner.to_string(),
        connected: head.connected,
        persistent: head.persistent,
        expiry_ms: u64::try_from(head.expiry.as_millis()).unwrap_or(u64::MAX),
        disconnected_ms: head.disconnected.map(|at| at.0),
        closed: head.closed.map(Into::into),
        subscriptions,
        lanes,
    }
}

fn subscription_view(stored: &Subscription) -> SubscriptionView {
    SubscriptionView {
        filter: stored.filter.as_str().to_owned(),
        qos: stored.options.qos.number(),
        no_local: stored.options.no_local,
        retain_as_published: stored.options.retain_as_published,
        id: stored.options.id,
        from: stored.from.iter().map(|(shard, position)| Start { shard: shard.0, position: position.0 }).collect(),
    }
}

fn lane_view(shard: ShardId, lane: &Lane, applied: Position) -> LaneView {
    let mut in_flight = InFlightView::default();
    for flight in &lane.flights {
        let count = match flight.state {
            FlightState::Sent => &mut in_flight.sent,
            FlightState::Received => &mut in_flight.received,
            FlightState::Done => &mut in_flight.done,
            FlightState::Parked => &mut in_flight.parked,
        };
        *count += 1;
    }
    LaneView { shard: shard.0, cursor: lane.cursor.0, lag_bytes: applied.0.saturating_sub(lane.cursor.0), in_flight }
}

#[cfg(test)]
mod tests {
    use causeway_compute::port::InFlight;
    use causeway_model::{Qos, Stamp};

    use super::*;

    #[test]
    fn a_lane_shows_its_lag_and_each_delivery_once() {
        let flight = |stamp, state| InFlight {
            stamp: Stamp(stamp),
            position: Position(stamp),
            qos: Qos::AtLeastOnce,
            pid: None,
            state,
        };
        let flights = vec![
            flight(11, FlightState::Sent),
            flight(12, FlightState::Sent),
            flight(13, FlightState::Received),
            flight(14, FlightState::Done),
            flight(15, FlightState::Parked),
        ];
        let shown = lane_view(ShardId(2), &Lane { cursor: Position(10), flights }, Position(110));
        assert_eq!((shown.shard, shown.cursor, shown.lag_bytes), (2, 10, 100));
        assert_eq!(shown.in_flight, InFlightView { sent: 2, received: 1, done: 1, parked: 1 });
        // Applied is asked before it is read again elsewhere: never below zero.
        assert_eq!(
            lane_view(ShardId(0), &Lane { cursor: Position(10), flights: Vec::new() }, Position(3)).lag_bytes,
            0
        );
    }
}
