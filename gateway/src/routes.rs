//! What admin HTTP says of a gateway.
//!
//! | path | answer |
//! |---|---|
//! | `GET /clients?after=ID&limit=N` | clients with a connection here, by id, at most 1000 a page |
//! | `DELETE /clients/NAME` | asks a client of the default namespace to go; 404 if it is not here |

use std::sync::{Arc, OnceLock};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use causeway_compute::admin::refuse;
use causeway_compute::registry::{Kick, Online, Registry};
use causeway_model::{ClientId, Namespace, QueueId, Text};
use serde::{Deserialize, Serialize};

use crate::serve::Running;

/// Most clients of one page.
const PAGE: usize = 1000;

/// The gateway once it serves: admin HTTP answers before that.
pub type Later = Arc<OnceLock<Running>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Clients {
    online: usize,
    #[serde(rename = "clients")]
    page: Vec<Client>,
    /// Pass it as `after` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct Client {
    id: String,
    namespace: String,
    #[serde(rename = "client")]
    name: String,
    peer: String,
    connected_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
}

/// The routes, for the host's admin HTTP.
pub fn routes(gateway: Later) -> Router {
    Router::new().route("/clients", get(clients)).route("/clients/{client}", delete(kick)).with_state(gateway)
}

async fn clients(State(gateway): State<Later>, Query(ask): Query<Ask>) -> Response {
    let Some(running) = gateway.get() else { return starting() };
    let after = ask.after.as_deref().map(id);
    if after == Some(None) {
        return refuse(StatusCode::BAD_REQUEST, "after: 32 hexadecimal digits".to_owned());
    }
    let limit = ask.limit.unwrap_or(100).clamp(1, PAGE);
    Json(page(&running.context().registry, after.flatten(), limit)).into_response()
}

fn page(registry: &Registry, after: Option<QueueId>, limit: usize) -> Clients {
    // One more than asked for tells whether there is a next page.
    let mut found = registry.page(after, limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.id.to_string());
    Clients { online: registry.len(), page: found.into_iter().map(Client::from).collect(), next }
}

async fn kick(State(gateway): State<Later>, Path(client): Path<String>) -> Response {
    let Some(running) = gateway.get() else { return starting() };
    let client = ClientId(Text::from(client));
    match running.context().registry.get(&Namespace::default(), &client) {
        Some(handle) => {
            handle.kick(Kick::Administrator);
            StatusCode::ACCEPTED.into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, format!("client {:?} is not connected here", &*client.0)),
    }
}

fn starting() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned())
}

fn id(text: &str) -> Option<QueueId> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(QueueId(number.to_be_bytes()))
}

impl From<Online> for Client {
    fn from(online: Online) -> Self {
        Self {
            id: online.id.to_string(),
            namespace: online.namespace.as_str().to_owned(),
            name: online.client.0.to_string(),
            peer: online.peer.to_string(),
            connected_ms: online.since.0,
            session: online.session.map(|(sid, _)| sid.to_string()),
            epoch: online.session.map(|(_, epoch)| epoch.0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_printed_and_nothing_else_is() {
        let shown = QueueId([0x0f; 16]).to_string();
        assert_eq!(id(&shown), Some(QueueId([0x0f; 16])));
        for bad in
            ["", "0f", "+f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f", &format!("{shown}00"), "zz0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"]
        {
            assert_eq!(id(bad), None, "{bad}");
        }
    }
}
