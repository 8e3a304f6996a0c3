//! Reads request bodies completely, up to a limit.
//!
//! A body over the limit is still read to its end and discarded: if a server answers and closes while the client is
//! writing, the client loses the answer to a broken pipe.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::BodyExt;

use super::error::ApiError;
use crate::domain::field_error::{FieldError, FieldErrorCode};

/// How much of a body over the limit is read before giving up, as a multiple of the limit.
const POLITE: usize = 16;

/// Reads `body`; returns an error if it is longer than `limit` bytes.
pub(super) async fn read(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(broken_off()) };
        let Some(data) = frame.data_ref() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            whole.extend_from_slice(data);
        } else if length > limit.saturating_mul(POLITE) {
            break;
        }
    }
    if length <= limit { Ok(whole.into()) } else { Err(too_large(limit)) }
}

fn broken_off() -> ApiError {
    let refusal = FieldError::new(
        FieldErrorCode::InvalidValue,
        "",
        "the body broke off, so nothing of it was stored",
        "send it again",
    );
    ApiError::bad_request(refusal)
}

fn too_large(limit: usize) -> ApiError {
    let problem = format!("the body is longer than {limit} bytes");
    let refusal = FieldError::new(
        FieldErrorCode::TooLong,
        "",
        problem,
        "send smaller batches, or raise api.body_bytes",
    );
    ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal)
}
