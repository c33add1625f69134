//! The cluster, its gateways and its shards.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use causeway_compute::port::{GatewayState, Map, ShardStatus};
use causeway_model::{Incarnation, ShardId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Refusals, Refused, answered};
use super::{Api, ProcessKind};

/// The cluster, as the process that answers knows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Cluster {
    /// The log's identity, 32 hexadecimal digits.
    lineage: String,
    /// The feature level: what the logs may hold.
    level: u32,
    /// How many shards there are.
    shards: u32,
    process: Process,
}

/// The process that answers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Process {
    name: String,
    /// This run of its gateway, 32 hexadecimal digits.
    incarnation: String,
    kind: ProcessKind,
    version: String,
}

/// The gateways that serve, and those that the log still has traces of.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Gateways {
    epoch: MapEpoch,
    /// By incarnation.
    gateways: Vec<Gateway>,
}

/// Which map of gateways this is: greater is newer, the term first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct MapEpoch {
    /// The leader's term.
    term: u64,
    /// Changes in this term.
    change: u64,
}

/// One run of a gateway.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct Gateway {
    /// 32 hexadecimal digits.
    incarnation: String,
    /// Absent when it is not in the map.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Where other gateways reach it; absent when they cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// It is in the map of gateways that serve.
    member: bool,
    /// What the log says of it; absent when the log does not know it, or has forgotten it.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Logged>,
    /// It is the one that answers.
    this: bool,
}

/// What the log says of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Logged {
    /// It may hold clients.
    Joined,
    /// It may not; what it held is being closed.
    Lost,
}

/// All shards.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Shards {
    shards: Vec<ShardState>,
}

/// Where a shard's log and tables stand. Positions are bytes.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ShardState {
    shard: u32,
    /// The first position that the log still holds.
    first: u64,
    /// Everything below is on disk.
    durable: u64,
    /// Everything below is applied.
    applied: u64,
    /// How far apply is behind the disk.
    lag_bytes: u64,
    /// The term of the log's writer.
    term: u64,
    /// Whether the broker that was asked leads the shard.
    leader: bool,
}

/// The cluster and the process that answers.
#[utoipa::path(get, path = "/cluster", tag = "cluster", responses(
    (status = 200, description = "The cluster", body = Cluster), Refusals))]
pub(super) async fn cluster(State(api): State<Api>) -> Result<Json<Cluster>, Refused> {
    let serving = api.serving()?;
    let cluster = serving.context.cluster;
    Ok(Json(Cluster {
        lineage: cluster.lineage.to_string(),
        level: cluster.level,
        shards: cluster.shards,
        process: Process {
            name: serving.name.to_string(),
            incarnation: serving.context.incarnation.to_string(),
            kind: api.host().kind,
            version: api.host().version.to_owned(),
        },
    }))
}

/// The gateways: who serves, and what the log says of each.
#[utoipa::path(get, path = "/gateways", tag = "cluster", responses(
    (status = 200, description = "The gateways", body = Gateways), Refusals))]
pub(super) async fn gateways(State(api): State<Api>) -> Result<Json<Gateways>, Refused> {
    let serving = api.serving()?;
    let log = answered(serving.overview.gateways()).await?;
    let map = serving.map.borrow().clone();
    let epoch = MapEpoch { term: map.epoch.term, change: map.epoch.change };
    Ok(Json(Gateways { epoch, gateways: merge(&map, &log, serving.context.incarnation) }))
}

/// Where each shard's log and tables stand.
#[utoipa::path(get, path = "/shards", tag = "cluster", responses(
    (status = 200, description = "The shards", body = Shards), Refusals))]
pub(super) async fn shards(State(api): State<Api>) -> Result<Json<Shards>, Refused> {
    let serving = api.serving()?;
    let mut shards = Vec::new();
    for id in serving.context.cluster.shards() {
        shards.push(shard(id, answered(serving.overview.status(id)).await?));
    }
    Ok(Json(Shards { shards }))
}

fn shard(id: ShardId, status: ShardStatus) -> ShardState {
    ShardState {
        shard: id.0,
        first: status.first.0,
        durable: status.durable.0,
        applied: status.applied.0,
        lag_bytes: status.durable.0.saturating_sub(status.applied.0),
        term: status.term,
        leader: status.leader,
    }
}

/// The map and the log need not agree at any moment: both are shown.
fn merge(map: &Map, log: &[(Incarnation, GatewayState)], this: Incarnation) -> Vec<Gateway> {
    let empty = |incarnation: Incarnation| Gateway {
        incarnation: incarnation.to_string(),
        name: None,
        address: None,
        member: false,
        log: None,
        this: incarnation == this,
    };
    let mut gateways = BTreeMap::new();
    for (incarnation, state) in log {
        let logged = match state {
            GatewayState::Joined => Logged::Joined,
            GatewayState::Lost => Logged::Lost,
        };
        gateways.insert(*incarnation, Gateway { log: Some(logged), ..empty(*incarnation) });
    }
    for member in &map.members {
        let gateway = gateways.entry(member.incarnation).or_insert_with(|| empty(member.incarnation));
        gateway.name = Some(member.name.to_string());
        gateway.address = member.address.as_ref().map(ToString::to_string);
        gateway.member = true;
    }
    gateways.into_values().collect()
}

#[cfg(test)]
mod tests {
    use causeway_compute::port::{MapEpoch, Member};
    use causeway_model::Text;

    use super::*;

    #[test]
    fn gateways_of_the_map_and_of_the_log_are_each_there_once_by_incarnation() {
        let member = |number, address: Option<&str>| Member {
            incarnation: Incarnation(number),
            name: Text::from(format!("gw-{number}")),
            address: address.map(Text::from),
        };
        let map = Map { epoch: MapEpoch::default(), members: vec![member(1, Some("10.0.0.1:7400")), member(3, None)] };
        let log = [
            (Incarnation(2), GatewayState::Lost),
            (Incarnation(3), GatewayState::Joined),
            (Incarnation(4), GatewayState::Joined),
        ];
        let seen: Vec<_> = merge(&map, &log, Incarnation(3))
            .into_iter()
            .map(|g| (g.name, g.address, g.member, g.log, g.this))
            .collect();
        let name = |number: u32| Some(format!("gw-{number}"));
        assert_eq!(
            seen,
            [
                (name(1), Some("10.0.0.1:7400".to_owned()), true, None, false),
                (None, None, false, Some(Logged::Lost), false),
                (name(3), None, true, Some(Logged::Joined), true),
                (None, None, false, Some(Logged::Joined), false),
            ]
        );
    }
}
