//! Admin HTTP: metrics, probes, and the JSON routes that the host adds. Loopback unless configured otherwise, since it
//! has no authentication of its own.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text format |
//! | `/healthz` | 200 while the process can go on; 503 with the cause when a task that it cannot do without has failed |
//! | `/readyz` | 200 while it serves; 503 while it starts, from the first moment of a drain, and when it has failed |
//!
//! It answers until the very end of a drain, so that a probe never mistakes a drain for a crash.

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Encoder, TextEncoder};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::drain::Drain;
use crate::listener;
use crate::process::Process;
use crate::task::{Failure, Kind};

/// Where admin HTTP listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub bind: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 9600)) }
    }
}

/// What probes are told. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    started: Arc<AtomicBool>,
    drain: Drain,
    failure: watch::Receiver<Option<Failure>>,
}

impl Health {
    /// Alive and not ready.
    pub fn new(drain: Drain, failure: watch::Receiver<Option<Failure>>) -> Self {
        Self { started: Arc::default(), drain, failure }
    }

    /// Everything is open and listening: ready from here until the drain.
    pub fn started(&self) {
        self.started.store(true, Ordering::Release);
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
        Ok(())
    }
}

/// Admin HTTP, bound and not served yet.
#[derive(Debug)]
pub struct Admin(listener::Listener);

/// What a failed request is answered with.
#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
}

impl Admin {
    /// Binds. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(settings: &Settings) -> Result<Self, listener::Error> {
        listener::Listener::bind(settings.bind).map(Self)
    }

    /// The address that it is bound to, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Answers until the process's drain closes. `routes` are the host's own.
    pub fn serve(self, process: &Process, routes: Router) {
        let drain = process.drain.clone();
        let app = router(process).merge(routes).fallback(not_found);
        process.tasks.spawn_fallible(Kind::Admin, async move {
            let closing = async move { drain.closing().await };
            axum::serve(self.0.into_socket(), app).with_graceful_shutdown(closing).await
        });
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

/// An error as every admin route answers it: `{"error": "…"}`.
pub fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Refusal { error })).into_response()
}
