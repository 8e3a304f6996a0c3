//! The routes under `/sandbox` for webhooks and for people who receive, read and answer.
//!
//! Mounted by `http`, in the manner of `verbs`. Each does what the method of the same name on `World` does.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::people;
use super::profiles;
use super::reply::Problem;
use super::service::Service;
use super::strict::Fields;
use super::verbs::{changed, parsed, refused};
use super::webhook_faults::WebhookFault;

/// `GET /sandbox/people`
pub(super) async fn people(State(service): State<Service>) -> Response {
    let (people, others) = service.world.people();
    Json(json!({ "people": people, "others": others })).into_response()
}

/// `PUT /sandbox/people`: those who have no behaviour of their own.
pub(super) async fn set_people(State(service): State<Service>, body: Bytes) -> Response {
    changed(&service, &body, |world, body| {
        world.set_people(people::read(body)?);
        Ok(())
    })
}

/// `PUT /sandbox/people/{user_id}`
pub(super) async fn set_person(
    State(service): State<Service>,
    Path(user_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        world.set_person(&user_id, people::read(body)?);
        Ok(())
    })
}

/// `PUT /sandbox/people/{user_id}/profile`: what LinkedIn shows of a person.
pub(super) async fn set_profile(
    State(service): State<Service>,
    Path(user_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        world.set_profile(&user_id, profiles::read(body)?);
        Ok(())
    })
}

/// `POST /sandbox/accounts/{id}/people/{user_id}/write`: a person writes first, or again.
pub(super) async fn write(
    State(service): State<Service>,
    Path((account_id, user_id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    let written = parsed(&body, |body| {
        let text = Fields::of(body, "", &["text"])?.string("text")?.to_owned();
        Ok(service.world.person_writes(&account_id, &user_id, &text))
    });
    match written {
        Ok(written) => {
            let answer = json!({ "chat_id": written.chat_id, "message_id": written.message_id });
            (StatusCode::CREATED, Json(answer)).into_response()
        }
        Err(problem) => refused(&service, problem),
    }
}

/// `POST /sandbox/accounts/{id}/people/{user_id}/read`: a person reads all that the account wrote into a chat.
pub(super) async fn read(
    State(service): State<Service>,
    Path((account_id, user_id)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let chat_id = Fields::of(body, "", &["chat_id"])?.string("chat_id")?;
        world.person_reads(&account_id, chat_id, &user_id);
        Ok(())
    })
}

/// `POST /sandbox/accounts/{id}/people/{user_id}/connect`: a person becomes a relation.
pub(super) async fn connect(
    State(service): State<Service>,
    Path((account_id, user_id)): Path<(String, String)>,
) -> StatusCode {
    service.world.connect_with(&account_id, &user_id);
    StatusCode::NO_CONTENT
}

/// `POST /sandbox/accounts/{id}/events`: any event at all.
pub(super) async fn raise(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let fields = Fields::of(body, "", &["type", "payload"])?;
        world.raise(&account_id, fields.string("type")?, fields.required("payload")?.clone());
        Ok(())
    })
}

/// `GET /sandbox/webhooks/faults`
pub(super) async fn webhook_faults(State(service): State<Service>) -> Response {
    Json(service.world.webhook_faults()).into_response()
}

/// `POST /sandbox/webhooks/faults`
pub(super) async fn add_webhook_fault(State(service): State<Service>, body: Bytes) -> Response {
    match serde_json::from_slice::<WebhookFault>(&body) {
        Ok(fault) => {
            service.world.add_webhook_fault(fault.clone());
            (StatusCode::CREATED, Json(fault)).into_response()
        }
        Err(error) => refused(&service, Problem::invalid_parameters("api", &error.to_string())),
    }
}

/// `DELETE /sandbox/webhooks/faults`
pub(super) async fn clear_webhook_faults(State(service): State<Service>) -> StatusCode {
    service.world.clear_webhook_faults();
    StatusCode::NO_CONTENT
}
