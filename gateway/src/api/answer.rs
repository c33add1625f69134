//! How questions are read and refusals written: one shape of error, whatever found the fault.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use causeway_compute::admin::refuse;
use causeway_compute::port;
use causeway_model::{ClientId, Kind, Namespace, Text};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};

/// The longest client identifier of any protocol, in bytes.
const MAX_CLIENT: usize = 65_535;

/// What a request that failed is answered with.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct Error {
    /// What is wrong, for a person.
    error: String,
}

/// A request that is not answered as it was meant.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    error: String,
    retry: Option<Duration>,
}

/// What every route may answer instead.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "says to the document what the guard before the routes answers")]
pub(super) enum Refusals {
    /// The question is not understood.
    #[response(status = 400)]
    Invalid(#[to_schema] Error),
    /// The token is missing or wrong.
    #[response(status = 401)]
    Token(#[to_schema] Error),
    /// A page of another origin asked.
    #[response(status = 403)]
    Origin(#[to_schema] Error),
    /// The request has a body, and a large one.
    #[response(status = 413)]
    Body(#[to_schema] Error),
    /// Without a token only an address or `localhost` is answered to.
    #[response(status = 421)]
    Name(#[to_schema] Error),
    /// Stored data is damaged.
    #[response(status = 500)]
    Damaged(#[to_schema] Error),
    /// The process starts, or the brokers do not answer: try again.
    #[response(status = 503)]
    Unavailable(#[to_schema] Error),
    /// It took too long.
    #[response(status = 504)]
    Late(#[to_schema] Error),
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), retry: None }
    }

    pub(super) fn invalid(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    pub(super) fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    pub(super) fn starting() -> Self {
        Self::unavailable("starting")
    }
}

impl From<port::Error> for Refused {
    fn from(error: port::Error) -> Self {
        let (status, retry) = match &error.kind {
            Kind::Invalid | Kind::TooLarge => (StatusCode::BAD_REQUEST, None),
            Kind::NotFound => (StatusCode::NOT_FOUND, None),
            Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, None),
            Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, None),
            Kind::Busy { retry_after } => (StatusCode::SERVICE_UNAVAILABLE, Some(*retry_after)),
            Kind::Quota
            | Kind::Denied
            | Kind::Fenced
            | Kind::DiskFull
            | Kind::NotLeader { .. }
            | Kind::Unavailable
            | Kind::Unknown => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        Self { status, error: error.to_string(), retry }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let response = refuse(self.status, self.error);
        match self.retry {
            // Whole seconds, rounded up: nobody is told to come back at once.
            Some(after) => {
                let seconds = after.as_millis().div_ceil(1000).max(1);
                ([(header::RETRY_AFTER, seconds.to_string())], response).into_response()
            }
            None => response,
        }
    }
}

/// How long a link may be made anew before a person is told that it is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the brokers answer. The ports wait for a broker that is away; people do not.
pub(super) async fn answered<T>(ask: impl Future<Output = Result<T, port::Error>>) -> Result<T, Refused> {
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Refused::unavailable("the brokers do not answer")),
    }
}

/// The query of a request, whose unknown keys are refused by its type.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query = Query::from_request_parts(parts, state).await;
        query.map(|Query(asked)| Self(asked)).map_err(|bad| Refused::invalid(bad.body_text()))
    }
}

/// The client that a path names.
pub(super) struct Named(pub(super) ClientId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|bad| Refused::invalid(format!("client: {}", bad.body_text())))?;
        // MQTT 5.0 §1.5.4: a string on the wire has no null character; no other protocol's has either.
        if name.len() > MAX_CLIENT || name.contains('\0') {
            return Err(Refused::invalid(format!("client: at most {MAX_CLIENT} bytes, no null character")));
        }
        Ok(Self(ClientId(Text::from(name))))
    }
}

/// A namespace as a query names it.
pub(super) fn namespace(name: Option<String>) -> Result<Namespace, Refused> {
    Namespace::new(name.unwrap_or_default().into()).map_err(|error| Refused::invalid(format!("namespace: {error}")))
}

/// A page's limit as a query names it.
pub(super) fn limit(limit: Option<usize>, usual: usize, most: usize) -> Result<usize, Refused> {
    match limit {
        None => Ok(usual),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Refused::invalid(format!("limit: 1 to {most}"))),
    }
}
