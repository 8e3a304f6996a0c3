//! Gives the daemon the messages of a table, by the handlers of the API that `outboxd import` uses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};

use crate::http::error::ApiError;
use crate::http::{AppState, forecast, messages_in};
use crate::import::{Batch, DAYS, Plan, Rehearsal, Table, Tally};
use crate::types::forecast::Forecast;
use crate::types::{counted, message};

/// Maximum size of an answer to a batch, in bytes; a verdict has fewer than 1,000.
const ANSWER_BYTES: usize = 8 << 20;

/// What an import would do, and when.
pub(super) struct Rehearsed {
    pub(super) found: Rehearsal,
    /// `None` if no message is left.
    pub(super) forecast: Option<Forecast>,
    pub(super) table: Table,
}

/// Shows what an import would do; queues nothing.
pub(super) async fn rehearse(
    state: Arc<AppState>,
    table: Table,
    mut plan: Plan,
) -> Result<Rehearsed, ApiError> {
    let _turn = state.uploads.turn().await;
    let mut table = table;
    loop {
        let judged = apart(&state, move || {
            let batch = Rehearsal::judge(&mut plan, &table.sheet.rows);
            (plan, table, batch)
        });
        let batch;
        (plan, table, batch) = judged.await?;
        let mut forecast = None;
        if batch.messages() > 0 {
            let asked = [
                ("days", DAYS.to_string()),
                ("campaign", plan.campaign.clone()),
                ("atomic", "person".to_owned()),
            ];
            let mut asked: Vec<_> = asked.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            asked.extend(keeps_accounts(&plan));
            // The lines are read again for the examples.
            let body = Body::from(batch.body.clone());
            let found = forecast::forecast_with(State(Arc::clone(&state)), Query(asked), lines(), body);
            forecast = Some(found.await?.0);
        }
        let assumed = forecast.as_mut().and_then(|found| found.with.take()).unwrap_or_default();
        if Rehearsal::has_second_rows(&mut plan, &table.sheet.rows, &batch, &assumed) {
            continue;
        }
        let shown = apart(&state, move || (Rehearsal::new(&plan, &table.sheet.rows, batch, &assumed), table));
        let (found, table) = shown.await?;
        return Ok(Rehearsed { found, forecast, table });
    }
}

/// Queues the rows, a batch at a time. The queue holds a step of a campaign once for a person, so a table that is
/// imported twice queues nothing twice (P2).
pub(super) async fn queue(
    state: Arc<AppState>,
    mut table: Table,
    mut plan: Plan,
) -> Result<(Table, Tally), ApiError> {
    let _turn = state.uploads.turn().await;
    let mut tally = Tally::default();
    let mut from = 0;
    while from < table.sheet.rows.len() {
        let filled = apart(&state, move || {
            let batch = Batch::fill(&mut plan, &table.sheet.rows, from);
            (plan, table, batch)
        });
        let mut batch;
        (plan, table, batch) = filled.await?;
        from = batch.next;
        let mut asked = vec![("atomic".to_owned(), "person".to_owned())];
        asked.extend(keeps_accounts(&plan));
        let stored = store(&state, asked, std::mem::take(&mut batch.body)).await;
        let verdicts = stored.map_err(|error| interrupted(error, &tally))?;
        let answered = batch.answered(&plan, &verdicts);
        tally.add(batch, answered);
    }
    loop {
        let parts = tally.take_second_rows(&mut plan, &table.sheet.rows);
        if parts.is_empty() {
            return Ok((table, tally));
        }
        for places in parts {
            let mut batch = Batch::again(&mut plan, &table.sheet.rows, &places);
            let mut asked = vec![("atomic".to_owned(), "person".to_owned())];
            asked.extend(keeps_accounts(&plan));
            let stored = store(&state, asked, std::mem::take(&mut batch.body)).await;
            let verdicts = stored.map_err(|error| interrupted(error, &tally))?;
            let answered = batch.answered(&plan, &verdicts);
            tally.add(batch, answered);
        }
    }
}

/// Stores the messages of some people, those of each person together or not at all.
async fn store(
    state: &Arc<AppState>,
    asked: Vec<(String, String)>,
    body: String,
) -> Result<Vec<message::Verdict>, ApiError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let answer =
        messages_in::enqueue(State(Arc::clone(state)), Query(asked), lines(), Body::from(body)).await?;
    let read = axum::body::to_bytes(answer.into_body(), ANSWER_BYTES).await.ok();
    let batch = read.and_then(|bytes| serde_json::from_slice::<message::Batch>(&bytes).ok());
    batch.map(|batch| batch.results).ok_or_else(ApiError::internal)
}

/// Returns the parameter by which people who are in the campaign keep their account.
fn keeps_accounts(plan: &Plan) -> Option<(String, String)> {
    plan.keeps_accounts().then(|| ("accounts".to_owned(), "keep".to_owned()))
}

/// Says how far the import came.
fn interrupted(error: ApiError, tally: &Tally) -> ApiError {
    let done = tally.accepted + tally.duplicates;
    if done == 0 {
        return error;
    }
    let status = error.status();
    let mut refusals = error.into_refusals();
    for refusal in &mut refusals {
        refusal.problem +=
            &format!("; of the table, {} in the queue", counted(done, "message is", "messages are"));
        refusal.fix = "then import the same table again: nothing is queued twice".to_owned();
    }
    ApiError::new(status, refusals)
}

fn lines() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))])
}

/// Runs work that takes the processor on a thread of its own.
pub(super) async fn apart<T: Send + 'static>(
    state: &AppState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    state.tasks.spawn_blocking(work).await.map_err(|_a_panic_was_reported| ApiError::internal())
}
