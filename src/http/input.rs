//! The body of a request that brings messages: one message, an array, or one message per line.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::attachments::Uploads;
use super::error::ApiError;
use super::{AppState, multipart, wire};
use crate::domain::attachment::Blob;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::json;
use crate::domain::message::{AccountId, NewMessage};

/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Longer bodies are parsed on a separate thread: 50,000 rows take half a second, during which nothing could be sent.
const LONG_BODY: usize = 256 << 10;
/// Maximum bytes of files that one request holds in memory; each file counts once.
const REQUEST_FILE_BYTES: u64 = 256 << 20;

/// One row of a request: its line in the body, if the body has lines, and the parsed message.
pub(super) struct InputRow {
    pub(super) line: Option<usize>,
    /// The person or chat as the row names it, if it names one.
    pub(super) person: Option<String>,
    pub(super) message: Result<NewMessage, Vec<FieldError>>,
}

/// Takes `accounts=keep` out of the parameters of a query. Returns whether it was there.
pub(super) fn keeps_accounts(parameters: &mut Vec<(String, String)>) -> Result<bool, ApiError> {
    let wrong = parameters.iter().find(|(name, value)| name == "accounts" && value != "keep");
    if let Some((name, value)) = wrong {
        let (problem, fix) = (format!("is {value:?}"), "give keep, or leave it out");
        return Err(ApiError::invalid(name, problem, fix));
    }
    let all = parameters.len();
    parameters.retain(|(name, _)| name != "accounts");
    Ok(parameters.len() < all)
}

/// Gives the rows of people who are in their campaign already to the account that has their other steps. Returns the
/// places of the rows whose account it changes, each with its account.
pub(super) async fn keep_accounts(
    state: &AppState,
    rows: &mut [InputRow],
) -> Result<Vec<(usize, AccountId)>, ApiError> {
    let good =
        rows.iter_mut().enumerate().filter_map(|(place, row)| Some((place, row.message.as_mut().ok()?)));
    let (places, mut messages): (Vec<usize>, Vec<&mut NewMessage>) = good.unzip();
    let changed = state.store.keep_accounts(&mut messages).await?;
    Ok(changed.into_iter().map(|at| (places[at], messages[at].account_id.clone())).collect())
}

/// The files of a whole request, each once.
#[derive(Default)]
pub(super) struct Files {
    blobs: HashMap<String, Blob>,
    bytes: u64,
}

impl Files {
    /// Adds new files, up to the limit of one request.
    fn keep(&mut self, blobs: Vec<Blob>) -> Result<(), Vec<FieldError>> {
        for blob in blobs {
            if self.blobs.contains_key(&blob.sha256) {
                continue;
            }
            let bytes = self.bytes + blob.bytes.len() as u64;
            if bytes > REQUEST_FILE_BYTES {
                let problem = format!("bring the files of this request over {REQUEST_FILE_BYTES} bytes");
                let fix = "send smaller batches";
                return Err(vec![FieldError::new(FieldErrorCode::TooLong, "attachments", problem, fix)]);
            }
            self.bytes = bytes;
            self.blobs.insert(blob.sha256.clone(), blob);
        }
        Ok(())
    }

    /// Returns the files that `messages` carry.
    pub(super) fn of(&self, messages: &[NewMessage]) -> Vec<Blob> {
        let carried = messages.iter().flat_map(|message| &message.extras.attachments);
        let hashes: HashSet<&str> = carried.map(|file| file.sha256.as_str()).collect();
        hashes.into_iter().filter_map(|hash| self.blobs.get(hash).cloned()).collect()
    }
}

/// A parsed request body; content type and first character decide between one message and many.
pub(super) enum Input {
    One(Value, Uploads),
    Many(Vec<InputRow>, Files),
}

/// Parses the body according to its content type.
pub(super) async fn read(state: &Arc<AppState>, headers: &HeaderMap, body: Bytes) -> Result<Input, ApiError> {
    let body = without_bom(body);
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match essence(headers).as_str() {
        lines_of if is_lines(lines_of) => {
            apart(state, body, |state, body| {
                wire::are_lines(body)?;
                Ok(lines(state, body))
            })
            .await
        }
        // curl sends the form type by default.
        "" | "application/json" | "application/x-www-form-urlencoded" => apart(state, body, json_body).await,
        "multipart/form-data" => {
            let (message, uploads) = multipart::read(content_type, body).await?;
            Ok(Input::One(message, uploads))
        }
        other => {
            let problem = format!("is {other}");
            let fix = "send application/json, application/x-ndjson or multipart/form-data";
            let refusal = FieldError::new(FieldErrorCode::InvalidValue, "Content-Type", problem, fix);
            Err(ApiError::one(StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal))
        }
    }
}

