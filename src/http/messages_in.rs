//! `POST /v1/messages`: one message, an array, or one message per line; a verdict for each, after the commit.
//!
//! A single message may bring its files as an upload (`multipart.rs`).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::atomic::{self, mode_of};
use super::attachments::Uploads;
use super::error::ApiError;
use super::input::{self, Files, Input, InputRow, Lines};
use super::verdicts::{
    RowVerdict, batch_answer, batch_refused, beside, dedupe_conflict, differing, out_of_step, person_refused,
    repeated, suppressed, taken,
};
use super::{App, AppState, Parameters, body, wire};
use crate::domain::attachment::Blob;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::{MessageId, NewMessage};
use crate::store::{EnqueueMode, Enqueued, StepContents};
use crate::traces::Span;
use crate::types::message::Stored;

/// An answer with more verdicts is rendered on a separate thread.
const FEW_VERDICTS: usize = 1000;

pub(super) async fn enqueue(
    State(state): App,
    Query(mut parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = body::read(body, state.body_bytes).await?;
    let keeps_accounts = input::keeps_accounts(&mut parameters)?;
    let mode = atomic::atomic(&mut parameters)?;
    if let Some((unknown, _)) = parameters.first() {
        return Err(ApiError::unknown_field(unknown, ["atomic", "accounts"]));
    }
    let key = idempotency_key(&headers)?;
    let in_parts_if = mode == EnqueueMode::Each && key.is_none() && !keeps_accounts;
    if let Some(lines) = input::long_lines(&headers, &body).filter(|_| in_parts_if) {
        wire::are_lines(lines.rest())?;
        return in_parts(state, lines).await;
    }
    match input::read(&state, &headers, body).await? {
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
        Input::Many(mut rows, files) => {
            if keeps_accounts {
                input::keep_accounts(&state, &mut rows).await?;
            }
            many(state, rows, files, mode).await
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::given_twice("Idempotency-Key"));
    }
    value.to_str().map(|key| Some(key.to_owned())).map_err(|_| {
        let fix = "use visible ASCII characters";
        ApiError::invalid("Idempotency-Key", "is not text", fix)
    })
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
    let contents = StepContents::of(&message);
    let stored = store(Arc::clone(state), vec![message], blobs, EnqueueMode::Each).await?;
    match stored.into_iter().next() {
        Some(Enqueued::Accepted(id)) => {
            let state = Some("queued".to_owned());
            let stored = Stored { id: id.to_string(), duplicate: None, state, differs: None };
            Ok((StatusCode::CREATED, Json(stored)).into_response())
        }
        Some(Enqueued::Duplicate(id)) => {
            let existing = state.store.existing(&[id]).await?.remove(&id);
            let differs = existing.as_ref().map(|found| found.differs(contents.as_ref()));
            let state = existing.map(|found| found.state.as_str().to_owned());
            let (id, differs) = (id.to_string(), differing(&differs.unwrap_or_default()));
            Ok(Json(Stored { id, duplicate: Some(true), state, differs }).into_response())
        }
        Some(Enqueued::Conflict(id)) => {
            let state = state.store.existing(&[id]).await?.get(&id).map(|found| found.state);
            Err(ApiError::conflict(id.to_string(), dedupe_conflict(id, state)))
        }
        Some(Enqueued::Repeat(repeat)) => Err(ApiError::conflict(repeat.id.to_string(), repeated(&repeat))),
        Some(Enqueued::Suppressed) => Err(ApiError::one(StatusCode::CONFLICT, suppressed())),
        Some(Enqueued::OutOfStep(why)) => Err(ApiError::one(StatusCode::CONFLICT, out_of_step(&why))),
        Some(Enqueued::Beside(_) | Enqueued::Refused) | None => Err(ApiError::internal()),
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
            let (now, _dating) = work.engine.settled().await;
            let due = |message: &NewMessage| message.not_before.map_or(now, |at| at.max(now));
            let accounts: Vec<_> =
                messages.iter().map(|message| (message.account_id.clone(), due(message))).collect();
            let stored = work.store.enqueue_with(messages, blobs, mode, now).await?;
            work.engine.wake_at(accounts);
            for one in &stored {
                if let Enqueued::Accepted(id) = one {
                    work.store.traces().record(|| Span::new(*id, "enqueue", now, work.engine.now()));
                }
            }
            Ok(stored)
        })
        .await
}

async fn many(
    state: Arc<AppState>,
    mut rows: Vec<InputRow>,
    files: Files,
    mode: EnqueueMode,
) -> Result<Response, ApiError> {
    let spoiled = atomic::spoiled(&state, &mut rows, mode).await?;
    let is_atomic = mode == EnqueueMode::All;
    let mut batch = Batch::default();
    for part in atomic::parts(&state, rows, mode)? {
        let judged = |(place, row): (usize, InputRow)| {
            let message = match row.message {
                Ok(_) if is_atomic && spoiled.contains(&place) => Err(batch_refused()),
                Ok(_) if spoiled.contains(&place) => Err(person_refused()),
                Ok(message) => Ok(message),
                Err(refusals) => Err(RowVerdict::Refused(refusals, None)),
            };
            Row { place, line: row.line, message }
        };
        batch.store(&state, part.into_iter().map(judged).collect(), &files, mode).await?;
    }
    answered(&state, batch, is_atomic).await
}

