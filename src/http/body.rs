//! Reads what a request holds: the id in its path, and its body, completely and up to a limit.
//!
//! A body over the limit is still read to its end and discarded: if a server answers and closes while the client is
//! writing, the client loses the answer to a broken pipe.

use std::error::Error;
use std::io::ErrorKind;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;

use super::drain::STALLED;
use super::error::ApiError;
use crate::domain::content_encoding::is_compressed;
use crate::domain::field_error::{FieldError, FieldErrorCode};

/// How much of a body over the limit is read before giving up, as a multiple of the limit.
const POLITE: usize = 16;

/// Maximum size of a body that holds options, in bytes.
const OPTIONS_BYTES: usize = 2 << 20;

/// A body that holds options.
pub(super) struct Options(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Options {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        whole(request.into_body(), OPTIONS_BYTES, "docs/http.md has what the path takes").await.map(Self)
    }
}

/// The id in a path.
pub(super) struct Id(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let found = Path::<String>::from_request_parts(parts, state).await;
        found.map(|Path(id)| Self(id.trim().to_owned())).map_err(|_| {
            let (problem, fix) = ("is not UTF-8", "give the id as the daemon writes it");
            ApiError::invalid("id", problem, fix)
        })
    }
}

/// Refuses a compressed body: it would be read as if it were JSON.
pub(super) async fn refuse_compressed(request: Request, next: Next) -> Result<Response, ApiError> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.find(|value| is_compressed(value.as_bytes())) else {
        return Ok(next.run(request).await);
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
    let _discarded = whole(request.into_body(), OPTIONS_BYTES, "").await;
    let (problem, fix) = (format!("is {encoding}"), "send the body uncompressed");
    let refusal = FieldError::new(FieldErrorCode::InvalidValue, "Content-Encoding", problem, fix);
    Err(ApiError::one(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal))
}

/// Reads `body`, which holds messages; returns an error if it is longer than `limit` bytes.
pub(super) async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    whole(body, limit, "send smaller batches, or raise api.body_bytes").await
}

/// Reads `body`; returns an error with `fix` if it is longer than `limit` bytes.
pub(super) async fn whole(mut body: Body, limit: usize, fix: &str) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| if is_late(&error) { stalled() } else { broken_off() })?;
        let Some(data) = frame.data_ref() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            whole.extend_from_slice(data);
        } else if length > limit.saturating_mul(POLITE) {
            break;
        }
    }
    if length <= limit { Ok(whole.into()) } else { Err(too_large(limit, fix)) }
}

fn broken_off() -> ApiError {
    ApiError::invalid("", "the body broke off, so nothing of it was stored", "send it again")
}

/// Returns whether the body was given up because nothing of it came for a while.
fn is_late(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn stalled() -> ApiError {
    let problem =
        format!("nothing of the body came for {} s, so nothing of it was stored", STALLED.as_secs());
    let refusal = FieldError::new(FieldErrorCode::InvalidValue, "", problem, "send it again, whole");
    ApiError::one(StatusCode::REQUEST_TIMEOUT, refusal)
}

fn too_large(limit: usize, fix: &str) -> ApiError {
    let problem = format!("the body is longer than {limit} bytes");
    ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, FieldError::new(FieldErrorCode::TooLong, "", problem, fix))
}
