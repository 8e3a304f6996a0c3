//! The routes: `/v2` as the API has it, and `/sandbox` for people and for tests in other processes.
//!
//! Everything under `/sandbox` needs no key, which is why the sandbox listens on loopback only. Durations are in
//! milliseconds. Errors have the format of the API's own, and name the field.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::json;

use super::faults::Fault;
use super::methods;
use super::people_verbs;
use super::reply::Problem;
use super::service::Service;
use super::verbs::{self, refused};

const GUIDE: &str = "\
This is the outboxd sandbox: a stand-in for the Unipile API v2 and LinkedIn. Nothing leaves this machine.

The API is under /v2, with the header X-API-KEY:

  POST /v2/{account}/inboxes/{inbox}/chats/send                   start a chat, also with a group or an InMail
  POST /v2/{account}/chats/send                                   the same without an inbox
  POST /v2/{account}/chats/{chat}/messages/send                   send a message
  POST /v2/{account}/chats/{chat}/messages/{message}/forward      forward a message
  POST /v2/{account}/chats/{chat}/composing?action=typing         show that somebody types
  GET  /v2/accounts/, /v2/accounts/{account}
  GET  /v2/{account}/inboxes
  GET  /v2/{account}/linkedin/inmail-credits
  GET  /v2/{account}/users/{user}, /v2/{account}/users/{user}/chat
  GET  /v2/{account}/chats, /v2/{account}/inboxes/{inbox}/chats
  GET  /v2/{account}/chats/{chat}, …/messages, …/messages/{message}
  POST /v2/webhooks/endpoints/                                    {\"url\": \"http://127.0.0.1:8080/hook\", \"trigger_events\":
                                                                  [\"message.new\"]}; also account_ids, description
  GET  /v2/webhooks/endpoints/, and GET, PATCH, DELETE /v2/webhooks/endpoints/{id}
  GET  /v2/webhooks/conversations/?endpoint_id=…                  every attempt to deliver an event

What is read below /v2/{account} is cached for an hour, or until the account's next POST, unless the request says
Cache-Control: no-cache; X-Cache and Age tell. What you change below is not noticed by that cache. Webhooks go to
loopback addresses over http only; for any other url the log shows a failure.

For you, without a key:

  GET    /sandbox/ledger?after_seq=N            what was delivered, oldest first
  DELETE /sandbox/ledger                        forget deliveries and calls
  GET    /sandbox/deliveries/{seq}/attachments/{n}   the bytes of an attachment; the first is 0
  GET    /sandbox/calls?after_seq=N             every request that arrived
  GET    /sandbox/count                         how many of both
  GET    /sandbox/faults                        what is still going to go wrong
  POST   /sandbox/faults                        let something go wrong (see below)
  DELETE /sandbox/faults                        let nothing go wrong any more
  POST   /sandbox/accounts/{id}/disconnect      every call answers 401
  POST   /sandbox/accounts/{id}/restrict        every call answers 403
  POST   /sandbox/accounts/{id}/reconnect       all is well again
  POST   /sandbox/accounts/{id}/lock, …/unlock  every call answers 403 because the subscription is not active
  PUT    /sandbox/accounts/{id}                 {\"name\": \"Ada\", \"status\": \"errored\", \"products\": {\"classic\": \"errored\"}}
  PUT    /sandbox/accounts/{id}/credits         {\"classic\": 3, \"recruiter\": 0}
  PUT    /sandbox/accounts/{id}/inboxes         [{\"id\": \"CLASSIC_PRIMARY\", \"disabled\": true}]
  PUT    /sandbox/accounts/{id}/chats           {\"chat_id\": \"2-abc\", \"user_id\": \"ACoA1\", \"readonly\": true}; a group:
                                                {\"chat_id\": \"2-abc\", \"users_ids\": [\"ACoA1\", \"ACoA2\"], \"name\": \"Team\"}
  POST   /sandbox/accounts/{id}/messages        {\"chat_id\": \"2-abc\", \"id\": \"m1\", \"text\": \"hi\", \"is_sender\": false}, written by
                                                hand; also sender_id, timestamp, attachments, quote_id, forward {\"chat_id\",
                                                \"message_id\"}, subject, is_deleted, is_edited
  PUT    /sandbox/people/{user}                 how a person behaves (see below)
  PUT    /sandbox/people/{user}/profile         {\"public_identifier\": \"jane-doe\", \"display_name\": \"Jane Doe\"}
  PUT    /sandbox/people                        how all others behave
  GET    /sandbox/people                        how they do
  POST   /sandbox/accounts/{id}/people/{user}/write     {\"text\": \"Hello!\"}; answers with chat_id and message_id
  POST   /sandbox/accounts/{id}/people/{user}/read      {\"chat_id\": \"2-abc\"}
  POST   /sandbox/accounts/{id}/people/{user}/connect   becomes a relation
  POST   /sandbox/accounts/{id}/events          {\"type\": \"follower.new\", \"payload\": {}}, any event at all
  GET, POST, DELETE /sandbox/webhooks/faults    what goes wrong with webhooks (see below)

A person receives a message at once, and does no more unless you say so:

  {\"delivered_after_ms\": 20, \"reads_after_ms\": 50, \"answer\": {\"after_ms\": 90, \"text\": \"Gladly.\"}}
  {\"out_of_office\": {\"after_ms\": 10, \"until\": \"2026-12-24\"}}      without until: no date
  {\"opts_out\": {\"after_ms\": 10, \"language\": \"de\"}}               en, de, fr, es, it, pt, nl
  {\"delivered_after_ms\": null}                                  receives nothing

A fault of a webhook, of which only \"kind\" is required; an event meets every fault that matches it:

  {\"account\": \"acc_1\", \"event\": \"message.new\", \"times\": 1, \"skip\": 0, \"kind\": {\"repeat\": 1}}

  kinds      {\"repeat\": 1}, \"two_ids\", \"reorder\" (after the next event), {\"delay_ms\": 500}, \"wrong_signature\",
             \"stale_signature\", \"missing_signature\", {\"is_sender\": \"number\"} (or \"absent\", \"always_false\"),
             {\"receipt\": [\"chat_id\", \"timestamp\"]} (of message_id, id, chat_id, user_id, timestamp), \"extra_fields\",
             {\"patch\": {\"type\": \"message.invented\"}} (a JSON merge patch of the event)

A fault, of which only \"kind\" is required (without \"times\" it lasts, without \"endpoint\" it meets every POST of an account):

  {\"account\": \"acc_1\", \"endpoint\": \"send_message\", \"times\": 1, \"skip\": 0, \"kind\": {\"cut\": {\"delivered\": true}}}

  endpoints  start_chat_from_inbox, start_chat, send_message, forward_message, set_composing, list_inboxes,
             get_inmail_credits, list_accounts, get_account, get_user, get_user_chat, list_chats, get_chat, list_messages,
             get_message, create_webhook_endpoint, list_webhook_endpoints, get_webhook_endpoint,
             update_webhook_endpoint, delete_webhook_endpoint, list_webhook_conversations
  kinds      {\"latency\": {\"before_delivery_ms\": 500}}, {\"latency_after_delivery_ms\": 500}, {\"slow_body_ms\": 500},
             {\"cut\": {\"delivered\": false}}, {\"half_answer\": {\"delivered\": true}},
             {\"garbage\": {\"status\": 502, \"delivered\": false}},
             {\"error\": {\"status\": 429, \"type\": \"api/too_many_requests\", \"retry_after\": 30, \"delivered\": false}}
";

/// Returns all routes, served by `service`.
pub(super) fn routes(service: Service) -> Router {
    let webhook_faults = get(people_verbs::webhook_faults)
        .post(people_verbs::add_webhook_fault)
        .delete(people_verbs::clear_webhook_faults);
    Router::new()
        .route("/", get(guide))
        .route("/sandbox/ledger", get(ledger).delete(clear_ledger))
        .route("/sandbox/calls", get(calls))
        .route("/sandbox/count", get(count))
        .route("/sandbox/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/sandbox/deliveries/{seq}/attachments/{n}", get(verbs::attachment_of))
        .route("/sandbox/accounts/{account_id}", put(verbs::set_account))
        .route("/sandbox/accounts/{account_id}/credits", put(verbs::set_credits))
        .route("/sandbox/accounts/{account_id}/inboxes", put(verbs::set_inboxes))
        .route("/sandbox/accounts/{account_id}/chats", put(verbs::set_chat))
        .route("/sandbox/accounts/{account_id}/messages", post(verbs::add_message))
        .route("/sandbox/accounts/{account_id}/events", post(people_verbs::raise))
        .route("/sandbox/accounts/{account_id}/people/{user_id}/write", post(people_verbs::write))
        .route("/sandbox/accounts/{account_id}/people/{user_id}/read", post(people_verbs::read))
        .route("/sandbox/accounts/{account_id}/people/{user_id}/connect", post(people_verbs::connect))
        .route("/sandbox/people", get(people_verbs::people).put(people_verbs::set_people))
        .route("/sandbox/people/{user_id}", put(people_verbs::set_person))
        .route("/sandbox/people/{user_id}/profile", put(people_verbs::set_profile))
        .route("/sandbox/webhooks/faults", webhook_faults)
        .route("/sandbox/accounts/{account_id}/{verb}", post(verbs::tell_account))
        .fallback(elsewhere)
        .with_state(service)
}

async fn elsewhere(State(service): State<Service>, request: Request) -> Response {
    let path = request.uri().path();
    if path == "/v2" || path.starts_with("/v2/") {
        return methods::answer(service, request).await;
    }
    let detail = format!("There is no {path} here; GET / says what there is.");
    refused(&service, Problem::resource_not_found("api", &detail))
}

async fn guide() -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], GUIDE).into_response()
}

async fn ledger(State(service): State<Service>, RawQuery(query): RawQuery) -> Response {
    match after_seq(query.as_deref()) {
        Ok(after) => Json(service.world.deliveries_after(after)).into_response(),
        Err(problem) => refused(&service, problem),
    }
}

async fn calls(State(service): State<Service>, RawQuery(query): RawQuery) -> Response {
    match after_seq(query.as_deref()) {
        Ok(after) => Json(service.world.calls_after(after)).into_response(),
        Err(problem) => refused(&service, problem),
    }
}

async fn count(State(service): State<Service>) -> Response {
    let world = &service.world;
    Json(json!({ "deliveries": world.delivered_count(), "calls": world.call_count() })).into_response()
}

async fn clear_ledger(State(service): State<Service>) -> StatusCode {
    service.world.clear_ledger();
    StatusCode::NO_CONTENT
}

async fn faults(State(service): State<Service>) -> Response {
    Json(service.world.faults()).into_response()
}

/// Accepts any content type: `curl -d` does not send JSON's, and should not need to.
async fn add_fault(State(service): State<Service>, body: Bytes) -> Response {
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => {
            service.world.add_fault(fault.clone());
            (StatusCode::CREATED, Json(fault)).into_response()
        }
        Err(error) => refused(&service, Problem::invalid_parameters("api", &error.to_string())),
    }
}

async fn clear_faults(State(service): State<Service>) -> StatusCode {
    service.world.clear_faults();
    StatusCode::NO_CONTENT
}

/// Parses the only query parameter there is; absent means from the start.
fn after_seq(query: Option<&str>) -> Result<u64, Problem> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(0) };
    let number = query.strip_prefix("after_seq=").and_then(|number| number.parse().ok());
    number.ok_or_else(|| {
        Problem::invalid_parameters("api", &format!("the query must be after_seq=NUMBER, not {query}"))
    })
}
