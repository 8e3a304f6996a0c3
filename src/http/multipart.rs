//! Uploads of one message with its files, as a browser or `curl -F` sends them: `multipart/form-data` with a part
//! `message` that contains the JSON, and any number of files in parts `attachments`.
//!
//! Each file becomes an entry of the message's `attachments`. If there already is an entry with the file's name and
//! without content, it refers to that file, so that a producer can set its other fields. After that the message is
//! treated like any other.

use axum::body::Bytes;
use axum::http::StatusCode;
use multer::{Field, Multipart};
use serde_json::{Value, json};

use super::attachments::Uploads;
use super::error::ApiError;
use super::wire;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::json::{self, JsonError};

const MESSAGE: &str = "message";
const FILES: &str = "attachments";
/// Maximum number of parts; a message has at most 50 files.
const MOST_PARTS: usize = 64;
/// The content type that clients send if they do not know a file's type.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Reads the message and its files; `content_type` is that of the whole body.
pub(super) async fn read(content_type: &str, body: Bytes) -> Result<(Value, Uploads), ApiError> {
    let boundary = multer::parse_boundary(content_type).map_err(|_| {
        let fix = "have your client write the header (curl -F does)";
        let problem = "is multipart/form-data without a boundary";
        ApiError::invalid("Content-Type", problem, fix)
    })?;
    let stream = futures_util::stream::iter([Ok::<Bytes, std::io::Error>(body)]);
    let mut parts = Multipart::new(stream, boundary);
    let mut message: Option<Value> = None;
    let mut files: Vec<Value> = Vec::new();
    let mut uploads = Uploads::new();
    for count in 0.. {
        let Some(part) = parts.next_field().await.map_err(broken)? else { break };
        if count >= MOST_PARTS {
            let problem = format!("has more than {MOST_PARTS} parts");
            return Err(refused(FieldErrorCode::TooLong, "", &problem, "send fewer files"));
        }
        match part.name() {
            Some(MESSAGE) if message.is_some() => {
                let fix = "send one message, or several as JSON";
                return Err(refused(FieldErrorCode::Contradiction, MESSAGE, "is given twice", fix));
            }
            Some(MESSAGE) => message = Some(json_of(part).await?),
            Some(FILES) => {
                let (name, entry) = described(&part)?;
                let bytes = part.bytes().await.map_err(broken)?;
                if uploads.insert(name.clone(), bytes).is_some() {
                    let problem = format!("holds two files named {name}");
                    let fix = "give each its own name: -F 'attachments=@path;filename=other.pdf'";
                    return Err(refused(FieldErrorCode::Contradiction, FILES, &problem, fix));
                }
                files.push(entry);
            }
            other => {
                let name = other.unwrap_or_default().to_owned();
                let refusal = FieldError::unknown_field(&name, [MESSAGE, FILES]);
                return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, vec![refusal]));
            }
        }
    }
    let Some(mut message) = message else {
        let fix = "give the message as JSON in a part of that name";
        return Err(refused(FieldErrorCode::MissingField, MESSAGE, "is missing", fix));
    };
    attach(&mut message, files);
    Ok((message, uploads))
}

async fn json_of(part: Field<'_>) -> Result<Value, ApiError> {
    let bytes = part.bytes().await.map_err(broken)?;
    let value = json::parse(&bytes).map_err(|error| match error {
        JsonError::Malformed(_) => {
            let refusal = wire::unreadable(&error, None);
            ApiError::bad_request(FieldError { field: MESSAGE.to_owned(), ..refusal })
        }
        JsonError::Twice { .. } => {
            ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, wire::unreadable(&error, None))
        }
    })?;
    if value.is_object() {
        return Ok(value);
    }
    let fix = "upload files with one message; send several without files as JSON";
    Err(refused(FieldErrorCode::WrongType, MESSAGE, "is not a JSON object", fix))
}

/// Returns the name of a file, and an `attachments` entry for it.
fn described(part: &Field<'_>) -> Result<(String, Value), ApiError> {
    let Some(name) = part.file_name().filter(|name| !name.is_empty()) else {
        let fix = "upload a file with its name: -F 'attachments=@offer.pdf'";
        return Err(refused(FieldErrorCode::MissingField, FILES, "holds a part without a file name", fix));
    };
    let mut entry = json!({ "filename": name });
    let content_type = part.headers().get("content-type").and_then(|value| value.to_str().ok());
    if let Some(content_type) = content_type.filter(|known| !known.eq_ignore_ascii_case(UNKNOWN_TYPE)) {
        entry["content_type"] = json!(content_type);
    }
    Ok((name.to_owned(), entry))
}

/// Adds an entry for each file that has none. If `attachments` is not an array, its reader reports that.
fn attach(message: &mut Value, files: Vec<Value>) {
    if files.is_empty() {
        return;
    }
    let listed = &mut message[FILES];
    if listed.is_null() {
        *listed = json!([]);
    }
    let Some(listed) = listed.as_array_mut() else { return };
    let means = |entry: &Value, file: &Value| {
        entry.get("path").is_none()
            && entry.get("content").is_none()
            && entry.get("filename") == file.get("filename")
    };
    for file in files {
        match listed.iter_mut().find(|entry| means(entry, &file)) {
            Some(entry) => {
                if let (None, Some(content_type)) = (entry.get("content_type"), file.get("content_type")) {
                    entry["content_type"] = content_type.clone();
                }
            }
            None => listed.push(file),
        }
    }
}

fn refused(code: FieldErrorCode, field: &str, problem: &str, fix: &str) -> ApiError {
    ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, FieldError::new(code, field, problem, fix))
}

/// Returns the error for a body that is not valid multipart.
fn broken(error: multer::Error) -> ApiError {
    let problem = format!("the body is not a whole multipart/form-data: {error}");
    let fix = "send it again, whole, with the boundary that the header names";
    ApiError::invalid("", problem, fix)
}
