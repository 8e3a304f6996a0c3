//! `meta`: a JSON object of the producer's own, carried along and never sent.

use serde_json::Value;

use super::field_error::{FieldError, FieldErrorCode};

/// The longest `meta`, in bytes of its JSON.
pub const MOST_META_BYTES: usize = 4096;

/// Checks that `meta` is an object of at most [`MOST_META_BYTES`].
pub(super) fn checked(meta: Value) -> Result<Value, FieldError> {
    if !meta.is_object() {
        let fix = "give an object, such as {\"company\": \"Acme\"}";
        return Err(FieldError::new(FieldErrorCode::WrongType, "meta", "is not a JSON object", fix));
    }
    let bytes = meta.to_string().len();
    if bytes > MOST_META_BYTES {
        let problem = format!("takes {bytes} bytes, {MOST_META_BYTES} are allowed");
        return Err(FieldError::new(FieldErrorCode::TooLong, "meta", problem, "leave something out"));
    }
    Ok(meta)
}
