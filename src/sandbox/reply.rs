//! Answers: what the API returns on success and on error, and how the bytes are sent.
//!
//! Created by `methods`, converted to HTTP here. A reply also carries its manner, because a fault may want it cut,
//! halved or slow. A cut is a marker on the response; `server` sees it and drops the connection, which only it can
//! do.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use crate::clock::Clock;

const JSON: &str = "application/json; charset=utf-8";

/// Marks a response that must not be sent: the connection is dropped instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut;

/// An error answer, without the request id.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) error_type: String,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(status: u16, error_type: &str, title: &str, detail: &str) -> Self {
        Self {
            status,
            error_type: error_type.to_owned(),
            title: title.to_owned(),
            detail: detail.to_owned(),
            retry_after: None,
        }
    }

    /// Returns a 400 raised by `thrower` (`api` or `provider`).
    pub(super) fn invalid_parameters(thrower: &str, detail: &str) -> Self {
        Self::new(400, &format!("{thrower}/invalid_parameters"), "Invalid parameters", detail)
    }

    /// Returns a 404 raised by `thrower` (`api` or `provider`).
    pub(super) fn resource_not_found(thrower: &str, detail: &str) -> Self {
        Self::new(404, &format!("{thrower}/resource_not_found"), "Resource not found", detail)
    }

    /// Returns a 401: the owner of the account must authenticate again.
    pub(super) fn disconnected() -> Self {
        let title = "Invalid authorization";
        Self::new(401, "provider/invalid_authorization", title, "Account is disconnected.")
    }

    /// Returns a 403: the service does not allow this account.
    pub(super) fn restricted() -> Self {
        Self::new(403, "api/account_restricted", "Account restricted", "Account is restricted.")
    }

    /// Returns a 403: the subscription of this account with the service is not active.
    pub(super) fn inactive_subscription() -> Self {
        Self::new(403, "api/inactive_subscription", "Inactive", "API access to this account is locked.")
    }

    /// Returns a 403: LinkedIn does not let this account do that.
    pub(super) fn insufficient_permissions(detail: &str) -> Self {
        Self::new(403, "provider/insufficient_permissions", "Insufficient permissions", detail)
    }

    /// Returns a 422: LinkedIn understood the request and refuses it.
    pub(super) fn unprocessable_entity(detail: &str) -> Self {
        Self::new(422, "provider/unprocessable_entity", "Unprocessable entity", detail)
    }

    /// Returns a 415: LinkedIn does not accept these files. The status is inferred: the description gives only the
    /// type.
    pub(super) fn invalid_file(detail: &str) -> Self {
        Self::new(415, "provider/invalid_file", "Invalid file", detail)
    }

    /// Returns the complete answer to call `seq`.
    pub(super) fn reply(self, seq: u64) -> Reply {
        let error = WireError {
            object: "Error",
            r#type: &self.error_type,
            status: self.status,
            title: &self.title,
            detail: &self.detail,
            req_id: format!("req-{seq:x}"),
        };
        let body = serde_json::to_string(&error).expect("strings and numbers serialize");
        Reply { retry_after: self.retry_after, ..Reply::new(self.status, JSON, body) }
    }
}

#[derive(Serialize)]
struct WireError<'a> {
    object: &'static str,
    r#type: &'a str,
    status: u16,
    title: &'a str,
    detail: &'a str,
    req_id: String,
}

/// The success answer of a POST.
#[derive(Debug, Serialize)]
#[serde(tag = "object")]
pub(super) enum Success {
    ChatStarted { chat_id: String, message_id: Option<String> },
    MessageSent { message_id: String },
    MessageForwarded { message_id: String, chat_id: String },
    ComposingSet,
}

impl Success {
    pub(super) fn reply(&self) -> Reply {
        Reply::json(serde_json::to_string(self).expect("strings serialize"))
    }
}

/// How the bytes of a reply are sent.
#[derive(Debug)]
pub(super) enum Manner {
    Whole,
    /// All headers, half of the body, then the connection closes.
    Half,
    /// The body in small pieces over this time.
    Slow(Duration),
    /// Nothing; the connection closes.
    Cut,
}

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    content_type: &'static str,
    body: String,
    retry_after: Option<u64>,
    limits: bool,
    /// Whether the response cache had the answer, and its age; `None` if the cache does not apply.
    cache: Option<(bool, Duration)>,
    manner: Manner,
}

