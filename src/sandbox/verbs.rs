//! The routes under `/sandbox` that change accounts and chats, and the one that serves attachments.
//!
//! Mounted by `http`. Each does what the method of the same name on `World` does. Bodies need no JSON content type,
//! which `curl -d` does not send. They are checked as strictly as the API's own.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::attachment;
use super::chat::ByHand;
use super::ledger::ForwardSource;
use super::reply::Problem;
use super::service::Service;
use super::strict::{Fields, Invalid};
use super::world::World;

/// Returns a refusal without a call number, since such a request is not in the ledger.
pub(super) fn refused(service: &Service, problem: Problem) -> Response {
    problem.reply(0).into_response(service.world.clock())
}

/// `POST /sandbox/accounts/{id}/{verb}`
pub(super) async fn tell_account(
    State(service): State<Service>,
    Path((account_id, verb)): Path<(String, String)>,
) -> Response {
    match verb.as_str() {
        "disconnect" => service.world.disconnect(&account_id),
        "restrict" => service.world.restrict(&account_id),
        "reconnect" => service.world.reconnect(&account_id),
        "lock" => service.world.lock(&account_id),
        "unlock" => service.world.unlock(&account_id),
        _ => {
            let known = "disconnect, restrict, reconnect, lock or unlock";
            let detail = format!("An account can be told {known}, not {verb}.");
            return refused(&service, Problem::resource_not_found("api", &detail));
        }
    }
    StatusCode::NO_CONTENT.into_response()
}

/// `PUT /sandbox/accounts/{id}`: what is not named stays unchanged.
pub(super) async fn set_account(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let fields = Fields::of(body, "", &["name", "provider", "status", "products"])?;
        let name = fields.optional_string("name")?;
        let provider = fields.optional_string("provider")?;
        let status = fields.optional_string("status")?;
        let products = fields.get("products").map(|products| pairs(&fields, products)).transpose()?;
        world.change_status(&account_id, |account| {
            let set = |value: Option<&str>, to: &mut String| {
                if let Some(value) = value {
                    value.clone_into(to);
                }
            };
            set(name, &mut account.name);
            set(provider, &mut account.provider);
            set(status, &mut account.status);
            if let Some(products) = products {
                account.products = products.into_iter().collect();
            }
        });
        Ok(())
    })
}

/// `PUT /sandbox/accounts/{id}/credits`: a product that is not named has no subscription.
pub(super) async fn set_credits(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let fields = Fields::of(body, "", &["classic", "sales_navigator", "recruiter"])?;
        let credits = |product| match fields.get(product) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => {
                let number = fields.integer(product, 0..=u64::from(u32::MAX))?;
                Ok(Some(u32::try_from(number).expect("the range ends at u32::MAX")))
            }
        };
        let (classic, navigator) = (credits("classic")?, credits("sales_navigator")?);
        world.set_credits(&account_id, classic, navigator, credits("recruiter")?);
        Ok(())
    })
}

/// `PUT /sandbox/accounts/{id}/inboxes`: replaces all of them.
pub(super) async fn set_inboxes(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let Value::Array(items) = body else {
            return Err(Invalid("the body must be an array of inboxes".to_owned()));
        };
        let inbox = |(index, item): (usize, &Value)| {
            let fields = Fields::of(item, &format!("[{index}]"), &["id", "disabled"])?;
            let disabled = fields.optional_boolean("disabled")?.unwrap_or(false);
            Ok((fields.string("id")?.to_owned(), disabled))
        };
        let inboxes = items.iter().enumerate().map(inbox).collect::<Result<Vec<_>, Invalid>>()?;
        world.set_inboxes(&account_id, inboxes);
        Ok(())
    })
}

/// `PUT /sandbox/accounts/{id}/chats`: creates a chat, with a user or as a group if users are named.
pub(super) async fn set_chat(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let fields = Fields::of(body, "", &["chat_id", "user_id", "users_ids", "name", "readonly"])?;
        let chat_id = fields.string("chat_id")?;
        let user_id = fields.optional_string("user_id")?;
        let name = fields.optional_string("name")?;
        let readonly = fields.optional_boolean("readonly")?;
        let all = fields.optional_array("users_ids")?;
        let users: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
        match (user_id, users) {
            (Some(user), Some(users)) if users.is_empty() => {
                world.add_chat_with_user(&account_id, user, chat_id);
            }
            (None, Some(users)) if users.is_empty() => world.add_chat(&account_id, chat_id),
            (None, Some(users)) => world.add_group(&account_id, chat_id, &users, name),
            _ => return Err(Invalid("users_ids must be an array of user ids, without user_id".to_owned())),
        }
        match readonly {
            Some(true) => world.set_readonly(&account_id, chat_id),
            Some(false) => world.set_writable(&account_id, chat_id),
            None => {}
        }
        Ok(())
    })
}

