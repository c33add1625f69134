//! Which queues there are. Only the tables and the log know: a broker lists them, a gateway cannot.

use std::fmt::Display;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::answer::{Asked, Error, Refusals, Refused};

/// How far back a listing scans unless told otherwise, and at most.
const SCAN: u64 = 64 << 20;
const MAX_SCAN: u64 = 4 << 30;

/// Lists queues, where the tables are.
pub trait List: Send + Sync + 'static {
    /// Everything that has a name, with the topics of the last `scan` bytes of the log.
    ///
    /// # Errors
    /// What is damaged, for a person.
    fn list(&self, scan: u64) -> BoxFuture<'static, Result<Listing, String>>;
}

/// What there is.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Listing {
    /// Server topics.
    pub topics: Vec<TopicView>,
    /// Wildcards that have an owner.
    pub filters: Vec<FilterView>,
    /// Topics that messages were published to, as far as the log was scanned.
    pub light: Vec<LightView>,
    /// Topics were looked for above this position.
    pub scanned_from: u64,
    /// Something was left out: there is more than one listing shows.
    pub truncated: bool,
}

/// A server topic.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TopicView {
    /// Tenant.
    pub namespace: String,
    /// The topic.
    pub name: String,
    /// How many queues it has.
    pub queues: u16,
}

/// A wildcard with its owners.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct FilterView {
    /// Tenant.
    pub namespace: String,
    /// The wildcard.
    pub filter: String,
    /// Sessions and gateways that want it.
    pub owners: usize,
    /// Entries above this position are its.
    pub since: u64,
}

/// A topic that messages were published to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LightView {
    /// Tenant.
    pub namespace: String,
    /// The topic.
    pub topic: String,
    /// Messages in the scanned part of the log.
    pub messages: u64,
    /// The position of the last one.
    pub last: u64,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Scan {
    /// How many bytes at the end of the log are scanned for topics; 64 MiB unless told otherwise, at most 4 GiB.
    #[param(maximum = 4_294_967_296u64)]
    scan: Option<u64>,
}

/// Server topics, wildcards with owners, and the topics that the end of the log names. Only on a broker.
#[utoipa::path(get, path = "/queues", tag = "queues", params(Scan), responses(
    (status = 200, description = "What there is", body = Listing),
    (status = 501, description = "A gateway has no tables: ask a broker", body = Error), Refusals))]
pub(super) async fn queues(State(api): State<Api>, Asked(ask): Asked<Scan>) -> Result<Json<Listing>, Refused> {
    let scan = ask.scan.unwrap_or(SCAN);
    if scan > MAX_SCAN {
        return Err(Refused::invalid(format!("scan: at most {MAX_SCAN} bytes")));
    }
    let Some(list) = &api.host().listing else {
        let told = "a gateway does not know which queues there are: ask a broker's admin address";
        return Err(Refused::new(StatusCode::NOT_IMPLEMENTED, told));
    };
    // As every route: nothing is told of what is not open yet.
    api.serving()?;
    list.list(scan).await.map(Json).map_err(damaged)
}

fn damaged(error: impl Display) -> Refused {
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, format!("list queues: {error}"))
}