/// Stores a long body with one message per line a part at a time, so that next to the body only a part is in memory.
async fn in_parts(state: Arc<AppState>, mut lines: Lines) -> Result<Response, ApiError> {
    let mut batch = Batch::default();
    loop {
        let work = Arc::clone(&state);
        let read = state.tasks.spawn_blocking(move || {
            let part = lines.next(&work, work.batch_rows);
            (part, lines)
        });
        let (rows, files);
        ((rows, files), lines) = read.await.map_err(|_a_panic_was_reported| ApiError::internal())?;
        if rows.is_empty() {
            return answered(&state, batch, false).await;
        }
        let before = batch.lines.len();
        let judged = |(place, row): (usize, InputRow)| Row {
            place: before + place,
            line: row.line,
            message: row.message.map_err(|refusals| RowVerdict::Refused(refusals, None)),
        };
        let part = rows.into_iter().enumerate().map(judged).collect();
        batch.store(&state, part, &files, EnqueueMode::Each).await?;
    }
}

/// A row of a request with its place there.
struct Row {
    place: usize,
    line: Option<usize>,
    message: Result<NewMessage, RowVerdict>,
}

/// What became of the rows of a request so far.
#[derive(Default)]
struct Batch {
    lines: Vec<Option<usize>>,
    verdicts: Vec<Option<RowVerdict>>,
    stored_any: bool,
    /// Why nothing is stored any more.
    failed: Option<Vec<FieldError>>,
}

impl Batch {
    /// Stores the good rows of a part in one commit.
    ///
    /// # Errors
    /// Returns the error of the store if nothing has been stored yet. Later, the rows that are left are refused with it:
    /// earlier parts are stored and must be reported, and only the rest may be sent again.
    async fn store(
        &mut self,
        state: &Arc<AppState>,
        part: Vec<Row>,
        files: &Files,
        mode: EnqueueMode,
    ) -> Result<(), ApiError> {
        let (mut places, mut messages) = (Vec::new(), Vec::new());
        for Row { place, line, message } in part {
            if self.lines.len() <= place {
                self.lines.resize(place + 1, None);
                self.verdicts.resize_with(place + 1, || None);
            }
            self.lines[place] = line;
            self.verdicts[place] = match (message, &self.failed) {
                (Ok(_), Some(refusals)) => Some(RowVerdict::Refused(refusals.clone(), None)),
                (Ok(message), None) => {
                    places.push(place);
                    messages.push(message);
                    None
                }
                (Err(verdict), _) => Some(verdict),
            };
        }
        if messages.is_empty() {
            return Ok(());
        }
        let blobs = files.of(&messages);
        let mode = mode_of(&messages, mode);
        let contents: Vec<Option<StepContents>> = messages.iter().map(StepContents::of).collect();
        let stored = match store(Arc::clone(state), messages, blobs, mode).await {
            Ok(stored) => stored,
            Err(error) if !self.stored_any => return Err(error),
            Err(error) => {
                let refusals = error.into_refusals();
                for place in places {
                    self.verdicts[place] = Some(RowVerdict::Refused(refusals.clone(), None));
                }
                self.failed = Some(refusals);
                return Ok(());
            }
        };
        self.stored_any = true;
        let existing = state.store.existing(&taken(&stored)).await.unwrap_or_default();
        let state_of = |id: &MessageId| existing.get(id).map(|found| found.state);
        for ((place, contents), stored) in places.into_iter().zip(contents).zip(stored) {
            self.verdicts[place] = Some(match stored {
                Enqueued::Accepted(id) => RowVerdict::Accepted(id),
                Enqueued::Duplicate(id) => {
                    let differs = existing.get(&id).map(|found| found.differs(contents.as_ref()));
                    RowVerdict::Duplicate(id, state_of(&id), differs.unwrap_or_default())
                }
                Enqueued::Conflict(id) => {
                    RowVerdict::Refused(vec![dedupe_conflict(id, state_of(&id))], Some(id))
                }
                Enqueued::Repeat(repeat) => RowVerdict::Refused(vec![repeated(&repeat)], Some(repeat.id)),
                Enqueued::Suppressed => RowVerdict::Refused(vec![suppressed()], None),
                Enqueued::OutOfStep(why) => RowVerdict::Refused(vec![out_of_step(&why)], None),
                Enqueued::Beside(clash) => RowVerdict::Refused(vec![beside(clash)], None),
                Enqueued::Refused if mode == EnqueueMode::Person => person_refused(),
                Enqueued::Refused => batch_refused(),
            });
        }
        Ok(())
    }
}

/// Renders the answer to a batch; a large one on a blocking thread, so that other tasks continue.
async fn answered(state: &AppState, batch: Batch, atomic: bool) -> Result<Response, ApiError> {
    let Batch { lines, verdicts, .. } = batch;
    if lines.len() <= FEW_VERDICTS {
        return Ok(batch_answer(&lines, &verdicts, atomic));
    }
    let answer = state.tasks.spawn_blocking(move || batch_answer(&lines, &verdicts, atomic)).await;
    answer.map_err(|_a_panic_was_reported| ApiError::internal())
}
