//! Stop endpoints: stop sending to a person, into a chat or of a campaign; list and lift stops (P5).
//!
//! A suppression is a stop with the reason `suppressed`. Pauses of an account and of everything are listed here; the
//! requests that set and end them are in `accounts.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::Value;

use super::body::Options;
use super::error::ApiError;
use super::socket::Actor;
use super::{Answer, App, AppState, Parameters, accounts, query, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids;
use crate::domain::message::AccountId;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use crate::store::{Stop, StopFilter, Stopped};
use crate::types::stop::{self as types, GoRequest, Lifted, StopBatch, StopRequest, StopVerdict};
use crate::types::{Page, Time};

/// Default and maximum number of stops per page.
const PAGE: [u32; 2] = [50, 500];

/// The fix for an unknown reason.
const REASONS: &str = "use stopped, suppressed, owner_wrote, out_of_office, account_paused or daemon_paused";

/// Maximum number of stops in one request.
const AT_ONCE: usize = 1000;

pub(super) async fn list(State(state): App, Query(parameters): Parameters) -> Answer<Page<types::Stop>> {
    let mut filter = filter(parameters)?;
    if let [key] = filter.keys.as_slice()
        && filter.scope == Some(StopScope::Person)
    {
        // As the stop was set; a key that cannot name a person has no stop.
        let key = ids::person_key("key", key).unwrap_or_else(|_| key.clone());
        let key = StopKey { scope: StopScope::Person, key, account_id: None };
        filter.keys = state.store.stop_keys(key).await?.into_iter().map(|stored| stored.key).collect();
    }
    let found = state
        .store
        .stops(&StopFilter { limit: filter.limit + 1, ..filter.clone() }, state.engine.now())
        .await?;
    let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let next = found.get(..page).filter(|_| found.len() > page).and_then(|page| page.last());
    let next_cursor = next.map(|stop| stop.id.to_string());
    Ok(Json(Page { data: found.into_iter().take(page).map(row).collect(), next_cursor }))
}

fn filter(parameters: Vec<(String, String)>) -> Result<StopFilter, ApiError> {
    let mut filter = StopFilter { limit: PAGE[0], ..StopFilter::default() };
    for (name, value) in parameters {
        let refuse = |fix: &str| {
            let problem = format!("is {value:?}");
            ApiError::invalid(&name, problem, fix)
        };
        match name.as_str() {
            "scope" => {
                let scope = StopScope::parse(&value);
                filter.scope =
                    Some(scope.ok_or_else(|| refuse("use all, account, campaign, person or chat"))?);
            }
            "reason" => {
                filter.reason = Some(StopReason::parse(&value).ok_or_else(|| refuse(REASONS))?);
            }
            "key" => filter.keys = vec![value.trim().to_owned()],
            "account_id" => filter.account_id = Some(AccountId::new(value)),
            "limit" => filter.limit = query::limit(&value, PAGE, query::NEXT)?,
            "cursor" => filter.after = value.parse().map_err(|_| query::bad_cursor())?,
            _unknown => {
                let known = ["scope", "key", "account_id", "reason", "limit", "cursor"];
                return Err(ApiError::unknown_field(&name, known));
            }
        }
    }
    Ok(filter)
}

pub(super) fn row(stop: Stop) -> types::Stop {
    let Stop { id, stop, at } = stop;
    let NewStop { key, reason, until, actor, note, .. } = stop;
    types::Stop {
        id,
        scope: key.scope.as_str().to_owned(),
        key: key.key,
        account_id: key.account_id.map(|id| id.as_str().to_owned()),
        reason: reason.as_str().to_owned(),
        until: until.map(Time),
        actor,
        note,
        at: at.into(),
    }
}

/// Sets one stop, or an array of them; of an array, each row has its own verdict.
pub(super) async fn stop(
    State(state): App,
    Actor(actor): Actor,
    Options(body): Options,
) -> Result<Response, ApiError> {
    let body = wire::json(&body)?;
    let (now, _dating) = state.engine.settled().await;
    match body {
        Value::Array(rows) if rows.len() > AT_ONCE => {
            let problem = format!("holds {} rows, {AT_ONCE} are allowed", rows.len());
            let refusal = FieldError::new(FieldErrorCode::TooLong, "", problem, "send them in parts");
            Err(ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal))
        }
        Value::Array(rows) => {
            Ok(Json(stop_rows(Arc::clone(&state), &actor, rows, now).await?).into_response())
        }
        one => {
            let stop = new_stop(&state, &actor, one, now)
                .map_err(|wrong| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
            let answer = set(Arc::clone(&state), vec![stop.clone()], now)
                .await?
                .pop()
                .ok_or_else(ApiError::internal)?;
            Ok(Json(stopped(&stop, &answer)).into_response())
        }
    }
}

async fn stop_rows(
    state: Arc<AppState>,
    actor: &str,
    rows: Vec<Value>,
    now: Timestamp,
) -> Result<StopBatch, ApiError> {
    let read: Vec<_> = rows.into_iter().map(|row| new_stop(&state, actor, row, now)).collect();
    let good: Vec<NewStop> = read.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
    let accepted = good.len();
    let mut done = set(state, good, now).await?.into_iter();
    let verdict = |(index, row): (usize, &Result<NewStop, Vec<FieldError>>)| match row {
        Ok(stop) => {
            let stopped = done.next().map(|done| stopped(stop, &done));
            StopVerdict { index, stopped, error: None, errors: None }
        }
        Err(wrong) => {
            let errors: Vec<_> = wrong.iter().map(crate::types::error::FieldError::from).collect();
            StopVerdict { index, stopped: None, error: errors.first().cloned(), errors: Some(errors) }
        }
    };
    let results = read.iter().enumerate().map(verdict).collect();
    Ok(StopBatch { accepted, refused: read.len() - accepted, results })
}

/// Sets stops and wakes the accounts that they concern, even if the client hangs up.
async fn set(state: Arc<AppState>, stops: Vec<NewStop>, now: Timestamp) -> Result<Vec<Stopped>, ApiError> {
    let work = Arc::clone(&state);
    state
        .spawn_detached(async move {
            let set = work.store.stop(stops, now).await?;
            wake(&work, set.iter().flat_map(|stopped| stopped.accounts.iter().cloned()).collect());
            Ok(set)
        })
        .await
}

fn wake(state: &AppState, accounts: HashSet<AccountId>) {
    accounts.into_iter().for_each(|account| state.engine.wake(account));
}

fn stopped(stop: &NewStop, stopped: &Stopped) -> types::Stopped {
    types::Stopped {
        id: stopped.id,
        scope: stop.key.scope.as_str().to_owned(),
        key: stop.key.key.clone(),
        account_id: stop.key.account_id.as_ref().map(|id| id.as_str().to_owned()),
        reason: stop.reason.as_str().to_owned(),
        until: stop.until.map(Time),
        already_stopped: stopped.already,
        messages: stopped.messages,
        in_flight: stopped.in_flight.iter().map(ToString::to_string).collect(),
        unresolved: stopped.unresolved.clone(),
    }
}

/// Reads a stop from a request of `actor`.
fn new_stop(state: &AppState, actor: &str, value: Value, now: Timestamp) -> Result<NewStop, Vec<FieldError>> {
    if !value.is_object() {
        let problem = "is not a stop, which is a JSON object";
        return Err(vec![FieldError::new(FieldErrorCode::WrongType, "", problem, "see docs/http.md")]);
    }
    let StopRequest { scope, key, account_id, reason, until, length, note } = wire::fields(value)?;
    let (scope, key) = (scope.unwrap_or_default(), key.unwrap_or_default());
    let mut wrong = Vec::new();
    let reason = match reason.as_deref() {
        None | Some("stopped") => StopReason::Stopped,
        Some("suppressed") => StopReason::Suppressed,
        Some(other) => {
            let fix = "use stopped or suppressed";
            let problem = format!("is {other:?}");
            wrong.push(FieldError::new(FieldErrorCode::InvalidValue, "reason", problem, fix));
            StopReason::Stopped
        }
    };
    let zone = account_id
        .as_ref()
        .map_or_else(jiff::tz::TimeZone::system, |id| state.engine.policy(&AccountId::new(id)).zone.clone());
    let key = StopKey::parse(&scope, &key, account_id.as_deref());
    let end = accounts::end([until, length], note.as_deref(), now, zone);
    match (key, end) {
        (Ok(key), Ok((until, has_length))) if wrong.is_empty() => {
            if reason == StopReason::Suppressed && until.is_some() {
                let problem = "has no end: a suppression lasts until it is removed";
                let fix = "leave it out, or set a stop without `reason`";
                return Err(vec![FieldError::new(FieldErrorCode::Contradiction, "until", problem, fix)]);
            }
            Ok(NewStop { key, reason, until, has_length, actor: actor.to_owned(), note })
        }
        (key, end) => {
            wrong.extend(key.err().into_iter().flatten());
            wrong.extend(end.err());
            Err(wrong)
        }
    }
}

/// Lifts stops: `{"scope", "key"}`, with `account_id` for those of one account, and with `reason` for a suppression.
pub(super) async fn go(State(state): App, Options(body): Options) -> Answer<Lifted> {
    let GoRequest { scope, key, account_id, reason } = wire::options(&body)?;
    let (scope, key) = (scope.unwrap_or_default(), key.unwrap_or_default());
    let key = StopKey::parse(&scope, &key, account_id.as_deref())
        .map_err(|wrong| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
    let reason = match reason {
        None => None,
        Some(word) => Some(StopReason::parse(&word).ok_or_else(|| {
            let problem = format!("is {word:?}");
            let refusal = FieldError::new(FieldErrorCode::InvalidValue, "reason", problem, REASONS);
            ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal)
        })?),
    };
    let work = Arc::clone(&state);
    let (lifted, remaining) = state
        .spawn_detached(async move {
            let (now, _dating) = work.engine.settled().await;
            let lifted = work.store.lift(key.clone(), reason, now).await?;
            work.engine.wake_freed(lifted.accounts.clone());
            let mut remaining = Vec::new();
            for key in work.store.stop_keys(key).await? {
                remaining.extend(work.store.remaining_stops(&key, now).await?);
            }
            Ok((lifted, remaining))
        })
        .await?;
    let remaining = remaining.into_iter().map(row).collect();
    Ok(Json(Lifted { stops: lifted.stops, messages: lifted.messages, remaining }))
}
