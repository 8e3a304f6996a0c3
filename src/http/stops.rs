//! Stop endpoints: stop sending to a person, into a chat or of a campaign; list and lift stops (P5).
//!
//! A suppression is a stop with the reason `suppressed`. Pauses of an account and of everything are in `accounts.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::{AppState, accounts, render, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::json;
use crate::domain::message::AccountId;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use crate::store::{Stop, StopFilter, Stopped};

/// The fields of a stop, in the order of the documentation.
const FIELDS: [&str; 7] = ["scope", "key", "account_id", "reason", "until", "for", "note"];

/// Default and maximum number of stops per page.
const PAGE: [u32; 2] = [50, 500];

/// Maximum number of stops in one request.
const AT_ONCE: usize = 1000;

pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    let filter = filter(parameters)?;
    let found = state.store.stops(&StopFilter { limit: filter.limit + 1, ..filter.clone() }).await?;
    let page = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let next = found.get(..page).filter(|_| found.len() > page).and_then(|page| page.last());
    let next = next.map(|stop| stop.id.to_string());
    let data: Vec<Value> = found.iter().take(page).map(row).collect();
    Ok(Json(json!({ "data": data, "next_cursor": next })))
}

fn filter(parameters: Vec<(String, String)>) -> Result<StopFilter, ApiError> {
    let mut filter = StopFilter { limit: PAGE[0], ..StopFilter::default() };
    for (name, value) in parameters {
        let refuse = |fix: &str| {
            let problem = format!("is {value:?}");
            ApiError::bad_request(FieldError::new(FieldErrorCode::InvalidValue, &name, problem, fix))
        };
        match name.as_str() {
            "scope" => {
                let scope = StopScope::parse(&value);
                filter.scope = Some(scope.ok_or_else(|| refuse("use person, chat or campaign"))?);
            }
            "reason" => {
                let reason = StopReason::parse(&value);
                let fix = "use stopped, suppressed, owner_wrote or out_of_office";
                filter.reason = Some(reason.ok_or_else(|| refuse(fix))?);
            }
            "key" => filter.key = Some(value),
            "account_id" => filter.account_id = Some(AccountId::new(value)),
            "limit" => filter.limit = wire::limit(&value, PAGE[1])?,
            "cursor" => {
                let fix = "give next_cursor of the page before, as it came";
                filter.after = value.parse().map_err(|_| refuse(fix))?;
            }
            _unknown => {
                let known = ["scope", "key", "account_id", "reason", "limit", "cursor"];
                return Err(ApiError::bad_request(FieldError::unknown_field(&name, known)));
            }
        }
    }
    Ok(filter)
}

/// Renders a stop.
fn row(stop: &Stop) -> Value {
    let Stop { id, stop, at } = stop;
    let NewStop { key, reason, until, actor, note, .. } = stop;
    json!({
        "id": id,
        "scope": key.scope.as_str(),
        "key": key.key,
        "account_id": key.account_id.as_ref().map(AccountId::as_str),
        "reason": reason.as_str(),
        "until": render::time(*until),
        "actor": actor,
        "note": note,
        "at": render::time(Some(*at)),
    })
}

/// Sets one stop, or an array of them; of an array, each row has its own verdict.
pub(super) async fn stop(State(state): State<Arc<AppState>>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let body = json::parse(&body).map_err(|error| ApiError::bad_request(wire::unreadable(&error, None)))?;
    let now = state.engine.settled_now().await;
    match body {
        Value::Array(rows) if rows.len() > AT_ONCE => {
            let problem = format!("holds {} rows, {AT_ONCE} are allowed", rows.len());
            let refusal = FieldError::new(FieldErrorCode::TooLong, "", problem, "send them in parts");
            Err(ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal))
        }
        Value::Array(rows) => stop_rows(state, rows, now).await,
        one => {
            let stop = new_stop(&state, one, now)
                .map_err(|wrong| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
            let answer = set(state, vec![stop.clone()], now).await?.pop().ok_or_else(ApiError::internal)?;
            Ok(Json(stopped(&stop, &answer)))
        }
    }
}

