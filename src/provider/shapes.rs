//! Parses Unipile's messages and chats from the JSON of a read.
//!
//! Called by `reads.rs`. A missing field that the description promises is an error; an optional field that is missing
//! stays unknown. Unknown is never turned into an answer.

use jiff::Timestamp;
use serde_json::Value;

use crate::domain::ids;
use crate::domain::message::{ChatId, UserId};
use crate::domain::observed::{Member, ObservedAttachment, ObservedGroup, ObservedMessage, Pointer, Unread};
use crate::domain::outcome::ProviderError;
use crate::domain::person::{Distance, Person};

type Result<T> = std::result::Result<T, Unread>;

pub(super) fn message(value: &Value) -> Result<ObservedMessage> {
    let attachments = value.get("attachments").and_then(Value::as_array).into_iter().flatten();
    let is = |field| flag(value, field) == Some(true);
    let is_sender = if is("is_event") { Some(false) } else { flag(value, "is_sender") };
    Ok(ObservedMessage {
        id: required(value, "id")?,
        is_sender,
        sender_id: sender(value),
        at: time(value, "timestamp")?.ok_or_else(|| odd("timestamp", value))?,
        text: text(value, "text").unwrap_or_default(),
        attachments: attachments.map(attachment).collect(),
        quote: pointer(value, "quoted"),
        forward: pointer(value, "forwarded"),
        subject: value.get("specifics").and_then(|own| text(own, "subject")).filter(|text| !text.is_empty()),
        is_deleted: is("is_deleted"),
        is_edited: is("is_edited"),
        is_silent: is("is_event") || is("is_hidden"),
        is_seen: is("is_seen"),
        is_delivered: is("is_delivered"),
    })
}

fn sender(message: &Value) -> Option<String> {
    let id = text(message, "sender_id").or_else(|| text(message.get("sender")?, "id"));
    id.filter(|id| !id.trim().is_empty()).map(|id| ids::shown_user(&id))
}

fn pointer(value: &Value, field: &str) -> Option<Pointer> {
    let other = value.get(field).filter(|other| other.is_object())?;
    Some(Pointer { id: text(other, "id"), text: text(other, "text") })
}

fn attachment(file: &Value) -> ObservedAttachment {
    ObservedAttachment {
        filename: text(file, "filename"),
        size: file.get("file_size").and_then(whole),
        content_type: text(file, "mimetype"),
    }
}

/// Reads a whole number, which may be written with a fraction of zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number of a size that a file has"
)]
fn whole(value: &Value) -> Option<u64> {
    let is_whole = |number: &f64| number.fract() == 0.0 && (0.0..1e15).contains(number);
    value.as_u64().or_else(|| value.as_f64().filter(is_whole).map(|number| number as u64))
}

/// Reads a flag; some answers write it as 0 or 1.
fn flag(value: &Value, field: &str) -> Option<bool> {
    match value.get(field)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_u64() == Some(1) => Some(true),
        Value::Number(number) if number.as_u64() == Some(0) => Some(false),
        _ => None,
    }
}

pub(super) fn group(value: &Value) -> Result<ObservedGroup> {
    let last_message_at = match time(value, "last_message_timestamp")? {
        Some(at) => Some(at),
        None => time(value, "updated_at")?,
    };
    let chat_id = ChatId::new(required(value, "id")?);
    Ok(ObservedGroup { chat_id, name: text(value, "name"), last_message_at, members: members(value) })
}

/// Returns all participants but the account itself, if the chat lists all of them.
fn members(chat: &Value) -> Option<Vec<Member>> {
    let participants = chat.get("participants").and_then(Value::as_array).filter(|all| !all.is_empty())?;
    let is_self = |participant: &&Value| flag(participant, "is_self") == Some(true);
    let tells_self = participants.iter().any(|participant| is_self(&participant));
    let told = participants.len() + usize::from(!tells_self);
    let count = chat.get("participants_count").and_then(whole);
    if count.is_some_and(|count| usize::try_from(count).map_or(true, |count| count > told)) {
        return None;
    }
    let others = participants.iter().filter(|participant| !is_self(participant));
    let member = |participant: &Value| {
        let user = participant.get("user").filter(|user| user.is_object()).unwrap_or(participant);
        Some(Member {
            id: UserId::new(text(user, "id")?),
            public_identifier: text(user, "public_identifier"),
        })
    };
    others.map(member).collect()
}

/// Reads a profile. What it does not say of the person stays unknown.
pub(super) fn person(profile: &Value) -> Result<Person> {
    let id = required(profile, "id")?;
    if id.is_empty() {
        return Err(odd("id", profile));
    }
    let name = text(profile, "display_name").or_else(|| {
        let parts = ["first_name", "last_name"].map(|part| text(profile, part).unwrap_or_default());
        Some(parts.join(" ").trim().to_owned()).filter(|name| !name.is_empty())
    });
    let names = [text(profile, "public_identifier"), text(profile, "profile_url"), name];
    let specifics = profile.get("specifics").unwrap_or(&Value::Null);
    let specifics = specifics.get("linkedin").unwrap_or(specifics);
    Ok(Person {
        distance: text(specifics, "network_distance").as_deref().and_then(Distance::parse),
        can_send_inmail: flag(specifics, "can_send_inmail"),
        is_open_profile: flag(specifics, "is_open_profile"),
        ..Person::new(UserId::new(id), names)
    })
}

pub(super) fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_str).map(str::to_owned)
}

pub(super) fn required(value: &Value, field: &str) -> Result<String> {
    text(value, field).ok_or_else(|| odd(field, value))
}

fn time(value: &Value, field: &str) -> Result<Option<Timestamp>> {
    let Some(text) = text(value, field) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| odd(field, value))
}

pub(super) fn array<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value.get(field).and_then(Value::as_array).ok_or_else(|| odd(field, value))
}

/// Builds the error for an answer without a field that the description promises. It does not repeat the answer's
/// content, which may be private.
pub(super) fn odd(field: &str, value: &Value) -> Unread {
    let fields: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let what =
        format!("`{field}` is missing or is not what the description says; found: {}", fields.join(", "));
    unread(ProviderError::local("unexpected_success", what))
}

pub(super) fn unread(problem: ProviderError) -> Unread {
    Unread { problem: Box::new(problem), down: None, hold: None }
}
