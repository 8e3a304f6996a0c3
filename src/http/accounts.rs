//! Account endpoints: list, show, pause and resume an account; pause and resume everything.
//!
//! Pausing and resuming wake the engine after the commit.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use futures_util::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::socket::Actor;
use super::{Answer, App, AppState, Parameters, account_snapshot, query, render, wire};
use crate::domain::account::Daemon;
use crate::domain::account_snapshot::AccountSnapshot;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::AccountId;
use crate::domain::specifics::Credit;
use crate::store::{
    self, AccountCursor, AccountFilter, AccountOrder, AccountView, Attention, PauseRequest, Scope,
};
use crate::types::account::{Account, AccountZone, Paused, ResumeRequest, Resumed, SentOnDay};
use crate::types::{self, Page, Time};

/// Maximum length of a pause's note, in characters.
const NOTE_CHARS: usize = 500;

/// Default and maximum number of accounts per page.
const PAGE: [u32; 2] = [50, 500];

/// Rows of a page that are read at the same time: a row waits for SQLite's threads more than it computes.
const ROWS_AT_ONCE: usize = 4;

pub(super) async fn list(State(state): App, Query(parameters): Parameters) -> Answer<Page<Account>> {
    let filter = filter(parameters)?;
    let daemon = state.store.daemon().await?;
    let page = state.store.account_page(&filter).await?;
    let ids: Vec<&AccountId> = page.accounts.iter().map(|view| &view.account.id).collect();
    let known = state.store.snapshots(&ids).await?;
    let mut rows = Vec::with_capacity(page.accounts.len());
    for view in &page.accounts {
        rows.push(row(&state, view, &daemon, known.get(&view.account.id)).boxed());
    }
    let data = stream::iter(rows).buffered(ROWS_AT_ONCE).try_collect().await?;
    Ok(Json(Page { data, next_cursor: page.next.as_ref().map(cursor_text) }))
}

pub(super) async fn show(State(state): App, Id(id): Id) -> Answer<Account> {
    let daemon = state.store.daemon().await?;
    let id = AccountId::new(id);
    let view =
        state.store.account(&id).await?.ok_or_else(|| ApiError::not_found(Missing::Account, id.as_str()))?;
    let known = state.store.snapshots(&[&id]).await?;
    row(&state, &view, &daemon, known.get(&id)).await.map(Json)
}

/// Returns the zone in which the times of an account are shown; an unknown account has the default policy's zone.
pub(super) async fn zone(State(state): App, Id(id): Id) -> Answer<AccountZone> {
    // The policy has the zone of an account even before its first message.
    let policy = state.engine.policy(&AccountId::new(id.clone()));
    let zone = render::zone(&policy.zone).to_owned();
    Ok(Json(AccountZone { account_id: Some(id), zone, now: Some(state.engine.now().into()) }))
}

/// Renders an account with the reason why it sends nothing now, its binding cap and Unipile's view of it.
async fn row(
    state: &AppState,
    view: &AccountView,
    daemon: &Daemon,
    known: Option<&AccountSnapshot>,
) -> Result<Account, ApiError> {
    let (wait_status, sent) = tokio::join!(
        state.engine.account_wait_status(view, daemon).boxed(),
        state.engine.sent(&view.account).boxed()
    );
    let (wait_status, (cap, days)) = (wait_status?, sent?);
    Ok(Account {
        cap: cap.as_ref().map(render::cap),
        sent_by_day: days.into_iter().map(|(date, sent)| SentOnDay::new(date, sent)).collect(),
        zone: Some(render::zone(&state.engine.policy(&view.account.id).zone).to_owned()),
        unipile: known.map(|known| account_snapshot::account_snapshot(state, known)),
        ..render::account(view, wait_status, state.engine.now())
    })
}

fn filter(parameters: Vec<(String, String)>) -> Result<AccountFilter, ApiError> {
    let refuse = |field: &str, problem: String, fix: &str| ApiError::invalid(field, problem, fix);
    let mut filter =
        AccountFilter { attention: Vec::new(), order: AccountOrder::default(), after: None, limit: PAGE[0] };
    for (name, value) in parameters {
        match name.as_str() {
            "attention" => {
                for word in value.split(',').map(str::trim) {
                    let fix = "use one or more of: person, waiting, none";
                    let attention = Attention::parse(word);
                    filter
                        .attention
                        .push(attention.ok_or_else(|| refuse(&name, format!("is {word:?}"), fix))?);
                }
            }
            "sort" => {
                filter.order = match value.as_str() {
                    "attention" => AccountOrder::Attention,
                    "id" => AccountOrder::Id,
                    other => return Err(refuse(&name, format!("is {other:?}"), "use attention or id")),
                }
            }
            "limit" => filter.limit = query::limit(&value, PAGE, query::NEXT)?,
            "cursor" => filter.after = Some(cursor(&value).ok_or_else(query::bad_cursor)?),
            _unknown => {
                let known = ["attention", "sort", "limit", "cursor"];
                return Err(ApiError::unknown_field(&name, known));
            }
        }
    }
    Ok(filter)
}

