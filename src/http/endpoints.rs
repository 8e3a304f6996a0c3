//! The endpoint of webhooks at Unipile: registers, lists, tests and removes it.
//!
//! The daemon makes the requests (`engine/endpoints.rs`). No answer holds a secret (P8).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde_json::json;

use super::body::Options;
use super::error::ApiError;
use super::{Answer, App, wire};
use crate::domain::endpoint::{MAX_URL_CHARS, TEST_EVENT, TestPost, WantedEndpoint};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids;
use crate::domain::message::AccountId;
use crate::engine::{Endpoint, EndpointError};
use crate::inbound;
use crate::store::StoredEndpoint;
use crate::types::Time;
use crate::types::webhook::{
    ReceivedKind, RegisterRequest, Registered, Removed, TestRequest, Tested, WebhookDelivery,
    WebhookEndpoint, WebhookList,
};

/// The path of the listener.
const PATH: &str = "/webhooks/unipile";

pub(super) async fn register(State(state): App, Options(body): Options) -> Answer<Registered> {
    let RegisterRequest { url, account_ids } = wire::options(&body)?;
    let wrong = |refusal| ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal);
    let url = url_of(url.as_deref().unwrap_or_default()).map_err(wrong)?;
    let accounts = account_ids.unwrap_or_default();
    let accounts: Result<Vec<_>, _> = accounts.iter().map(|id| ids::account("account_ids", id)).collect();
    let account_ids = accounts.map_err(wrong)?.into_iter().map(AccountId::new).collect();
    let events = state.webhook_events();
    let work = Arc::clone(&state);
    let (stored, created) = state
        .spawn_detached(async move {
            let wanted = WantedEndpoint { url, events: events.clone(), account_ids };
            let registered = work.engine.register_endpoint(wanted).await;
            let (stored, created) = registered.map_err(|error| refused(&error, &events))?;
            if let Some(webhooks) = &work.webhooks {
                webhooks.set_registered([stored.secret.clone()]);
            }
            tracing::info!(endpoint_id = stored.id, created, "the webhook endpoint is registered");
            Ok((stored, created))
        })
        .await?;
    let listen = state.webhooks.as_ref().map(|webhooks| webhooks.address().to_string());
    Ok(Json(Registered { created, endpoint: of_stored(&stored, Some(true)), listen }))
}

pub(super) async fn list(State(state): App) -> Answer<WebhookList> {
    let stored = state.store.webhook_endpoints().await?;
    let kinds = state.store.webhook_kinds().await?;
    let received = kinds.into_iter().map(|one| ReceivedKind {
        kind: one.kind,
        count: one.count,
        last_at: Time(one.last_at),
    });
    let (endpoints, deliveries, problem) = match state.engine.endpoints().await {
        Ok(found) => {
            let shown = found.endpoints.iter().map(|one| of_found(one, &stored));
            let is_gone = |one: &&StoredEndpoint| found.endpoints.iter().all(|found| found.id != one.id);
            let gone = stored.iter().filter(is_gone).map(|one| of_stored(one, None));
            (shown.chain(gone).collect(), found.deliveries, None)
        }
        Err(EndpointError::Store(error)) => return Err(error.into()),
        Err(error) => {
            let endpoints = stored.iter().map(|one| of_stored(one, None)).collect();
            (endpoints, Vec::new(), Some(error.to_string()))
        }
    };
    let delivery = |one: crate::engine::Delivery| WebhookDelivery {
        at: one.at.map(Time),
        kind: one.kind,
        event_id: one.event_id,
        status: one.status,
        first_attempt: one.is_first,
    };
    let deliveries = deliveries.into_iter().map(delivery).collect();
    Ok(Json(WebhookList { endpoints, received: received.collect(), deliveries, problem }))
}

pub(super) async fn remove(State(state): App) -> Answer<Removed> {
    let work = Arc::clone(&state);
    let removed = state
        .spawn_detached(async move {
            let removed = work.engine.remove_endpoint().await.map_err(|error| refused(&error, &[]))?;
            if let Some(webhooks) = work.webhooks.as_ref().filter(|_| removed.is_some()) {
                webhooks.set_registered([]);
            }
            Ok(removed)
        })
        .await?;
    let (id, was_there) = removed.ok_or_else(not_registered)?;
    tracing::info!(endpoint_id = id, was_there, "the webhook endpoint is removed");
    Ok(Json(Removed { id, was_there, listens_without_secret: state.listens_without_secret() }))
}

