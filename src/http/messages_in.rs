//! `POST /v1/messages`: one message, an array, or one message per line; a verdict for each, after the commit.
//!
//! A single message may bring its files as an upload (`multipart.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::attachments::Uploads;
use super::error::ApiError;
use super::verdicts::{RowVerdict, batch_answer, batch_refused, dedupe_conflict, repeated, taken};
use super::{AppState, body, multipart, wire};
use crate::domain::attachment::Blob;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::json;
use crate::domain::message::NewMessage;
use crate::store::{EnqueueMode, Enqueued};

/// Longer bodies are parsed on a separate thread: 50,000 rows take half a second, during which nothing could be sent.
const LONG_BODY: usize = 256 << 10;
/// An answer with more verdicts is rendered on a separate thread.
const FEW_VERDICTS: usize = 1000;
/// Maximum bytes of files that one request holds in memory; each file counts once.
const REQUEST_FILE_BYTES: u64 = 256 << 20;

/// One row of a request: its line in the body, if the body has lines, and the parsed message.
pub(super) struct InputRow {
    pub(super) line: Option<usize>,
    pub(super) message: Result<NewMessage, Vec<FieldError>>,
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
    fn of(&self, messages: &[NewMessage]) -> Vec<Blob> {
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

pub(super) async fn enqueue(
    State(state): State<Arc<AppState>>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read(body, state.body_bytes).await?;
    let atomic = atomic(&parameters)?;
    let key = idempotency_key(&headers)?;
    match read(&state, &headers, body).await? {
        Input::One(value, uploads) => one(&state, value, uploads, key).await,
        Input::Many(..) if key.is_some() => {
            let fix = "give each row its own dedupe_key";
            let problem = "is for a single message";
            Err(ApiError::bad_request(FieldError::new(
                FieldErrorCode::Contradiction,
                "Idempotency-Key",
                problem,
                fix,
            )))
        }
        Input::Many(rows, files) => many(state, rows, files, atomic).await,
    }
}

fn atomic(parameters: &[(String, String)]) -> Result<bool, ApiError> {
    let mut atomic = false;
    for (name, value) in parameters {
        match (name.as_str(), value.as_str()) {
            ("atomic", "true") => atomic = true,
            ("atomic", "false") => atomic = false,
            ("atomic", other) => {
                let problem = format!("is {other:?}");
                let refusal =
                    FieldError::new(FieldErrorCode::InvalidValue, "atomic", problem, "give true or false");
                return Err(ApiError::bad_request(refusal));
            }
            (unknown, _) => {
                return Err(ApiError::bad_request(FieldError::unknown_field(unknown, ["atomic"])));
            }
        }
    }
    Ok(atomic)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    value.to_str().map(|key| Some(key.to_owned())).map_err(|_| {
        let fix = "use visible ASCII characters";
        let refusal = FieldError::new(FieldErrorCode::InvalidValue, "Idempotency-Key", "is not text", fix);
        ApiError::bad_request(refusal)
    })
}

/// Parses the body according to its content type.
pub(super) async fn read(state: &Arc<AppState>, headers: &HeaderMap, body: Bytes) -> Result<Input, ApiError> {
    // Skips the byte order mark of a file written on Windows.
    let body = if body.starts_with(b"\xef\xbb\xbf") { body.slice(3..) } else { body };
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
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
            let row = |value| InputRow { line: None, message: parse(state, value, &mut files) };
            let rows = rows.into_iter().map(row).collect();
            Ok(Input::Many(rows, files))
        }
        one => Ok(Input::One(one, Uploads::default())),
    }
}

fn lines(state: &AppState, body: &Bytes) -> Input {
    let mut rows = Vec::new();
    let mut files = Files::default();
    for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let message = json::parse(line)
            .map_err(|error| vec![wire::unreadable(&error, Some(index + 1))])
            .and_then(|value| parse(state, value, &mut files));
        rows.push(InputRow { line: Some(index + 1), message });
    }
    Input::Many(rows, files)
}

fn parse(state: &AppState, value: Value, files: &mut Files) -> Result<NewMessage, Vec<FieldError>> {
    let (draft, blobs) = wire::draft(value, &state.attachments)?;
    let message = draft.validate(&state.limits(), state.engine.now())?;
    files.keep(blobs)?;
    Ok(message)
}

/// Stores a single message; its verdict is the status code of the answer.
async fn one(
    state: &Arc<AppState>,
    value: Value,
    uploads: Uploads,
    key: Option<String>,
) -> Result<Response, ApiError> {
    let unprocessable = |refusals| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, refusals);
    let (mut draft, blobs) = wire::draft_with(value, uploads, &state.attachments).map_err(unprocessable)?;
    if let Some(key) = key {
        if draft.dedupe_key.as_ref().is_some_and(|own| *own != key) {
            let fix = "give one of them";
            let problem = "differs from the header Idempotency-Key";
            let refusal = FieldError::new(FieldErrorCode::Contradiction, "dedupe_key", problem, fix);
            return Err(unprocessable(vec![refusal]));
        }
        draft.dedupe_key = Some(key);
    }
    let message = draft.validate(&state.limits(), state.engine.now()).map_err(unprocessable)?;
    let stored = store(Arc::clone(state), vec![message], blobs, EnqueueMode::Each).await?;
    match stored.into_iter().next() {
        Some(Enqueued::Accepted(id)) => {
            Ok((StatusCode::CREATED, Json(json!({ "id": id.to_string(), "state": "queued" })))
                .into_response())
        }
        Some(Enqueued::Duplicate(id)) => {
            let state = state.store.states(&[id]).await?.get(&id).map(|state| state.as_str());
            Ok(Json(json!({ "id": id.to_string(), "duplicate": true, "state": state })).into_response())
        }
        Some(Enqueued::Conflict(id)) => {
            let state = state.store.states(&[id]).await?.get(&id).copied();
            Err(ApiError::conflict(id.to_string(), dedupe_conflict(id, state)))
        }
        Some(Enqueued::Repeat(id)) => Err(ApiError::conflict(id.to_string(), repeated(id))),
        Some(Enqueued::Refused) | None => Err(ApiError::internal()),
    }
}