fn cursor_text(cursor: &AccountCursor) -> String {
    format!("{}:{}", cursor.attention.as_str(), cursor.id)
}

fn cursor(text: &str) -> Option<AccountCursor> {
    let (word, id) = text.split_once(':')?;
    Some(AccountCursor { attention: Attention::parse(word)?, id: id.to_owned() })
}

pub(super) async fn pause(
    State(state): App,
    Actor(actor): Actor,
    Id(id): Id,
    Options(body): Options,
) -> Answer<Paused> {
    pause_scope(state, actor, Some(id), &body).await
}

pub(super) async fn pause_everything(
    State(state): App,
    Actor(actor): Actor,
    Options(body): Options,
) -> Answer<Paused> {
    pause_scope(state, actor, None, &body).await
}

pub(super) async fn resume(State(state): App, Id(id): Id, Options(body): Options) -> Answer<Resumed> {
    resume_scope(state, Some(id), &body).await
}

pub(super) async fn resume_everything(State(state): App, Options(body): Options) -> Answer<Resumed> {
    resume_scope(state, None, &body).await
}

fn scope(account: Option<&String>) -> Scope {
    account.map_or(Scope::Everything, |id| Scope::Account(AccountId::new(id)))
}

async fn pause_scope(
    state: Arc<AppState>,
    actor: String,
    account: Option<String>,
    body: &[u8],
) -> Answer<Paused> {
    let zone =
        account.as_ref().map_or(TimeZone::UTC, |id| state.engine.policy(&AccountId::new(id)).zone.clone());
    let (now, _dating) = state.engine.settled().await;
    let request = PauseRequest { actor, ..pause_request(body, now, zone)? };
    let until = request.until;
    let scope = scope(account.as_ref());
    let work = Arc::clone(&state);
    let paused = state
        .spawn_detached(async move {
            let paused = work.store.pause(scope.clone(), request, now).await?;
            if paused != store::Paused::Unknown {
                wake(&work, scope).await?;
            }
            Ok(paused)
        })
        .await?;
    let already_paused = match paused {
        store::Paused::Unknown => {
            return Err(ApiError::not_found(Missing::Account, &account.unwrap_or_default()));
        }
        store::Paused::Done => false,
        store::Paused::Already => true,
    };
    let zone = |id: &String| render::zone(&state.engine.policy(&AccountId::new(id.clone())).zone).to_owned();
    let zone = account.as_ref().map(zone);
    Ok(Json(Paused { paused: true, already_paused, until: until.map(Time), account_id: account, zone }))
}

async fn resume_scope(state: Arc<AppState>, account: Option<String>, body: &[u8]) -> Answer<Resumed> {
    let ResumeRequest { lift_hold, restored } = wire::options(body)?;
    let (lift_hold, restored) = (lift_hold.unwrap_or(false), restored.unwrap_or(false));
    if restored && account.is_some() {
        let fix = "say it to everything: POST /v1/resume, or `outboxd resume --all --restored`";
        let problem = "concerns the whole queue and not one account";
        let refusal = FieldError::new(FieldErrorCode::Contradiction, "restored", problem, fix);
        return Err(ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal));
    }
    if let Some(id) = &account {
        rules_fit(&state, id).await?;
    }
    let scope = scope(account.as_ref());
    let work = Arc::clone(&state);
    let resumed = state
        .spawn_detached(async move {
            let (now, _dating) = work.engine.settled().await;
            let accepted = restored && work.store.accept_restored(now).await?;
            let resumed = work.store.resume(scope.clone(), lift_hold, now).await?;
            if resumed == store::Resumed::Unknown {
                return Ok(resumed);
            }
            if let (true, Scope::Account(id)) = (lift_hold, &scope) {
                // The credits are read again before one of these messages is sent.
                for credit in [Credit::Classic, Credit::Recruiter] {
                    work.store.release_inmails(id.clone(), credit, now).await?;
                }
            }
            wake(&work, scope).await?;
            Ok(if accepted { store::Resumed::Done } else { resumed })
        })
        .await?;
    let was_paused = match resumed {
        store::Resumed::Unknown => {
            return Err(ApiError::not_found(Missing::Account, &account.unwrap_or_default()));
        }
        store::Resumed::Done => true,
        store::Resumed::WasNotPaused => false,
    };
    let restored = match account {
        Some(_) => None,
        None => Some(state.store.daemon().await?.restored.as_ref().map(Into::into)),
    };
    Ok(Json(Resumed { resumed: true, was_paused, account_id: account, restored }))
}

