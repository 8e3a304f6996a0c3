//! Health checks (P9): whether the daemon is alive, accepts messages and can send them. For probes and `outboxd
//! status`.
//!
//! `/healthz` is for a supervisor that restarts the daemon, `/readyz` for alerting a person. The parts of `/readyz`
//! are `take_in` (the queue can be written) and `send` (nothing blocks every account at once), each with a reason.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{AppState, render};
use crate::domain::account::Daemon;

/// Why the daemon is not ready.
pub(super) struct Unready {
    /// Stable code.
    reason: &'static str,
    /// The reason in words, for a person.
    detail: String,
    /// When it is retried, or ends.
    until: Option<Timestamp>,
}

/// What the daemon can currently do.
pub(super) struct Readiness {
    take_in: Option<Unready>,
    send: Option<Unready>,
}

impl Readiness {
    pub(super) fn json(&self) -> Value {
        json!({
            "ready": self.take_in.is_none() && self.send.is_none(),
            "take_in": part(self.take_in.as_ref()),
            "send": part(self.send.as_ref()),
        })
    }
}

fn part(unready: Option<&Unready>) -> Value {
    match unready {
        None => json!({ "ok": true }),
        Some(Unready { reason, detail, until }) => {
            json!({ "ok": false, "reason": reason, "detail": detail, "until": render::time(*until) })
        }
    }
}

/// Checks whether the queue can be written, and whether anything blocks every account.
pub(super) async fn readiness(state: &AppState, daemon: &Daemon) -> Readiness {
    let storage = storage(state).await;
    let send = storage.as_ref().map(|(detail, until)| Unready {
        reason: "storage",
        detail: detail.clone(),
        until: *until,
    });
    let send = send.or_else(|| held(state, daemon));
    let take_in = storage.map(|(detail, until)| Unready { reason: "storage", detail, until });
    Readiness { take_in, send }
}

/// Returns why the queue cannot be written, if it cannot.
async fn storage(state: &AppState) -> Option<(String, Option<Timestamp>)> {
    if let Err(error) = state.store.test_write(state.engine.now()).await {
        return Some((error.chain(), None));
    }
    let trouble = state.engine.storage_trouble()?;
    Some((trouble.error, Some(trouble.next_try_at)))
}

/// Returns what blocks every account, in order of permanence.
fn held(state: &AppState, daemon: &Daemon) -> Option<Unready> {
    let now = state.engine.now();
    if let Some(restored) = &daemon.restored {
        let detail = format!("the queue is a copy or was restored from a backup: {}", restored.why);
        return Some(Unready { reason: "restored", detail, until: None });
    }
    if let Some(key) = &daemon.key_refused {
        let detail = format!("Unipile refuses the API key or the subscription: {}", key.problem);
        return Some(Unready { reason: "key_refused", detail, until: None });
    }
    if let Some(pause) = daemon.pause.as_ref().filter(|pause| pause.holds(now)) {
        let detail = "all sending is paused".to_owned();
        return Some(Unready { reason: "paused", detail, until: pause.until });
    }
    let api = state.engine.api_health();
    let until = api.unreachable_until?;
    let detail = format!("the Unipile API does not answer, {} failures in a row", api.failures);
    Some(Unready { reason: "api_unreachable", detail, until: Some(until) })
}

/// Answers 200 if the daemon is alive and can write the queue.
pub(super) async fn healthz(State(state): State<Arc<AppState>>) -> Result<Json<Value>, ApiError> {
    state.store.test_write(state.engine.now()).await?;
    Ok(Json(json!({ "ok": true })))
}

pub(super) async fn readyz(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let readiness = find(&state).await?;
    let is_ready = readiness.take_in.is_none() && readiness.send.is_none();
    Ok((status(is_ready), Json(readiness.json())).into_response())
}

pub(super) async fn can_take_in(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let unready = find(&state).await?.take_in;
    Ok((status(unready.is_none()), Json(part(unready.as_ref()))).into_response())
}

pub(super) async fn can_send(State(state): State<Arc<AppState>>) -> Result<Response, ApiError> {
    let unready = find(&state).await?.send;
    Ok((status(unready.is_none()), Json(part(unready.as_ref()))).into_response())
}

async fn find(state: &AppState) -> Result<Readiness, ApiError> {
    let daemon = state.store.daemon().await?;
    Ok(readiness(state, &daemon).await)
}

fn status(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
