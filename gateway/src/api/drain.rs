//! Sending a process's clients elsewhere.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use causeway_compute::drain;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::answer::{Refusals, Refused};

/// How far a drain has come.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct DrainView {
    state: Stage,
    /// Clients that are connected here now.
    clients: usize,
    /// How far asking them to go has come; absent unless it drains.
    #[serde(skip_serializing_if = "Option::is_none")]
    eviction: Option<Eviction>,
}

/// How far asking clients to go has come.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Eviction {
    /// Clients that were connected as the drain began.
    clients: usize,
    /// How many of them have been asked to go.
    asked: usize,
    /// How many are asked each second, at most.
    rate: u64,
}

/// Where a process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// It takes no clients yet.
    Starting,
    /// It serves.
    Serving,
    /// It takes no clients any more, and ends when those it has are gone or its deadline is over.
    Draining,
}

/// Whether the process that answers drains, and how many clients are left.
#[utoipa::path(get, path = "/drain", tag = "drain", responses(
    (status = 200, description = "How far it is", body = DrainView), Refusals))]
pub(super) async fn state(State(api): State<Api>) -> Result<Json<DrainView>, Refused> {
    Ok(Json(look(&api)))
}

/// Begins the drain of the process that answers, as SIGTERM does: it takes no more clients, sends those it has away, and
/// ends. There is no way back; asking again changes nothing.
#[utoipa::path(post, path = "/drain", tag = "drain", responses(
    (status = 202, description = "It drains", body = DrainView), Refusals))]
pub(super) async fn begin(State(api): State<Api>) -> Result<(StatusCode, Json<DrainView>), Refused> {
    tracing::info!("a drain was asked for");
    api.host().process.drain.begin();
    Ok((StatusCode::ACCEPTED, Json(look(&api))))
}

fn look(api: &Api) -> DrainView {
    let serving = api.serving().ok();
    let clients = serving.as_ref().map_or(0, |serving| serving.context.registry.len());
    let drain = &api.host().process.drain;
    let eviction = drain.has_begun().then(|| {
        let drain::Progress { clients, asked, rate } = drain.progress();
        Eviction { clients, asked, rate }
    });
    let state = match serving {
        _ if eviction.is_some() => Stage::Draining,
        Some(_) => Stage::Serving,
        None => Stage::Starting,
    };
    DrainView { state, clients, eviction }
}
