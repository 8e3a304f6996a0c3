//! Messages that are there: list, show, explain, cancel.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Doors, render, wire};
use crate::domain::message::MessageId;
use crate::domain::state::StateName;
use crate::engine::Standing;
use crate::store::{Cancelled, MessageView};

pub(super) async fn list(
    State(doors): State<Arc<Doors>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let filter = wire::filter(parameters)?;
    let page = doors.store.messages(&filter, doors.engine.now()).await?;
    let standings = doors.engine.standings(&page.messages).await?;
    let row = |(message, standing): (&MessageView, Standing)| {
        let mut row = render::message(message, standing);
        row["attempts"] = json!(message.attempts);
        row
    };
    let data: Vec<Value> = page.messages.iter().zip(standings).map(row).collect();
    Ok(Json(json!({ "data": data, "next_cursor": page.next.map(|arrival| arrival.0.to_string()) })))
}

pub(super) async fn show(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let mut message = find(&doors, &id).await?;
    let attempts = doors.store.attempts(message.arrival).await?;
    if usize::try_from(message.attempts).is_ok_and(|known| known != attempts.len()) {
        // It was sent between the two reads: what is shown of it is at least as new as its attempts.
        message = find(&doors, &id).await?;
    }
    let standing = doors.engine.explain(&message).await?.standing;
    let mut shown = render::message(&message, standing);
    shown["text"] = json!(message.text);
    shown["zone"] = json!(render::zone(&doors.engine.policy(&message.account.id).zone));
    let evidence = doors.store.evidence(message.arrival).await?;
    shown["attempts"] = attempts.iter().map(|attempt| render::attempt(attempt, &evidence)).collect();
    shown["evidence"] = evidence.iter().map(render::evidence).collect();
    Ok(Json(shown))
}

pub(super) async fn explain(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message = find(&doors, &id).await?;
    let explanation = doors.engine.explain(&message).await?;
    let attempts = doors.store.attempts(message.arrival).await?;
    let evidence = doors.store.evidence(message.arrival).await?;
    let expected = doors.engine.expected(&message).await?;
    Ok(Json(render::explanation(&message, &explanation, (&attempts, &evidence), expected)))
}

pub(super) async fn cancel(
    State(doors): State<Arc<Doors>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let message_id = parse(&id)?;
    let work = Arc::clone(&doors);
    let cancelled = doors
        .carry_out(async move {
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

pub(super) async fn find(doors: &Doors, id: &str) -> Result<MessageView, ApiError> {
    let message = doors.store.message(parse(id)?, doors.engine.now()).await?;
    message.ok_or_else(|| ApiError::not_found("message", id))
}

/// An id that is none names no message.
pub(super) fn parse(id: &str) -> Result<MessageId, ApiError> {
    id.parse().map_err(|_| ApiError::not_found("message", id))
}