/// Parses a body; a long one on a blocking thread, off the runtime's worker threads.
async fn apart(
    state: &Arc<AppState>,
    body: Bytes,
    read: fn(&AppState, &Bytes) -> Result<Input, ApiError>,
) -> Result<Input, ApiError> {
    if body.len() <= LONG_BODY {
        return read(state, &body);
    }
    let work = Arc::clone(state);
    let read = state.tasks.spawn_blocking(move || read(&work, &body)).await;
    read.unwrap_or_else(|_a_panic_was_reported| Err(ApiError::internal()))
}

fn json_body(state: &AppState, body: &Bytes) -> Result<Input, ApiError> {
    match wire::json(body)? {
        Value::Array(rows) => {
            let mut files = Files::default();
            let row = |value| InputRow {
                line: None,
                person: person(&value),
                message: parse(state, value, &mut files),
            };
            let rows = rows.into_iter().map(row).collect();
            Ok(Input::Many(rows, files))
        }
        one => Ok(Input::One(one, Uploads::default())),
    }
}

fn lines(state: &AppState, body: &Bytes) -> Input {
    let mut lines = Lines { body: body.clone(), from: 0, number: 0 };
    let (rows, files) = lines.next(state, usize::MAX);
    Input::Many(rows, files)
}

/// The rows of a body with one message per line, read a part at a time.
pub(super) struct Lines {
    body: Bytes,
    /// Where the next line begins.
    from: usize,
    /// The number of the last line.
    number: usize,
}

impl Lines {
    /// Returns the lines that have not been read.
    pub(super) fn rest(&self) -> &[u8] {
        self.body.get(self.from..).unwrap_or_default()
    }

    /// Reads and validates at most `most` rows; none at the end.
    pub(super) fn next(&mut self, state: &AppState, most: usize) -> (Vec<InputRow>, Files) {
        let (mut rows, mut files) = (Vec::new(), Files::default());
        while rows.len() < most && self.from < self.body.len() {
            let rest = &self.body[self.from..];
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            self.from += line.len() + 1;
            self.number += 1;
            // Files that were joined have a byte order mark at the start of each.
            let line = line.strip_prefix(BOM).unwrap_or(line);
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let value = json::parse(line).map_err(|error| vec![wire::unreadable(&error, Some(self.number))]);
            let person = value.as_ref().ok().and_then(person);
            let message = value.and_then(|value| parse(state, value, &mut files));
            rows.push(InputRow { line: Some(self.number), person, message });
        }
        (rows, files)
    }
}

/// Returns the lines of a long body with one message per line; `None` for any other body.
pub(super) fn long_lines(headers: &HeaderMap, body: &Bytes) -> Option<Lines> {
    let is_long = body.len() > LONG_BODY && is_lines(&essence(headers));
    is_long.then(|| Lines { body: without_bom(body.clone()), from: 0, number: 0 })
}

/// Skips the byte order mark of a file written on Windows.
fn without_bom(body: Bytes) -> Bytes {
    if body.starts_with(BOM) { body.slice(BOM.len()..) } else { body }
}

fn essence(headers: &HeaderMap) -> String {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_lines(essence: &str) -> bool {
    matches!(essence, "application/x-ndjson" | "application/ndjson" | "application/jsonl")
}

/// Returns the recipient that a row names; `None` for a group.
fn person(row: &Value) -> Option<String> {
    let id = match (&row["users_ids"], &row["chat_id"]) {
        (Value::String(id), _) | (Value::Null, Value::String(id)) => id,
        (Value::Array(ids), _) if ids.len() == 1 => ids[0].as_str()?,
        _ => return None,
    };
    Some(id.to_owned())
}

fn parse(state: &AppState, value: Value, files: &mut Files) -> Result<NewMessage, Vec<FieldError>> {
    let (draft, blobs) = wire::draft(value, &state.attachments)?;
    let message = draft.validate(&state.limits(), state.engine.now())?;
    files.keep(blobs)?;
    Ok(message)
}
