//! Endpoints for queued messages: list, show, explain, cancel.
//!
//! `messages_in.rs` accepts new ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AppState, render, wire};
use crate::domain::message::MessageId;
use crate::domain::state::StateName;
use crate::engine::WaitStatus;
use crate::store::{Cancelled, MessageView};

pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let filter = wire::filter(parameters)?;
    let page = state.store.messages(&filter, state.engine.now()).await?;
    let wait_statuses = state.engine.wait_statuses(&page.messages).await?;
    let row = |(message, wait_status): (&MessageView, WaitStatus)| {
        let mut row = render::message(message, wait_status);
        row["attempts"] = json!(message.attempts);
        row
    };
    let data: Vec<Value> = page.messages.iter().zip(wait_statuses).map(row).collect();
    Ok(Json(json!({ "data": data, "next_cursor": page.next.map(|seq| seq.0.to_string()) })))
}

pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut message = find(&state, &id).await?;
    let attempts = state.store.attempts(message.seq).await?;
    if usize::try_from(message.attempts).is_ok_and(|known| known != attempts.len()) {
        // It was sent between the two reads. Reading it again makes it at least as new as its attempts.
        message = find(&state, &id).await?;
    }
    let wait_status = state.engine.explain(&message).await?.wait_status;
    let mut shown = render::message(&message, wait_status);
    shown["text"] = json!(message.text);
    shown["zone"] = json!(render::zone(&state.engine.policy(&message.account.id).zone));
    let evidence = state.store.evidence(message.seq).await?;
    shown["attempts"] = attempts.iter().map(|attempt| render::attempt(attempt, &evidence)).collect();
    shown["evidence"] = evidence.iter().map(render::evidence).collect();
    Ok(Json(shown))
}

pub(super) async fn explain(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message = find(&state, &id).await?;
    let explanation = state.engine.explain(&message).await?;
    let attempts = state.store.attempts(message.seq).await?;
    let evidence = state.store.evidence(message.seq).await?;
    let expected = state.engine.expected(&message).await?;
    Ok(Json(render::explanation(&message, &explanation, (&attempts, &evidence), expected)))
}

pub(super) async fn cancel(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message_id = parse(&id)?;
    let work = Arc::clone(&state);
    let cancelled = state
        .spawn_detached(async move {
            let cancelled = work.store.cancel(message_id, work.engine.now()).await?;
            if let Cancelled::Done { account_id, .. } = &cancelled {
                work.engine.wake(account_id.clone());
            }
            Ok(cancelled)
        })
        .await?;
    let done = |was: StateName, already: bool| {
        Json(json!({ "id": id, "state": "cancelled", "was": was.as_str(), "already_cancelled": already }))
    };
    match cancelled {
        Cancelled::Done { was, .. } => Ok(done(was, false)),
        Cancelled::Already => Ok(done(StateName::Cancelled, true)),
        Cancelled::Unknown => Err(ApiError::not_found("message", &id)),
        Cancelled::TooLate(state) => Err(ApiError::wrong_state(state, "cannot be cancelled any more")),
    }
}

pub(super) async fn find(state: &AppState, id: &str) -> Result<MessageView, ApiError> {
    let message = state.store.message(parse(id)?, state.engine.now()).await?;
    message.ok_or_else(|| ApiError::not_found("message", id))
}

/// Parses a message id; an invalid id is reported as an unknown message.
pub(super) fn parse(id: &str) -> Result<MessageId, ApiError> {
    id.parse().map_err(|_| ApiError::not_found("message", id))
}