/// Stores messages and wakes the engine, even if the client hangs up.
async fn store(
    state: Arc<AppState>,
    messages: Vec<NewMessage>,
    blobs: Vec<Blob>,
    mode: EnqueueMode,
) -> Result<Vec<Enqueued>, ApiError> {
    let work = Arc::clone(&state);
    state
        .spawn_detached(async move {
            let now = work.engine.now();
            let due = |message: &NewMessage| message.not_before.map_or(now, |at| at.max(now));
            let accounts: Vec<_> =
                messages.iter().map(|message| (message.account_id.clone(), due(message))).collect();
            let stored = work.store.enqueue_with(messages, blobs, mode, work.engine.now()).await?;
            work.engine.wake_at(accounts);
            Ok(stored)
        })
        .await
}

async fn many(
    state: Arc<AppState>,
    rows: Vec<InputRow>,
    files: Files,
    atomic: bool,
) -> Result<Response, ApiError> {
    if atomic && rows.len() > state.atomic_rows {
        let problem = format!("{} rows in an atomic batch, {} are allowed", rows.len(), state.atomic_rows);
        let fix = "send smaller batches, or leave ?atomic=true out";
        let refusal = FieldError::new(FieldErrorCode::TooLong, "", problem, fix);
        return Err(ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal));
    }
    let spoiled = atomic && rows.iter().any(|row| row.message.is_err());
    let mut lines = Vec::with_capacity(rows.len());
    let mut verdicts: Vec<Option<RowVerdict>> = Vec::with_capacity(rows.len());
    let mut good: Vec<(usize, NewMessage)> = Vec::new();
    for (index, row) in rows.into_iter().enumerate() {
        lines.push(row.line);
        match row.message {
            Err(refusals) => verdicts.push(Some(RowVerdict::Refused(refusals, None))),
            Ok(_) if spoiled => verdicts.push(Some(batch_refused())),
            Ok(message) => {
                verdicts.push(None);
                good.push((index, message));
            }
        }
    }
    let mode = if atomic { EnqueueMode::All } else { EnqueueMode::Each };
    let rows_at_once = if atomic { good.len().max(1) } else { state.batch_rows };
    let mut stored_any = false;
    let mut good = good.into_iter();
    loop {
        let (indices, messages): (Vec<usize>, Vec<NewMessage>) = good.by_ref().take(rows_at_once).unzip();
        if indices.is_empty() {
            break;
        }
        let blobs = files.of(&messages);
        let stored = match store(Arc::clone(&state), messages, blobs, mode).await {
            Ok(stored) => stored,
            Err(error) if !stored_any => return Err(error),
            // Earlier chunks are stored and must be reported; only the rest may be sent again.
            Err(error) => {
                let refusals = error.into_refusals();
                for index in indices.into_iter().chain(good.map(|(index, _)| index)) {
                    verdicts[index] = Some(RowVerdict::Refused(refusals.clone(), None));
                }
                break;
            }
        };
        stored_any = true;
        let states = state.store.states(&taken(&stored)).await.unwrap_or_default();
        for (index, stored) in indices.into_iter().zip(stored) {
            verdicts[index] = Some(match stored {
                Enqueued::Accepted(id) => RowVerdict::Accepted(id),
                Enqueued::Duplicate(id) => RowVerdict::Duplicate(id, states.get(&id).copied()),
                Enqueued::Conflict(id) => {
                    RowVerdict::Refused(vec![dedupe_conflict(id, states.get(&id).copied())], Some(id))
                }
                Enqueued::Repeat(id) => RowVerdict::Refused(vec![repeated(id)], Some(id)),
                Enqueued::Refused => batch_refused(),
            });
        }
    }
    answered(&state, lines, verdicts, atomic).await
}

/// Renders the answer to a batch; a large one on a blocking thread, so that other tasks continue.
async fn answered(
    state: &AppState,
    lines: Vec<Option<usize>>,
    verdicts: Vec<Option<RowVerdict>>,
    atomic: bool,
) -> Result<Response, ApiError> {
    if lines.len() <= FEW_VERDICTS {
        return Ok(batch_answer(&lines, &verdicts, atomic));
    }
    let answer = state.tasks.spawn_blocking(move || batch_answer(&lines, &verdicts, atomic)).await;
    answer.map_err(|_a_panic_was_reported| ApiError::internal())
}
