//! Health checks (P9): whether the daemon is alive, accepts messages and can send them. For probes and `outboxd
//! status`.
//!
//! `/healthz` is for a supervisor that restarts the daemon, `/readyz` for alerting a person. The parts of `/readyz`
//! are `take_in` (the queue can be written) and `send` (nothing blocks every account at once), each with a reason.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::error::ApiError;
use super::{Answer, App, AppState};
use crate::domain::account::Daemon;
use crate::domain::state::StateName;
use crate::types::Time;
use crate::types::status::{Ability, Alive, Readiness, Unready};

fn unready(reason: &str, detail: String, until: Option<Timestamp>) -> Unready {
    Unready { reason: reason.to_owned(), detail, until: until.map(Time) }
}

fn ability(unready: Option<Unready>) -> Ability {
    Ability { ok: unready.is_none(), unready }
}

/// Checks whether the queue can be written, and whether anything blocks every account.
pub(super) async fn readiness(state: &AppState, daemon: &Daemon) -> Readiness {
    let storage = storage(state).await;
    let send = storage.clone().or_else(|| held(state, daemon));
    let ready = send.is_none();
    Readiness { ready, take_in: ability(storage), send: ability(send) }
}

/// Returns why the queue cannot be written, if it cannot.
async fn storage(state: &AppState) -> Option<Unready> {
    if let Err(error) = state.store.test_write(state.engine.now()).await {
        return Some(unready("storage", error.chain(), None));
    }
    let trouble = state.engine.storage_trouble()?;
    Some(unready("storage", trouble.error, Some(trouble.next_try_at)))
}

/// Returns what blocks every account, in order of permanence.
fn held(state: &AppState, daemon: &Daemon) -> Option<Unready> {
    let now = state.engine.now();
    if let Some(restored) = &daemon.restored {
        let detail = format!("the queue is a copy or was restored from a backup: {}", restored.why);
        return Some(unready("restored", detail, None));
    }
    if let Some(key) = &daemon.key_refused {
        let detail = format!("Unipile refuses the API key or the subscription: {}", key.problem);
        return Some(unready("key_refused", detail, None));
    }
    if let Some(pause) = daemon.pause.as_ref().filter(|pause| pause.holds(now)) {
        let detail = "all sending is paused".to_owned();
        return Some(unready("paused", detail, pause.until));
    }
    let api = state.engine.api_health();
    let failures = api.failures;
    if let Some(until) = api.unreachable_until {
        let detail = format!("the Unipile API does not answer, {failures} failures in a row");
        return Some(unready("api_unreachable", detail, Some(until)));
    }
    let detail = format!("the Unipile API fails sends, {failures} in a row; one at a time is tried");
    Some(unready("api_trial", detail, Some(api.trial_at?)))
}

impl AppState {
    /// Returns what the daemon does, in one line for systemd. Writes nothing.
    pub async fn summary(&self) -> String {
        let totals = match self.store.totals().await {
            Ok(totals) => totals,
            Err(error) => return format!("the queue cannot be read: {}", error.chain()),
        };
        let trouble =
            self.engine.storage_trouble().map(|trouble| format!("the queue fails: {}", trouble.error));
        let what = match trouble.or_else(|| held(self, &totals.daemon).map(|held| held.detail)) {
            Some(why) => format!("sends nothing, {why}"),
            None => "sending".to_owned(),
        };
        let [queued, review] = [StateName::Queued, StateName::Review].map(|state| totals.counts.of(state));
        format!("{what}; {queued} queued, {review} in review")
    }
}

/// Answers 200 if the daemon is alive and can write the queue.
pub(super) async fn healthz(State(state): App) -> Answer<Alive> {
    state.store.test_write(state.engine.now()).await?;
    Ok(Json(Alive { ok: true }))
}

pub(super) async fn readyz(State(state): App) -> Result<Response, ApiError> {
    let readiness = find(&state).await?;
    Ok((status(readiness.ready), Json(readiness)).into_response())
}

pub(super) async fn can_take_in(State(state): App) -> Result<Response, ApiError> {
    let take_in = find(&state).await?.take_in;
    Ok((status(take_in.ok), Json(take_in)).into_response())
}

pub(super) async fn can_send(State(state): App) -> Result<Response, ApiError> {
    let send = find(&state).await?.send;
    Ok((status(send.ok), Json(send)).into_response())
}

async fn find(state: &AppState) -> Result<Readiness, ApiError> {
    let daemon = state.store.daemon().await?;
    Ok(readiness(state, &daemon).await)
}

fn status(is_ready: bool) -> StatusCode {
    if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
