//! The broker's part of the management API.
//!
//! | path | answer |
//! |---|---|
//! | `GET /api/v1/queues?scan=BYTES` | server topics, filters with owners, light topics in the last bytes of the log |
//! | `GET /api/v1/queue?filter=F&namespace=N&after=P&limit=L` | a page of one queue |

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use causeway_compute::admin::refuse;
use causeway_compute::port::Broker;
use causeway_index::Db;
use causeway_local::Local;
use causeway_model::{Filter, Namespace, Position};
use serde::Deserialize;

use crate::{listing, view};

/// Most entries of one page, and what is given when none is asked for.
const PAGE: usize = 1000;
/// How far back a listing scans unless told otherwise, and at most.
const SCAN: u64 = 64 << 20;
const MAX_SCAN: u64 = 4 << 30;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskList {
    scan: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskPage {
    filter: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// The routes, for the admin HTTP of the process.
pub(crate) fn routes(local: Arc<Local<Db>>) -> Router {
    Router::new().route("/api/v1/queues", get(queues)).route("/api/v1/queue", get(queue)).with_state(local)
}

async fn queues(State(local): State<Arc<Local<Db>>>, Query(ask): Query<AskList>) -> Response {
    let scan = ask.scan.unwrap_or(SCAN).min(MAX_SCAN);
    let listed = tokio::task::spawn_blocking(move || listing::list(local.tables(), local.log(), scan)).await;
    match listed {
        Ok(Ok(listing)) => Json(listing).into_response(),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn queue(State(local): State<Arc<Local<Db>>>, Query(ask): Query<AskPage>) -> Response {
    let (filter, namespace) = match (Filter::new(ask.filter.into()), Namespace::new(ask.namespace.into())) {
        (Ok(filter), Ok(namespace)) => (filter, namespace),
        (Err(error), _) => return refuse(StatusCode::BAD_REQUEST, format!("filter: {error}")),
        (_, Err(error)) => return refuse(StatusCode::BAD_REQUEST, format!("namespace: {error}")),
    };
    let limit = ask.limit.unwrap_or(PAGE).min(PAGE);
    let broker: &dyn Broker = &*local;
    match view::queue_page(broker, &namespace, &filter, Position(ask.after), limit).await {
        Ok(page) => Json(page).into_response(),
        Err(error) => refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