pub(super) async fn test(State(state): App, Options(body): Options) -> Answer<Tested> {
    let TestRequest { local, unsigned } = wire::options(&body)?;
    let Some(webhooks) = &state.webhooks else {
        let fix = "set webhooks.listen and restart the daemon";
        return Err(conflict("the daemon has no listener for webhooks", fix));
    };
    let stored = state.store.webhook_endpoints().await?.pop();
    let (url, secret) = match (local, stored) {
        (true, _) => {
            let mut address = webhooks.address();
            if address.ip().is_unspecified() {
                address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            (format!("http://{address}{PATH}"), webhooks.secret().ok_or_else(not_registered)?)
        }
        (false, stored) => {
            let stored = stored.ok_or_else(not_registered)?;
            (stored.url, stored.secret)
        }
    };
    let now = state.engine.now();
    let event_id = format!("evt_outboxd_test_{}", now.as_microsecond());
    let event = json!({ "id": event_id, "type": TEST_EVENT, "created_at": Time(now), "payload": {} });
    let body = event.to_string();
    let signature = (!unsigned).then(|| inbound::sign(&secret, now, body.as_bytes()));
    let answer = state.engine.post_test(TestPost { url: url.clone(), signature, body }).await;
    let (ok, verdict) = if unsigned {
        let is_refused = matches!(&answer, Ok((401, said)) if said.contains(inbound::UNSIGNED));
        let verdict = if is_refused { REFUSED } else { verdict(&answer, false, local) };
        (is_refused, verdict)
    } else {
        let is_stored = state.store.has_webhook(&event_id).await?;
        (is_stored, verdict(&answer, is_stored, local))
    };
    let verdict = verdict.to_owned();
    let (status, answer) = match answer {
        Ok((status, answer)) => (Some(status), answer),
        Err(why) => (None, why),
    };
    Ok(Json(Tested { url, ok, status, answer, verdict }))
}

/// What the refusal of a delivery without a signature means.
const REFUSED: &str =
    "the address leads to the listener, which refused the delivery without a signature, as it must";

/// Returns what an answer means, and what to check.
fn verdict(answer: &Result<(u16, String), String>, is_stored: bool, is_local: bool) -> &'static str {
    match answer {
        Ok((200..=299, _)) if is_stored => "the delivery arrived, was verified and is stored",
        _ if is_stored => {
            "the delivery is stored, but its answer did not come back whole: let the proxy pass the answer on unchanged"
        }
        Ok((200..=299, _)) => {
            "something else answered: let the reverse proxy pass POST /webhooks/unipile on to webhooks.listen of this daemon"
        }
        Ok((300..=399, _)) => {
            "the address redirects, and Unipile may not follow: register the address that answers itself"
        }
        Ok((401, answer)) if answer.contains("stale") => {
            "the delivery arrived, but its time is outside webhooks.tolerance: check this machine's clock"
        }
        Ok((401 | 403, answer)) if answer.contains("signature") => {
            "the delivery arrived changed: let the proxy pass on the header unipile-signature and the body byte for byte"
        }
        Ok((401 | 403, _)) => "the proxy asks for a login: exempt POST /webhooks/unipile from it",
        Ok((404 | 405, _)) => {
            "nothing takes POST at this address: check the path in the registered address and in the reverse proxy"
        }
        Ok((502..=504, _)) => {
            "the proxy does not reach the listener: compare its target with webhooks.listen; `outboxd webhook test --local` leaves the proxy out"
        }
        Ok(_) => "the address refused the delivery: the log of the reverse proxy says why",
        Err(_) if is_local => "the listener does not answer: the log of the daemon says why",
        Err(_) => {
            "the address cannot be reached from here: check its name in DNS, the certificate, and the firewall; `outboxd webhook test --local` leaves all of them out"
        }
    }
}

