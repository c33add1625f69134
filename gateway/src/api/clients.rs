//! Who is connected: a page of those here, one of them wherever it is, and asking it to go.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use causeway_compute::lookup::{self, Kicks};
use causeway_compute::registry::{Kick, Online, Registry};
use causeway_model::{ClientId, Incarnation, Namespace, QueueId, Text};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::answer::{Asked, Error, Named, Refusals, Refused, limit, namespace};

/// Most clients of one page.
const MOST: usize = 1000;
/// What is given when nothing is asked for.
const USUAL: usize = 100;
/// Connections that one page looks at for a tenant's: so many times the most of a page.
const STEPS: usize = 100;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct InNamespace {
    /// Tenant.
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AskPage {
    /// Those after this id: `next` of the page before.
    #[param(min_length = 32, max_length = 32)]
    after: Option<String>,
    /// At most so many; 100 unless told otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Only those of this tenant; all unless told otherwise.
    namespace: Option<String>,
}

/// Clients with a connection to the process that answers.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ClientPage {
    /// How many clients are connected here.
    online: usize,
    /// By id.
    clients: Vec<Connection>,
    /// Pass it as `after` for the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A client with a connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Connection {
    /// Sorts pages, 32 hexadecimal digits.
    id: String,
    namespace: String,
    client: String,
    /// Where it connects from.
    peer: String,
    /// When it connected, in milliseconds since 1970.
    connected_ms: u64,
    /// Its session; absent while that is being opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    /// The session's latest opening.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
}

/// Which gateway.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct At {
    /// What people call it.
    name: String,
    /// 32 hexadecimal digits.
    incarnation: String,
}

/// Where a client is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(super) enum Whereabouts {
    /// A gateway holds a connection of it.
    Online {
        /// Which.
        gateway: At,
        /// The connection.
        connection: Connection,
    },
    /// No gateway does.
    Offline,
    /// Those that answered do not, and some did not answer.
    Unknown {
        /// The names of those that did not; none while the map of gateways changes.
        silent: Vec<String>,
    },
}

/// A client was asked to go.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Kicked {
    /// The gateway that holds, or held, its connection.
    gateway: At,
}

/// Clients with a connection to the process that answers.
#[utoipa::path(get, path = "/clients", tag = "clients", params(AskPage), responses(
    (status = 200, description = "A page", body = ClientPage), Refusals))]
pub(super) async fn clients(State(api): State<Api>, Asked(ask): Asked<AskPage>) -> Result<Json<ClientPage>, Refused> {
    let after = ask.after.as_deref().map(id);
    if after == Some(None) {
        return Err(Refused::invalid("after: 32 hexadecimal digits"));
    }
    let limit = limit(ask.limit, USUAL, MOST)?;
    let tenant = ask.namespace.map(|name| namespace(Some(name))).transpose()?;
    let serving = api.serving()?;
    Ok(Json(page(&serving.context.registry, after.flatten(), limit, tenant.as_ref())))
}

/// Who holds a client, wherever in the cluster it is connected.
#[utoipa::path(get, path = "/clients/{client}", tag = "clients", params(
        ("client" = String, Path, description = "The client's identifier"), InNamespace),
    responses((status = 200, description = "Where it is: online, offline, or unknown since a gateway is silent",
        body = Whereabouts), Refusals))]
pub(super) async fn find(
    State(api): State<Api>,
    Named(client): Named,
    Asked(within): Asked<InNamespace>,
) -> Result<Json<Whereabouts>, Refused> {
    let namespace = namespace(within.namespace)?;
    let serving = api.serving()?;
    Ok(Json(serving.context.clients.find(&namespace, &client).await.into()))
}

/// Asks a client to go, wherever in the cluster it is connected. It may connect again at once.
#[utoipa::path(delete, path = "/clients/{client}", tag = "clients", params(
        ("client" = String, Path, description = "The client's identifier"), InNamespace),
    responses((status = 202, description = "It was asked to go", body = Kicked),
        (status = 404, description = "It is not connected", body = Error), Refusals))]
pub(super) async fn kick(
    State(api): State<Api>,
    Named(client): Named,
    Asked(within): Asked<InNamespace>,
) -> Result<(StatusCode, Json<Kicked>), Refused> {
    let namespace = namespace(within.namespace)?;
    let serving = api.serving()?;
    match serving.context.clients.kick(&namespace, &client, Kick::Administrator).await {
        Kicks::Kicked { gateway, name } => {
            tracing::info!(client = &*client.0, namespace = namespace.as_str(), gateway = &*name, "kicked");
            Ok((StatusCode::ACCEPTED, Json(Kicked { gateway: at(&name, gateway) })))
        }
        Kicks::Offline => Err(Refused::not_found(format!("client {:?} is not connected", &*client.0))),
        Kicks::Unknown { silent } => Err(Refused::unavailable(unknown(&client, &silent))),
    }
}

