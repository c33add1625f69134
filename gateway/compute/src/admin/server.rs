//! Serving admin HTTP with a bound on everything: connections, headers, bodies, the time of each.
//!
//! | what | bound | then |
//! |---|---|---|
//! | connections | 256 | a newcomer is closed at once |
//! | headers | 16 KiB, 10 s from the connection's start or the last answer | 431, closed |
//! | a request's body | 64 KiB | 413 |
//! | a handler | 30 s | 504 |
//! | a connection | 60 s, then the answer in progress, 30 s more for it to be read | closed |
//!
//! So nobody can hold a place for longer than a minute and a half, whether silent, slow to send or slow to read.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::Limited;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::refuse;
use crate::drain::Drain;

/// Connections open at once.
pub(super) const CONNECTIONS: usize = 256;

const HEADER_BYTES: usize = 16 << 10;
const HEADER_TIME: Duration = Duration::from_secs(10);
/// No route takes more than a few words.
const BODY_BYTES: usize = 64 << 10;
/// A listing may scan gigabytes of a log.
const HANDLER_TIME: Duration = Duration::from_secs(30);
const CONNECTION_TIME: Duration = Duration::from_mins(1);
const LAST_ANSWER_TIME: Duration = Duration::from_secs(30);

/// Serves one connection until it ends, its time is over or the drain closes.
pub(super) async fn connection(stream: TcpStream, app: Router, drain: Drain) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_header_size(HEADER_BYTES);
    http.max_buf_size(2 * HEADER_BYTES);
    let mut served = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)));
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = drain.closing() => None,
        () = tokio::time::sleep(CONNECTION_TIME) => None,
    };
    let ended = if let Some(ended) = ended {
        Ok(ended)
    } else {
        served.as_mut().graceful_shutdown();
        timeout(LAST_ANSWER_TIME, served).await
    };
    // What a scraper or a browser does to its connections is not news.
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection"),
        Err(_) => tracing::debug!("admin connection cut: its answer was not read"),
    }
}

/// Bounds what a request may bring and how long its answer may take.
pub(super) async fn bounded(request: Request, next: Next) -> Response {
    let size = request.body().size_hint();
    if size.lower() > u64::try_from(BODY_BYTES).unwrap_or(u64::MAX) {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {BODY_BYTES} bytes"));
    }
    let request = request.map(|body| Body::new(Limited::new(body, BODY_BYTES)));
    match timeout(HANDLER_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {} s", HANDLER_TIME.as_secs())),
    }
}
