//! Receivers of events: how far each is; enables and replays one.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::{Answer, App, AppState, wire};
use crate::domain::event::EventFilter;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::hook::RETRIES;
use crate::store;
use crate::types::Time;
use crate::types::hook::{DeadLetter, Hook, HookEnabled, HookList, ReplayRequest};

/// The most events that are looked at to count those that a receiver wants: as many as its cursor may leave out.
const LOOKED_AT: i64 = 1000;

/// A receiver, as the configuration has it.
#[derive(Debug, Clone)]
pub struct ConfiguredHook {
    /// Its name.
    pub name: String,
    /// `webhook` or `command`.
    pub kind: &'static str,
    /// The host or the program; never the whole address, whose path may be a secret.
    pub target: String,
    /// Which events it wants.
    pub events: EventFilter,
}

pub(super) async fn list(State(state): App) -> Answer<HookList> {
    let newest = state.store.event_range().await?.newest.unwrap_or(0);
    let mut data = Vec::new();
    for configured in &state.hooks() {
        let Some(found) = state.store.hook(&configured.name).await? else { continue };
        let behind = behind(&state, configured, found.cursor, newest).await?;
        let dead = if found.dead > 0 { state.store.dead_letters(&found.name).await? } else { Vec::new() };
        data.push(hook(configured, found, dead, behind));
    }
    Ok(Json(HookList { data, retries_s: RETRIES.iter().map(std::time::Duration::as_secs).collect() }))
}

/// Counts the events that are still to be delivered. The cursor of a receiver passes events that it does not want only now
/// and then, so the last thousand are looked at.
async fn behind(
    state: &AppState,
    configured: &ConfiguredHook,
    mut cursor: i64,
    newest: i64,
) -> Result<i64, ApiError> {
    if newest - cursor > LOOKED_AT {
        return Ok(newest - cursor);
    }
    let mut wanted = 0;
    loop {
        let page = state.store.events_after(cursor, false).await?;
        let Some(last) = page.last() else { return Ok(wanted) };
        cursor = last.seq;
        let found = page.iter().filter(|event| configured.events.wants(event)).count();
        wanted += i64::try_from(found).unwrap_or(i64::MAX);
    }
}

pub(super) async fn enable(State(state): App, Id(name): Id) -> Answer<HookEnabled> {
    go_on(&state, name, None).await
}

pub(super) async fn replay(State(state): App, Id(name): Id, Options(body): Options) -> Answer<HookEnabled> {
    let ReplayRequest { from } = wire::options(&body)?;
    let fix = "give the `seq` of the first event to deliver again";
    let wrong = |code, problem: String| {
        let refusal = FieldError::new(code, "from", problem, fix);
        ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal)
    };
    let from = from.ok_or_else(|| wrong(FieldErrorCode::MissingField, "is missing".to_owned()))?;
    let range = state.store.event_range().await?;
    let (oldest, newest) = (range.oldest.unwrap_or(1), range.newest.unwrap_or(0));
    if !(oldest..=newest + 1).contains(&from) {
        let problem = format!("is {from}, and the queue has the events {oldest} to {newest}");
        return Err(wrong(FieldErrorCode::InvalidValue, problem));
    }
    go_on(&state, name, Some(from)).await
}

async fn go_on(state: &AppState, name: String, from: Option<i64>) -> Answer<HookEnabled> {
    let (now, _dating) = state.engine.settled().await;
    if !state.hooks().iter().any(|hook| hook.name == name)
        || !state.store.enable_hook(&name, from, now).await?
    {
        return Err(ApiError::not_found(Missing::Hook, &name));
    }
    let cursor = state.store.hook(&name).await?.map_or(0, |hook| hook.cursor);
    Ok(Json(HookEnabled { name, next: from.unwrap_or(cursor + 1) }))
}

fn hook(configured: &ConfiguredHook, found: store::Hook, dead: Vec<store::DeadLetter>, behind: i64) -> Hook {
    let state = match (found.disabled_at, found.failures) {
        (Some(_), _) => "disabled",
        (None, 0) => "ok",
        (None, _) => "retrying",
    };
    let letter =
        |dead: store::DeadLetter| DeadLetter { seq: dead.seq, at: Time(dead.at), problem: dead.problem };
    Hook {
        name: found.name,
        kind: configured.kind.to_owned(),
        target: configured.target.clone(),
        state: state.to_owned(),
        cursor: found.cursor,
        behind,
        delivered_at: found.delivered_at.map(Time),
        failures: found.failures,
        retry_at: found.retry_at.map(Time),
        problem: found.problem,
        disabled_at: found.disabled_at.map(Time),
        dead: found.dead,
        dead_letters: dead.into_iter().map(letter).collect(),
    }
}
