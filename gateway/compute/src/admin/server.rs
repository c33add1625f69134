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
use tokio::io::{AsyncRead, AsyncWrite};
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
pub(super) async fn connection<S>(stream: S, app: Router, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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

#[cfg(test)]
mod tests {
    use axum::middleware::from_fn;
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    /// Bytes that a connection holds which nobody reads.
    const PIPE: usize = 4 << 10;

    struct Served {
        client: DuplexStream,
        drain: Drain,
        end: tokio::task::JoinHandle<()>,
    }

    fn serve() -> Served {
        let app = Router::new()
            .route("/never", get(std::future::pending::<()>))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/echo", post(async |body: String| body))
            .layer(from_fn(bounded));
        let (client, server) = duplex(PIPE);
        let drain = Drain::new();
        #[expect(clippy::disallowed_methods, reason = "the task is what is tested")]
        let end = tokio::spawn(connection(server, app, drain.clone()));
        Served { client, drain, end }
    }

    async fn ask(served: &mut Served, request: &str) -> String {
        served.client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        served.client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_not_all_is_cut_when_the_time_for_headers_is_over() {
        for said in ["", "GET /large HTTP/1.1\r\nhost: loc"] {
            let (mut served, begun) = (serve(), Instant::now());
            served.client.write_all(said.as_bytes()).await.unwrap();
            served.end.await.unwrap();
            assert_eq!(begun.elapsed().as_secs(), HEADER_TIME.as_secs(), "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_its_answer_and_says_nothing_more_is_cut_as_well() {
        let (mut served, begun) = (serve(), Instant::now());
        let answer = ask(&mut served, "POST /echo HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi"), "{answer}");
        assert_eq!(begun.elapsed().as_secs(), HEADER_TIME.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_its_answer_is_cut_when_the_time_for_that_is_over() {
        let (mut served, begun) = (serve(), Instant::now());
        served.client.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        served.end.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), (CONNECTION_TIME + LAST_ANSWER_TIME).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_does_not_end_is_given_up_and_said_so() {
        let mut served = serve();
        let answer = ask(&mut served, "GET /never HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 504 ") && answer.ends_with(r#"{"error":"no answer within 30 s"}"#),
            "{answer}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_over_the_limit_is_not_taken_whether_its_length_is_said_or_not() {
        let said = "POST /echo HTTP/1.1\r\ncontent-length: 65537\r\n\r\n";
        assert!(ask(&mut serve(), said).await.starts_with("HTTP/1.1 413 "));
        let mut chunked = "POST /echo HTTP/1.1\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        for _ in 0..17 {
            chunked.extend(["1000\r\n", &"x".repeat(0x1000), "\r\n"]);
        }
        chunked.push_str("0\r\n\r\n");
        let Served { client, end, .. } = serve();
        let (mut read, mut write) = tokio::io::split(client);
        let mut answer = String::new();
        // Who refuses need not read all of it.
        let (_, read) = tokio::join!(write.write_all(chunked.as_bytes()), read.read_to_string(&mut answer));
        read.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        end.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_drain_closes_an_idle_connection_ends_at_once() {
        let (served, begun) = (serve(), Instant::now());
        tokio::task::yield_now().await;
        served.drain.close();
        served.end.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 0);
    }
}