async fn stop_rows(state: Arc<AppState>, rows: Vec<Value>, now: Timestamp) -> Result<Json<Value>, ApiError> {
    let read: Vec<_> = rows.into_iter().map(|row| new_stop(&state, row, now)).collect();
    let good: Vec<NewStop> = read.iter().filter_map(|row| row.as_ref().ok()).cloned().collect();
    let accepted = good.len();
    let mut done = set(state, good, now).await?.into_iter();
    let mut results = Vec::with_capacity(read.len());
    for (index, row) in read.iter().enumerate() {
        let mut result = match row {
            Ok(stop) => done.next().map_or(Value::Null, |done| stopped(stop, &done)),
            Err(wrong) => {
                let errors: Vec<Value> = wrong.iter().map(super::error::refusal_json).collect();
                json!({ "error": errors.first(), "errors": errors })
            }
        };
        result["index"] = json!(index);
        results.push(result);
    }
    Ok(Json(json!({ "accepted": accepted, "refused": read.len() - accepted, "results": results })))
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

fn stopped(stop: &NewStop, stopped: &Stopped) -> Value {
    let in_flight: Vec<String> = stopped.in_flight.iter().map(ToString::to_string).collect();
    json!({
        "id": stopped.id,
        "scope": stop.key.scope.as_str(),
        "key": stop.key.key,
        "account_id": stop.key.account_id.as_ref().map(AccountId::as_str),
        "reason": stop.reason.as_str(),
        "until": render::time(stop.until),
        "already_stopped": stopped.already,
        "messages": stopped.messages,
        "in_flight": in_flight,
    })
}

/// Reads a stop from a request.
fn new_stop(state: &AppState, value: Value, now: Timestamp) -> Result<NewStop, Vec<FieldError>> {
    let Value::Object(mut object) = value else {
        let problem = format!("a stop is a JSON object, not {}", wire::kind(&value));
        return Err(vec![FieldError::new(FieldErrorCode::WrongType, "", problem, "see docs/http.md")]);
    };
    let mut wrong: Vec<FieldError> = object
        .keys()
        .filter(|name| !FIELDS.contains(&name.as_str()))
        .map(|name| FieldError::unknown_field(name, FIELDS))
        .collect();
    let word = |object: &mut Map<String, Value>, name: &str, wrong: &mut Vec<FieldError>| {
        wire::string(object, name, wrong).unwrap_or_default()
    };
    let scope = word(&mut object, "scope", &mut wrong);
    let key = word(&mut object, "key", &mut wrong);
    let account_id = wire::string(&mut object, "account_id", &mut wrong);
    let reason = match wire::string(&mut object, "reason", &mut wrong).as_deref() {
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
    let end = [wire::string(&mut object, "until", &mut wrong), wire::string(&mut object, "for", &mut wrong)];
    let note = wire::string(&mut object, "note", &mut wrong);
    let key = StopKey::parse(&scope, &key, account_id.as_deref());
    let end = accounts::end(end, note.as_deref(), now, zone);
    match (key, end) {
        (Ok(key), Ok((until, has_length))) if wrong.is_empty() => {
            if reason == StopReason::Suppressed && until.is_some() {
                let problem = "has no end: a suppression lasts until it is removed";
                let fix = "leave it out, or set a stop without `reason`";
                return Err(vec![FieldError::new(FieldErrorCode::Contradiction, "until", problem, fix)]);
            }
            Ok(NewStop { key, reason, until, has_length, actor: "operator".to_owned(), note })
        }
        (key, end) => {
            wrong.extend(key.err().into_iter().flatten());
            wrong.extend(end.err());
            Err(wrong)
        }
    }
}

/// Lifts stops: `{"scope", "key"}`, with `account_id` for those of one account, and with `reason` for a suppression.
pub(super) async fn go(State(state): State<Arc<AppState>>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let mut options = wire::options(&body, &["scope", "key", "account_id", "reason"])?;
    let mut option = |name: &str| wire::option_string(&mut options, name);
    let (scope, key) = (option("scope")?.unwrap_or_default(), option("key")?.unwrap_or_default());
    let (account_id, reason) = (option("account_id")?, option("reason")?);
    let key = StopKey::parse(&scope, &key, account_id.as_deref())
        .map_err(|wrong| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))?;
    let reason = match reason {
        None => None,
        Some(word) => Some(StopReason::parse(&word).ok_or_else(|| {
            let fix = "use stopped, suppressed, owner_wrote or out_of_office";
            let refusal =
                FieldError::new(FieldErrorCode::InvalidValue, "reason", format!("is {word:?}"), fix);
            ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal)
        })?),
    };
    let now = state.engine.settled_now().await;
    let work = Arc::clone(&state);
    let lifted = state
        .spawn_detached(async move {
            let lifted = work.store.lift(key, reason, now).await?;
            wake(&work, lifted.accounts.clone());
            Ok(lifted)
        })
        .await?;
    Ok(Json(json!({ "stops": lifted.stops, "messages": lifted.messages })))
}