/// Refuses to resume an account whose changed rules do not fit the configuration: it would send without them.
async fn rules_fit(state: &AppState, id: &str) -> Result<(), ApiError> {
    let account = AccountId::new(id);
    let rules = state.store.rules(&account).await?;
    let Err(refusals) = state.policy_resolver()(&account, &rules) else { return Ok(()) };
    let why = refusals.first().map(ToString::to_string).unwrap_or_default();
    let problem = format!("has changed rules that do not fit the configuration: {why}");
    let fix =
        format!("change or remove the rule: outboxd policy {id} RULE=VALUE, or RULE= for the configured one");
    Err(ApiError::one(
        StatusCode::CONFLICT,
        FieldError::new(FieldErrorCode::Contradiction, "account_id", problem, fix),
    ))
}

async fn wake(state: &AppState, scope: Scope) -> Result<(), ApiError> {
    match scope {
        Scope::Everything => state.engine.wake_everything().await?,
        Scope::Account(id) => state.engine.wake(id),
    }
    Ok(())
}

fn pause_request(body: &[u8], now: Timestamp, zone: TimeZone) -> Result<PauseRequest, ApiError> {
    let types::account::PauseRequest { until: date, length, note } = wire::options(body)?;
    let (until, has_length) = end([date, length], note.as_deref(), now, zone)
        .map_err(|refusal| ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal))?;
    Ok(PauseRequest { until, has_length, note, actor: String::new() })
}

/// Reads the end of a pause or stop, given as a date or as a length, and whether it is a length; checks its note.
pub(super) fn end(
    [date, length]: [Option<String>; 2],
    note: Option<&str>,
    now: Timestamp,
    zone: TimeZone,
) -> Result<(Option<Timestamp>, bool), FieldError> {
    let refuse = |field: &str, problem: String, fix: &str| {
        FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix)
    };
    let has_length = length.is_some();
    let until = match (date, length) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            return Err(refuse("for", "cannot be combined with `until`".to_owned(), "give one of them"));
        }
        (Some(text), None) => {
            let at = crate::domain::parse_time(&text).ok_or_else(|| {
                let fix = "write RFC 3339 with a zone, such as 2026-11-23T09:00:00+01:00";
                refuse("until", format!("is not a time: {text:?}"), fix)
            })?;
            Some(at)
        }
        (None, Some(text)) => {
            let span = text.trim().parse::<jiff::Span>().ok().filter(|span| span.is_positive());
            let ends = span.and_then(|span| now.to_zoned(zone).checked_add(span).ok());
            let ends = ends.ok_or_else(|| {
                refuse("for", format!("is not a length of time: {text:?}"), "write 30m, 2h or 1d")
            })?;
            Some(ends.timestamp())
        }
    };
    if until.is_some_and(|at| at <= now) {
        return Err(refuse("until", "has passed".to_owned(), "give a time in the future, or none"));
    }
    if note.is_some_and(|note| note.chars().count() > NOTE_CHARS || note.contains('\0')) {
        let problem = format!("is longer than {NOTE_CHARS} characters, or holds a NUL");
        return Err(refuse("note", problem, "shorten it"));
    }
    Ok((until.map(crate::domain::whole_milliseconds), has_length))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_day_is_a_day_of_the_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let autumn: Timestamp = "2026-10-24T12:00:00Z".parse().unwrap();
        let later = |length: &str| {
            let request =
                pause_request(json!({ "for": length }).to_string().as_bytes(), autumn, zone.clone());
            let request = request.ok().unwrap();
            assert!(request.has_length);
            request.until.unwrap().to_string()
        };
        assert_eq!(later("1d"), "2026-10-25T13:00:00Z", "25 hours");
        assert_eq!(later("PT24H"), "2026-10-25T12:00:00Z");
        for wrong in [
            json!({ "for": "-2h" }),
            json!({ "for": "soon" }),
            json!({ "for": "2h", "until": "2027-01-01T00:00:00Z" }),
        ] {
            assert!(pause_request(wrong.to_string().as_bytes(), autumn, zone.clone()).is_err(), "{wrong}");
        }
    }
}
