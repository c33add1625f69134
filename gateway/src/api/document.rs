//! The `OpenAPI` document: made of the handlers, so that what they answer and what is written cannot differ.
//!
//! `docs/openapi.json` is a copy of it that a test holds equal; `CAUSEWAY_WRITE_OPENAPI=1 cargo test -p causeway-gateway
//! openapi` writes it anew.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Object, OpenApi, Ref, ResponseBuilder, SecurityRequirement, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Error;
use super::{Api, clients, cluster, drain, listing, queue, session};

/// Where the document itself is.
const PLACE: &str = "/api/v1/openapi.json";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Causeway management",
        description = "The admin port of a broker or a gateway. Positions, stamps and epochs are byte positions in a \
            shard's log; times are milliseconds since 1970; every error is an object with one key, `error`."
    ),
    tags(
        (name = "cluster", description = "The cluster, its gateways and its shards"),
        (name = "queues", description = "What queues there are and what they hold"),
        (name = "clients", description = "Who is connected where, and their sessions"),
        (name = "drain", description = "Sending a process's clients elsewhere"),
        (name = "process", description = "Probes and numbers of the process that answers"),
    ),
    components(schemas(Error))
)]
struct Head;

/// The document.
pub fn document() -> OpenApi {
    described().1
}

/// The routes, with the document among them.
pub(super) fn routes() -> Router<Api> {
    let (router, document) = described();
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let serve = async move || ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response();
    router.route(PLACE, get(serve))
}

fn described() -> (Router<Api>, OpenApi) {
    let api = OpenApiRouter::new()
        .routes(routes!(cluster::cluster))
        .routes(routes!(cluster::gateways))
        .routes(routes!(cluster::shards))
        .routes(routes!(queue::queue))
        .routes(routes!(listing::queues))
        .routes(routes!(clients::clients))
        .routes(routes!(clients::find, clients::kick))
        .routes(routes!(session::session))
        .routes(routes!(drain::state, drain::begin));
    let (router, mut document) = OpenApiRouter::with_openapi(Head::openapi()).nest("/api/v1", api).split_for_parts();
    beside(&mut document);
    secure(&mut document);
    (router, document)
}

/// What is served beside the handlers: the document, and what `compute::admin` answers.
fn beside(document: &mut OpenApi) {
    let (object, text) = (("application/json", Type::Object), ("text/plain", Type::String));
    for (path, summary, (media, shape), fails) in [
        (PLACE, "This document.", object, None),
        ("/metrics", "Numbers in the text format of Prometheus.", text.clone(), None),
        ("/healthz", "Whether the process can go on.", text.clone(), Some("It cannot, and why")),
        ("/readyz", "Whether it should be sent clients.", text, Some("Not now, and why")),
    ] {
        let content = ContentBuilder::new().schema(Some(Object::with_type(shape))).build();
        let ok = ResponseBuilder::new().description("It is so").content(media, content).build();
        let mut operation = OperationBuilder::new().tag("process").summary(Some(summary)).response("200", ok);
        if let Some(fails) = fails {
            let error = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error"))).build();
            let not = ResponseBuilder::new().description(fails).content("application/json", error).build();
            operation = operation.response("503", not);
        }
        document.paths.add_path_operation(path, vec![HttpMethod::Get], operation.build());
    }
}

/// A token is needed where the process has one.
fn secure(document: &mut OpenApi) {
    let bearer = SecurityScheme::Http(
        HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("What `admin.token_file` of the process holds; the probes need none."))
            .build(),
    );
    if let Some(components) = document.components.as_mut() {
        components.add_security_scheme("token", bearer);
    }
    document.security = Some(vec![SecurityRequirement::default(), SecurityRequirement::new("token", [""; 0])]);
}
