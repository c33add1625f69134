//! Who may ask the admin HTTP, decided before any route.
//!
//! - With a token, every path but the probes needs it: `Authorization: Bearer …`, compared in constant time.
//! - Without one it listens on loopback alone, so what is left to fear is a browser on this machine that a page of
//!   somebody else's sends here. A name in `Host` is refused (DNS rebinding: the page's own name may point anywhere), an
//!   address or `localhost` is not.
//! - A request that a page of another origin makes is refused in any case, and no answer ever carries a CORS header. A
//!   `POST` without a body needs no preflight: without this rule any page could drain the broker of who reads it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::refuse;

/// Shortest and longest token, in bytes.
const TOKEN: std::ops::RangeInclusive<usize> = 16..=1024;

/// Paths that a probe may ask without a token.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// What a client must show.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why a file gives no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// What it holds cannot be sent in a header, or is guessed too easily.
    #[error("holds no token: one line of {} to {} visible ASCII characters", TOKEN.start(), TOKEN.end())]
    Content,
}

impl Token {
    /// Reads a token from a file: its only line, without the white space around it.
    ///
    /// # Errors
    /// There is none.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        #[expect(clippy::disallowed_methods, reason = "storage's file system is for data; this is the operator's own")]
        let text = std::fs::read(file)?;
        let token = str::from_utf8(&text).map_err(|_| TokenError::Content)?.trim_ascii();
        let sendable = token.bytes().all(|byte| byte.is_ascii_graphic()) && TOKEN.contains(&token.len());
        if sendable { Ok(Self(token.into())) } else { Err(TokenError::Content) }
    }

    /// The value of `Authorization` that shows it.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a request shows it. How long that takes tells nothing but the length.
    fn shown(&self, headers: &HeaderMap) -> bool {
        let Some(value) = only(headers, &header::AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(token.trim_ascii().ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Answers by itself what may not be asked.
pub(super) async fn guard(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    match refusal(token.as_ref(), &request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn refusal(token: Option<&Token>, request: &Request) -> Option<Response> {
    let headers = request.headers();
    if from_another_origin(headers) {
        return Some(refuse(StatusCode::FORBIDDEN, "a page of another origin may not ask this".to_owned()));
    }
    match token {
        None if !names_this_machine(request) => {
            let told = "without a token this answers to an address or localhost in Host, to no other name";
            Some(refuse(StatusCode::MISDIRECTED_REQUEST, told.to_owned()))
        }
        Some(token) if !OPEN.contains(&request.uri().path()) && !token.shown(headers) => {
            let told = "a token is needed: Authorization: Bearer, as in the admin.token_file of this process";
            let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
            Some((challenge, refuse(StatusCode::UNAUTHORIZED, told.to_owned())).into_response())
        }
        _ => None,
    }
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// A target in absolute form wins over `Host` (RFC 9112 §3.2.2), so both must be good. No `Host` at all is HTTP/1.0 or
/// a script, and no browser.
fn names_this_machine(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST).iter();
    hosts.map(|host| host.to_str().unwrap_or_default()).all(is_this_machine)
        && request.uri().authority().is_none_or(|authority| is_this_machine(authority.as_str()))
}

fn is_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    !host.contains('@') && (name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}

/// Browsers say where a request comes from: the new ones in `Sec-Fetch-Site`, all of them in `Origin` of whatever could
/// change something.
fn from_another_origin(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none") {
        return true;
    }
    let host = only(headers, &header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes();
        let from = [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
        !from.is_some_and(|from| from.eq_ignore_ascii_case(host))
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn status(token: Option<&Token>, path: &str, headers: &[(&str, &str)]) -> Option<u16> {
        refusal(token, &request(path, headers)).map(|response| response.status().as_u16())
    }

    #[test]
    fn without_a_token_addresses_and_localhost_are_let_in_and_names_are_not() {
        for host in ["localhost", "LOCALHOST:9600", "127.0.0.1:9600", "10.1.2.3", "[::1]", "[::1]:9600"] {
            assert_eq!(status(None, "/metrics", &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io:9600", "me@localhost", "", "[::1", "é"]
        {
            assert_eq!(status(None, "/metrics", &[("host", host)]), Some(421), "{host}");
        }
        assert_eq!(status(None, "/metrics", &[]), None);
        assert_eq!(status(None, "/metrics", &[("host", "localhost"), ("host", "evil.example")]), Some(421));
        assert_eq!(status(None, "http://evil.example/metrics", &[("host", "localhost")]), Some(421));
    }

    #[test]
    fn with_a_token_all_but_the_probes_need_it_whatever_the_host() {
        let token = Token(Arc::from("0123456789abcdef"));
        let host = ("host", "causeway.example");
        for path in OPEN {
            assert_eq!(status(Some(&token), path, &[host]), None, "{path}");
        }
        for path in ["/metrics", "/api/v1/cluster", "/", "/healthz/", "/readyzz", "//healthz"] {
            assert_eq!(status(Some(&token), path, &[host]), Some(401), "{path}");
            for good in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
                assert_eq!(status(Some(&token), path, &[host, ("authorization", good)]), None, "{good}");
            }
        }
        let bad = [
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
        ];
        for bad in bad {
            assert_eq!(status(Some(&token), "/metrics", &[("authorization", bad)]), Some(401), "{bad}");
        }
        let twice = [("authorization", "Bearer 0123456789abcdef"), ("authorization", "Bearer x")];
        assert_eq!(status(Some(&token), "/metrics", &twice), Some(401));
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_and_the_own_one_is_not() {
        let host = ("host", "127.0.0.1:9600");
        for origin in ["http://evil.example", "http://127.0.0.1:8080", "null", "", "file://127.0.0.1:9600"] {
            assert_eq!(status(None, "/readyz", &[host, ("origin", origin)]), Some(403), "{origin}");
        }
        assert_eq!(status(None, "/readyz", &[host, ("origin", "http://127.0.0.1:9600")]), None);
        for (site, refused) in [("cross-site", true), ("same-site", true), ("same-origin", false), ("none", false)] {
            let status = status(None, "/readyz", &[host, ("sec-fetch-site", site)]);
            assert_eq!(status, refused.then_some(403), "{site}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "plays the operator")]
    fn a_token_is_one_line_that_a_header_can_carry() {
        let file = std::env::temp_dir().join(format!("causeway-token-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Token::read(&file)
        };
        assert_eq!(read("  0123456789abcdef\n").unwrap().authorization(), "Bearer 0123456789abcdef");
        for bad in [
            "",
            "\n",
            "short",
            "0123456789abcdef ghi",
            "0123456789abcdef\nsecond",
            "0123456789abcdéf",
            &"x".repeat(1025),
        ] {
            assert!(matches!(read(bad), Err(TokenError::Content)), "{bad:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(Token::read(&file), Err(TokenError::Read(_))));
    }
}