/// `POST /sandbox/accounts/{id}/messages`: a message that did not come through the API.
pub(super) async fn add_message(
    State(service): State<Service>,
    Path(account_id): Path<String>,
    body: Bytes,
) -> Response {
    changed(&service, &body, |world, body| {
        let known = [
            "chat_id",
            "id",
            "text",
            "is_sender",
            "sender_id",
            "timestamp",
            "attachments",
            "quote_id",
            "forward",
            "subject",
            "is_deleted",
            "is_edited",
        ];
        let fields = Fields::of(body, "", &known)?;
        let flag = |name| Ok::<_, Invalid>(fields.optional_boolean(name)?.unwrap_or(false));
        let at = fields
            .optional_string("timestamp")?
            .map(|text| text.parse().map_err(|_| Invalid(format!("timestamp must be a time, not {text:?}"))));
        let source = fields.optional_object("forward", &["chat_id", "message_id"])?.map(|source| {
            let (chat_id, message_id) = (source.string("chat_id")?, source.string("message_id")?);
            Ok::<_, Invalid>(ForwardSource { chat_id: chat_id.to_owned(), message_id: message_id.to_owned() })
        });
        let message = ByHand {
            id: fields.string("id")?.to_owned(),
            text: fields.string("text")?.to_owned(),
            is_sender: flag("is_sender")?,
            sender_id: fields.optional_string("sender_id")?.map(str::to_owned),
            at: at.transpose()?,
            attachments: attachment::read_all(&fields)?,
            quote_id: fields.optional_string("quote_id")?.map(str::to_owned),
            source: source.transpose()?,
            subject: fields.optional_string("subject")?.map(str::to_owned),
            is_deleted: flag("is_deleted")?,
            is_edited: flag("is_edited")?,
        };
        world.write_by_hand(&account_id, fields.string("chat_id")?, message);
        Ok(())
    })
}

/// `GET /sandbox/deliveries/{seq}/attachments/{n}`: the decoded bytes; the first attachment is 0.
pub(super) async fn attachment_of(
    State(service): State<Service>,
    Path((seq, index)): Path<(String, String)>,
) -> Response {
    let found = match (seq.parse(), index.parse()) {
        (Ok(seq), Ok(index)) => service.world.attachment(seq, index),
        _ => None,
    };
    let Some(attachment) = found else {
        let detail = format!("The ledger has no delivery {seq} with an attachment {index}.");
        return refused(&service, Problem::resource_not_found("api", &detail));
    };
    let Some(content) = attachment.shared_content() else {
        let detail = "This sandbox does not keep the content of attachments.";
        return refused(&service, Problem::resource_not_found("api", detail));
    };
    let unnamed = HeaderValue::from_static("application/octet-stream");
    let content_type = HeaderValue::from_str(&attachment.content_type).unwrap_or(unnamed);
    ([(header::CONTENT_TYPE, content_type)], Bytes::from_owner(content)).into_response()
}

/// Parses `body` as JSON, makes the change, and answers 204, or 400 with what is wrong.
pub(super) fn changed(
    service: &Service,
    body: &Bytes,
    change: impl FnOnce(&World, &Value) -> Result<(), Invalid>,
) -> Response {
    match parsed(body, |value| change(&service.world, value)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => refused(service, problem),
    }
}

/// Parses `body` as JSON and makes the change.
pub(super) fn parsed<T>(
    body: &Bytes,
    change: impl FnOnce(&Value) -> Result<T, Invalid>,
) -> Result<T, Problem> {
    let read =
        serde_json::from_slice(body).map_err(|error| Invalid(format!("the body is not JSON: {error}")));
    read.and_then(|value: Value| change(&value))
        .map_err(|Invalid(detail)| Problem::invalid_parameters("api", &detail))
}

/// Reads the products of an account and the status of each.
fn pairs(fields: &Fields<'_>, products: &Value) -> Result<Vec<(String, String)>, Invalid> {
    let wrong = || fields.wrong("products", "an object of strings", products);
    let Value::Object(map) = products else { return Err(wrong()) };
    map.iter()
        .map(|(name, status)| Ok((name.clone(), status.as_str().ok_or_else(wrong)?.to_owned())))
        .collect()
}