impl Reply {
    fn new(status: u16, content_type: &'static str, body: String) -> Self {
        let manner = Manner::Whole;
        Self { status, content_type, body, retry_after: None, limits: false, cache: None, manner }
    }

    /// Returns a success with `body`, which is JSON.
    pub(super) fn json(body: String) -> Self {
        Self::new(200, JSON, body)
    }

    /// Returns the reply that closes the connection without an answer.
    pub(super) fn cut() -> Self {
        Self::new(500, JSON, String::new()).in_manner(Manner::Cut)
    }

    /// Returns a body that no JSON parser accepts.
    pub(super) fn garbage(status: u16) -> Self {
        if status < 300 {
            return Self::new(status, JSON, r#"{"object":"MessageSent","message_id":"#.to_owned());
        }
        let html = format!("<html><head><title>{status}</title></head><body>nginx</body></html>\r\n");
        Self::new(status, "text/html", html)
    }

    pub(super) fn in_manner(self, manner: Manner) -> Self {
        Self { manner, ..self }
    }

    /// Adds the headers of the rate limiter, as every normal answer has them.
    pub(super) fn with_limits(self) -> Self {
        Self { limits: true, ..self }
    }

    /// Adds the headers of the response cache: whether it had this answer, and the age of the answer.
    pub(super) fn with_cache(self, hit: bool, age: Duration) -> Self {
        Self { cache: Some((hit, age)), ..self }
    }

    /// Returns the HTTP status that is sent, if any.
    pub(super) fn status(&self) -> Option<u16> {
        match self.manner {
            Manner::Cut => None,
            Manner::Whole | Manner::Half | Manner::Slow(_) => Some(self.code().as_u16()),
        }
    }

    fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Converts the reply to an HTTP response; `clock` paces a slow one.
    pub(super) fn into_response(self, clock: Arc<dyn Clock>) -> Response {
        let code = self.code();
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers);
        let body = Bytes::from(self.body);
        let body = match self.manner {
            Manner::Whole => Body::from(body),
            Manner::Half => half(&body),
            Manner::Slow(duration) => slow(body, duration, clock),
            Manner::Cut => {
                let mut response = code.into_response();
                response.extensions_mut().insert(Cut);
                return response;
            }
        };
        let mut response = (code, body).into_response();
        *response.headers_mut() = headers;
        response
    }

    /// Converts the reply to a response with its whole body, for callers without a connection.
    pub(super) fn into_whole(self) -> axum::http::Response<Vec<u8>> {
        let mut headers = HeaderMap::new();
        self.put_headers(&mut headers);
        let mut response = axum::http::Response::new(Vec::new());
        (*response.status_mut(), *response.headers_mut()) = (self.code(), headers);
        *response.body_mut() = self.body.into_bytes();
        response
    }

    fn put_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        if self.limits {
            headers.insert("x-ratelimit-limit", HeaderValue::from_static("1000000"));
            headers.insert("x-ratelimit-remaining", HeaderValue::from_static("999999"));
            headers.insert("x-ratelimit-reset", HeaderValue::from_static("60"));
        }
        if let Some((hit, age)) = self.cache {
            headers.insert("x-cache", HeaderValue::from_static(if hit { "HIT" } else { "MISS" }));
            headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
    }
}

fn half(body: &Bytes) -> Body {
    let first = body.slice(..body.len() / 2);
    let end = async {
        // Lets the connection write the first half before it learns that there is no second one.
        tokio::task::yield_now().await;
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "half an answer was asked for"))
    };
    Body::from_stream(stream::iter([Ok(first)]).chain(stream::once(end)))
}

fn slow(body: Bytes, duration: Duration, clock: Arc<dyn Clock>) -> Body {
    const PIECES: usize = 8;
    let size = body.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> =
        (0..body.len()).step_by(size).map(|at| body.slice(at..body.len().min(at + size))).collect();
    let pause = duration / u32::try_from(pieces.len().max(1)).expect("there are at most eight pieces");
    Body::from_stream(stream::iter(pieces).then(move |piece| {
        let paused = clock.sleep(pause);
        async move {
            paused.await;
            Ok::<_, Infallible>(piece)
        }
    }))
}