/// Checks a public address: https, or http on this machine.
fn url_of(url: &str) -> Result<String, FieldError> {
    let url = url.trim();
    let fix = "give the public address, such as https://hooks.example.com/webhooks/unipile";
    let refuse = |code, problem: String| Err(FieldError::new(code, "url", problem, fix));
    if url.is_empty() {
        return refuse(FieldErrorCode::MissingField, "is missing".to_owned());
    }
    let length = url.chars().count();
    if length > MAX_URL_CHARS {
        let problem = format!("has {length} characters; Unipile takes {MAX_URL_CHARS}");
        return refuse(FieldErrorCode::TooLong, problem);
    }
    let parsed: Option<Uri> = url.parse().ok().filter(|_| !url.contains('#'));
    let host = parsed.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
    let (Some(uri), Some(host)) = (&parsed, host) else {
        return refuse(FieldErrorCode::InvalidValue, "is not an address with a host".to_owned());
    };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return refuse(FieldErrorCode::InvalidValue, "holds a user name or a password".to_owned());
    }
    let is_loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match uri.scheme_str() {
        Some("https") => Ok(url.to_owned()),
        Some("http") if is_loopback => Ok(url.to_owned()),
        Some("http") => {
            let problem = "is http: everyone on the way could read what people write".to_owned();
            refuse(FieldErrorCode::InvalidValue, problem)
        }
        _ => refuse(FieldErrorCode::InvalidValue, "does not begin with https://".to_owned()),
    }
}

fn of_stored(stored: &StoredEndpoint, enabled: Option<bool>) -> WebhookEndpoint {
    WebhookEndpoint {
        id: stored.id.clone(),
        url: stored.url.clone(),
        events: stored.events.clone(),
        account_ids: stored.account_ids.iter().map(|id| id.as_str().to_owned()).collect(),
        enabled,
        registered: true,
        registered_at: Some(Time(stored.registered_at)),
    }
}

fn of_found(found: &Endpoint, stored: &[StoredEndpoint]) -> WebhookEndpoint {
    let ours = stored.iter().find(|one| one.id == found.id);
    WebhookEndpoint {
        id: found.id.clone(),
        url: found.url.clone(),
        events: found.events.clone(),
        account_ids: found.account_ids.iter().map(|id| id.as_str().to_owned()).collect(),
        enabled: Some(found.enabled),
        registered: ours.is_some(),
        registered_at: ours.map(|one| Time(one.registered_at)),
    }
}

/// Returns the refusal of a request to Unipile; `events` are those that it asked for.
fn refused(error: &EndpointError, events: &[String]) -> ApiError {
    let problem = match error {
        EndpointError::Store(_) => return ApiError::internal(),
        EndpointError::Busy => {
            let what = format!("Unipile was not asked: {error}");
            let refusal = FieldError::new(
                FieldErrorCode::Unavailable,
                "",
                what,
                "`outboxd status` says whether the API answers; try again",
            );
            return ApiError::one(StatusCode::SERVICE_UNAVAILABLE, refusal);
        }
        EndpointError::Provider(problem) => problem,
    };
    let said = problem.to_string();
    let named: Vec<&str> = events.iter().map(String::as_str).filter(|name| said.contains(*name)).collect();
    if problem.is_final() && said.contains("event") && !events.is_empty() {
        let what = match named.as_slice() {
            [] => format!("Unipile refuses the endpoint: {said}; asked for: {}", events.join(", ")),
            _ => format!("Unipile refuses the endpoint: {said}"),
        };
        let fix = "leave the event that it does not know out of webhooks.events, reload the configuration (SIGHUP) and register again";
        let refusal = FieldError::new(FieldErrorCode::InvalidValue, "webhooks.events", what, fix);
        return ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal);
    }
    let what = format!("Unipile refuses or does not answer: {said}");
    let fix = "try again; what it did all the same is found and taken over";
    let status = if problem.is_final() { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
    let code = if problem.is_final() { FieldErrorCode::WrongState } else { FieldErrorCode::Unavailable };
    ApiError::one(status, FieldError::new(code, "", what, fix))
}

fn not_registered() -> ApiError {
    conflict("no webhook endpoint is registered", "register one with `outboxd webhook register --url URL`")
}

fn conflict(problem: &str, fix: &str) -> ApiError {
    ApiError::one(StatusCode::CONFLICT, FieldError::new(FieldErrorCode::WrongState, "", problem, fix))
}
