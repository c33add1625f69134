//! Admin HTTP: metrics, probes, and the JSON routes that the host adds. On loopback anybody on this machine may ask;
//! anywhere else a token is needed. `access` says who may ask, `server` what a connection may cost.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text format |
//! | `/healthz` | 200 while the process can go on; 503 with the cause when a task that it cannot do without has failed |
//! | `/readyz` | 200 while it serves; 503 while it starts, while something holds it, from the first moment of a drain, and when it has failed |
//!
//! It answers until the very end of a drain, so that a probe never mistakes a drain for a crash.

mod access;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use access::{Token, TokenError};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use prometheus::{Encoder, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::drain::Drain;
use crate::listener::{self, Limit};
use crate::process::Process;
use crate::task::Failure;

/// Where admin HTTP listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port; port 0 takes a free one. Off loopback a token is needed.
    pub bind: SocketAddr,
    /// The file that holds the token which all but the probes must show, `Authorization: Bearer …`. Read at start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9600)), token_file: None }
    }
}

/// What probes are told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    started: Arc<AtomicBool>,
    held: Arc<Mutex<BTreeSet<&'static str>>>,
    drain: Drain,
    failure: watch::Receiver<Option<Failure>>,
}

impl Health {
    /// Alive and not ready.
    pub fn new(drain: Drain, failure: watch::Receiver<Option<Failure>>) -> Self {
        Self { started: Arc::default(), held: Arc::default(), drain, failure }
    }

    /// Everything is open and listening: ready from here until the drain.
    pub fn started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Not ready for a reason that passes, until it is released by the same words. Holding twice is holding once.
    pub fn hold(&self, why: &'static str) {
        self.held.lock().insert(why);
    }

    /// The reason has passed; nothing if it did not hold.
    pub fn release(&self, why: &'static str) {
        self.held.lock().remove(why);
    }

    /// # Errors
    /// Why the process cannot go on.
    pub fn alive(&self) -> Result<(), String> {
        self.failure.borrow().as_ref().map_or(Ok(()), |failure| Err(failure.to_string()))
    }

    /// # Errors
    /// Why it should not be sent clients.
    pub fn ready(&self) -> Result<(), String> {
        self.alive()?;
        if self.drain.has_begun() {
            return Err("draining".to_owned());
        }
        if !self.started.load(Ordering::Acquire) {
            return Err("starting".to_owned());
        }
        let held: Vec<_> = self.held.lock().iter().copied().collect();
        if held.is_empty() { Ok(()) } else { Err(held.join("; ")) }
    }
}

impl Settings {
    /// Everything that is wrong with them, each naming its key; empty if nothing is. Reads the token's file.
    pub fn validate(&self) -> Vec<String> {
        match self.token() {
            Ok(_) => Vec::new(),
            Err(error) => vec![error.to_string()],
        }
    }

    fn token(&self) -> Result<Option<Token>, Error> {
        match &self.token_file {
            Some(file) => match Token::read(file) {
                Ok(token) => Ok(Some(token)),
                Err(source) => Err(Error::Token { file: file.clone(), source }),
            },
            None if self.bind.ip().is_loopback() => Ok(None),
            None => Err(Error::Open(self.bind)),
        }
    }
}

/// Why there is no admin HTTP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anybody on the network could kick clients.
    #[error("admin.token_file: needed, since admin.bind = {0} is not on loopback")]
    Open(SocketAddr),
    /// There is no token in the file.
    #[error("admin.token_file: {}: {source}", file.display())]
    Token {
        /// Which.
        file: PathBuf,
        /// Why.
        source: TokenError,
    },
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
}

/// Admin HTTP, bound and not served yet.
#[derive(Debug)]
pub struct Admin {
    listener: listener::Listener,
    token: Option<Token>,
}

/// What a failed request is answered with.
#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
}

impl Admin {
    /// Binds. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The token cannot be read or is missing, or the address cannot be listened on.
    pub fn bind(settings: &Settings) -> Result<Self, Error> {
        let token = settings.token()?;
        Ok(Self { listener: listener::Listener::bind(settings.bind)?, token })
    }

    /// The address that it is bound to, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Answers until the process's drain closes. `routes` are the host's own.
    pub fn serve(self, process: &Process, routes: Router) {
        let app = router(process).merge(routes).fallback(not_found).method_not_allowed_fallback(not_allowed);
        // The last added is asked first.
        let app = app.layer(from_fn(server::bounded)).layer(from_fn_with_state(self.token, access::guard));
        let (limit, metrics) = (Limit::new(server::CONNECTIONS), process.metrics.listeners.of("admin"));
        let drain = process.drain.clone();
        let connection = move |stream, _| server::connection(stream, app.clone(), drain.clone());
        self.listener.serve_admin(limit, metrics, &process.tasks, connection);
    }
}

fn router(process: &Process) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(process.registry.clone())
        .route("/healthz", get(async |State(health): State<Health>| probe(health.alive())))
        .route("/readyz", get(async |State(health): State<Health>| probe(health.ready())))
        .with_state(process.health.clone())
}

async fn metrics(State(registry): State<prometheus::Registry>) -> Response {
    let encoder = TextEncoder::new();
    // Collectors may ask a database: not on a worker that serves connections.
    let gathered = tokio::task::spawn_blocking(move || {
        let mut body = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut body).map(|()| body)
    });
    match gathered.await.unwrap_or_else(|error| Err(prometheus::Error::Msg(error.to_string()))) {
        Ok(body) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], body).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn probe(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(why) => refuse(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "no such path".to_owned())
}

async fn not_allowed() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this path does not take that method".to_owned())
}

/// An error as every admin route answers it: `{"error": "…"}`.
pub fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Refusal { error })).into_response()
}