/// Why nobody can say whether a client is connected.
fn unknown(client: &ClientId, silent: &[Text]) -> String {
    let client = &*client.0;
    if silent.is_empty() {
        return format!("client {client:?} was not found while the map of gateways changed: ask again");
    }
    let silent: Vec<&str> = silent.iter().map(|name| &**name).collect();
    format!("client {client:?} was not found, and these gateways did not answer: {}", silent.join(", "))
}

fn at(name: &Text, incarnation: Incarnation) -> At {
    At { name: name.to_string(), incarnation: incarnation.to_string() }
}

impl From<lookup::Whereabouts> for Whereabouts {
    fn from(found: lookup::Whereabouts) -> Self {
        match found {
            lookup::Whereabouts::Online { gateway, name, online } => {
                Self::Online { gateway: at(&name, gateway), connection: online.into() }
            }
            lookup::Whereabouts::Offline => Self::Offline,
            lookup::Whereabouts::Unknown { silent } => {
                Self::Unknown { silent: silent.iter().map(ToString::to_string).collect() }
            }
        }
    }
}

/// Clients after an id. A tenant's may be few among many: what is looked at is bounded, and a page that ends there has a
/// `next` although it is not full.
fn page(registry: &Registry, mut after: Option<QueueId>, limit: usize, namespace: Option<&Namespace>) -> ClientPage {
    // One more than asked for tells whether there is a next page.
    let step = if namespace.is_none() { limit + 1 } else { MOST };
    let mut clients: Vec<Connection> = Vec::new();
    let online = registry.len();
    for _ in 0..STEPS {
        let found = registry.page(after, step);
        let end = found.len() < step;
        for found in found {
            after = Some(found.id);
            if namespace.is_some_and(|wanted| *wanted != found.namespace) {
                continue;
            }
            if clients.len() == limit {
                let next = clients.last().map(|last| last.id.clone());
                return ClientPage { online, clients, next };
            }
            clients.push(found.into());
        }
        if end {
            return ClientPage { online, clients, next: None };
        }
    }
    ClientPage { online, clients, next: after.map(|after| after.to_string()) }
}

/// A client's id as pages print it.
fn id(text: &str) -> Option<QueueId> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits)?;
    Some(QueueId(number.to_be_bytes()))
}

impl From<Online> for Connection {
    fn from(online: Online) -> Self {
        Self {
            id: online.id.to_string(),
            namespace: online.namespace.as_str().to_owned(),
            client: online.client.0.to_string(),
            peer: online.peer.to_string(),
            connected_ms: online.since.0,
            session: online.session.map(|(sid, _)| sid.to_string()),
            epoch: online.session.map(|(_, epoch)| epoch.0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    use causeway_compute::port::Cluster;
    use causeway_compute::registry::Presence;
    use causeway_model::{HashKey, Lineage, Millis};
    use prometheus::IntGauge;

    use super::*;

    #[test]
    fn what_is_not_known_names_the_silent_or_asks_for_another_try() {
        let client = ClientId(Text::from("dash"));
        let told = unknown(&client, &[Text::from("gw-a"), Text::from("gw-b")]);
        assert!(told.contains("\"dash\"") && told.ends_with("gw-a, gw-b"), "{told}");
        assert!(unknown(&client, &[]).ends_with("ask again"));
    }

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

    /// Many of one tenant, few of another.
    fn registry(many: usize, few: usize) -> (std::sync::Arc<Registry>, Vec<Presence>) {
        let cluster = Cluster { lineage: Lineage(1), key: HashKey([7; 16]), level: 1, shards: 1 };
        let registry = Registry::new(cluster, IntGauge::new("online", "online").unwrap());
        let peer = SocketAddr::from(([127, 0, 0, 1], 1000));
        let enter = |tenant: &str, number: usize| {
            let tenant = Namespace::new(Text::from(tenant)).unwrap();
            registry.enter(&tenant, &ClientId(Text::from(format!("c{number}"))), peer, Millis(5)).0
        };
        let all = (0..many).map(|n| enter("", n)).chain((0..few).map(|n| enter("few", n))).collect();
        (registry, all)
    }

    fn walk(registry: &Registry, limit: usize, namespace: Option<&Namespace>) -> Vec<String> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = page(registry, after, limit, namespace);
            assert!(page.clients.len() <= limit);
            seen.extend(page.clients.iter().map(|client| format!("{}/{}", client.namespace, client.client)));
            match page.next {
                Some(next) => after = Some(id(&next).unwrap()),
                None => return seen,
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_every_client_of_a_tenant_once() {
        let (registry, _all) = registry(1500, 7);
        let few = Namespace::new(Text::from("few")).unwrap();
        for limit in [1, 2, 6, 7, 8, 1000] {
            let seen = walk(&registry, limit, Some(&few));
            assert_eq!(seen.len(), 7, "limit {limit}: {seen:?}");
            assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 7);
        }
        for limit in [100, 753, 1000] {
            let seen = walk(&registry, limit, None);
            assert_eq!((seen.len(), seen.iter().collect::<BTreeSet<_>>().len()), (1507, 1507), "limit {limit}");
        }
        assert_eq!(walk(&registry, 1000, Some(&Namespace::default())).len(), 1500);
    }
}
