//! Messages: a new one, the verdict on it, and a stored one with its attempts.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::error::FieldError;
use super::{Time, WaitStatus};

/// A message to queue. `null` counts as "not given".
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The Unipile account that sends, `acc_…`.
    #[schema(required, nullable = false)]
    pub account_id: Option<String>,
    /// An existing chat.
    pub chat_id: Option<String>,
    /// Start a chat with this user; set exactly one of `chat_id` and `users_ids`.
    pub users_ids: Option<UsersIds>,
    /// Where to start the chat; empty starts it without an inbox.
    pub inbox_id: Option<String>,
    /// Several `users_ids` form one group chat.
    pub group: Option<bool>,
    /// Name of the group; implies `group`.
    pub name: Option<String>,
    /// Provider-specific options for starting a chat.
    #[schema(value_type = Option<Object>)]
    pub specifics: Option<Value>,
    /// Another name of `specifics`.
    #[schema(value_type = Option<Object>)]
    pub options: Option<Value>,
    /// The message of the chat to reply to.
    pub quote_id: Option<String>,
    pub forward: Option<Forward>,
    pub attachments: Option<Vec<NewAttachment>>,
    /// Required, except for a forward or with attachments.
    pub text: Option<String>,
    /// Show the typing indicator or not; overrides the account's policy.
    pub typing: Option<bool>,
    pub not_before: Option<Time>,
    pub expires_at: Option<Time>,
    /// Your label, to filter by.
    pub campaign: Option<String>,
    /// The higher goes first.
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    /// Goes before all messages that are not urgent.
    pub urgent: Option<bool>,
    /// Together with `urgent`: goes outside the account's hours as well.
    pub ignore_hours: Option<bool>,
    /// Allow the same text to start a chat with the same person again.
    pub allow_repeat: Option<bool>,
    /// Accept a text that looks as if it has an unfilled placeholder.
    pub allow_placeholders: Option<bool>,
    /// Whether an answer of the person cancels it; left out: if it has a `campaign`.
    pub stop_on_reply: Option<bool>,
    /// Its place in the campaign for its person.
    #[schema(minimum = 1, maximum = 20)]
    pub step: Option<i64>,
    /// From step 2 on: how long it waits after the step before was sent, such as `3 days`.
    pub wait: Option<String>,
    /// A JSON object of your own, up to 4 KB; carried along, never sent.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Value>,
    /// What a first message to one person waits for: `connection`.
    pub needs: Option<String>,
    /// Your idempotency key.
    pub dedupe_key: Option<String>,
}

/// One user, or several.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum UsersIds {
    One(String),
    Several(Vec<String>),
}

/// A message to forward.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub chat_id: String,
    pub message_id: String,
}

/// A file to attach: by `path`, or with its `content`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttachment {
    /// A file on the daemon's machine, in one of its `attachments.roots`.
    pub path: Option<String>,
    /// Base64.
    pub content: Option<String>,
    pub filename: Option<String>,
    pub content_type: Option<String>,
    /// `native` or `file`.
    pub send_mode: Option<String>,
    pub voice_note: Option<bool>,
    /// Playing time, in seconds.
    pub duration: Option<f64>,
}

/// The answer to one new message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    pub id: String,
    /// `true` if the same message was queued before under this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub duplicate: Option<bool>,
    /// The state of the message that is in the queue.
    pub state: Option<String>,
    /// The fields in which the step that was queued before differs: `text`, `specifics`, `attachments`, `wait`. They stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub differs: Option<Vec<String>>,
}

/// The answer to several new messages.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Batch {
    pub accepted: u64,
    pub duplicates: u64,
    pub refused: u64,
    /// A verdict for each row, in order.
    pub results: Vec<Verdict>,
}

/// The verdict on a row: an `id`, or what is wrong.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// The place of the row, from 0.
    pub index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub duplicate: Option<bool>,
    /// For a duplicate: the state of the message that was queued before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<String>,
    /// The fields in which the step that was queued before differs: `text`, `specifics`, `attachments`, `wait`. They stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub differs: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldError>>,
    /// The line of a refused row, if the body has lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub existing_id: Option<String>,
}

/// A stored message without its text.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Message {
    pub id: String,
    #[schema(required, nullable = false)]
    pub account_id: Option<String>,
    /// The daemon fills it in when it starts a chat.
    pub chat_id: Option<String>,
    #[schema(value_type = Option<Vec<String>>)]
    pub users_ids: Option<UsersIds>,
    pub inbox_id: Option<String>,
    pub name: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub specifics: Option<Value>,
    pub quote_id: Option<String>,
    #[schema(value_type = Option<Forward>)]
    pub forward: Option<Value>,
    #[schema(value_type = Option<Vec<Object>>)]
    pub attachments: Option<Value>,
    pub typing: Option<bool>,
    pub not_before: Option<Time>,
    pub expires_at: Option<Time>,
    pub campaign: Option<String>,
    #[serde(default)]
    #[schema(required)]
    pub priority: i64,
    #[serde(default)]
    #[schema(required)]
    pub urgent: bool,
    #[serde(default)]
    #[schema(required)]
    pub ignore_hours: bool,
    #[serde(default)]
    #[schema(required)]
    pub allow_repeat: bool,
    pub stop_on_reply: Option<bool>,
    pub step: Option<i64>,
    pub wait: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Value>,
    pub needs: Option<String>,
    pub dedupe_key: Option<String>,
    #[schema(schema_with = super::state)]
    pub state: String,
    /// The provider's answer, verbatim.
    pub error: Option<String>,
    /// Into which chat a first message goes and why, if outboxd looked it up.
    pub route: Option<String>,
    pub sent_at: Option<Time>,
    /// This and the next two: if it was heard.
    pub delivered_at: Option<Time>,
    pub read_at: Option<Time>,
    pub replied_at: Option<Time>,
    /// When its text, name, specifics and meta were removed.
    pub pruned_at: Option<Time>,
    /// What confirmed the send: `answer`, `evidence` or `person`.
    pub settled_by: Option<String>,
    pub settled_at: Option<Time>,
    /// How often outboxd read its chat back.
    #[serde(default)]
    #[schema(required)]
    pub reads: u64,
    #[serde(default)]
    #[schema(required)]
    pub provider_message_ids: Vec<String>,
    #[schema(required, nullable = false)]
    pub created_at: Option<Time>,
    #[schema(required, nullable = false)]
    pub updated_at: Option<Time>,
    #[serde(flatten)]
    pub waits: WaitStatus,
}

/// A message in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ListedMessage {
    #[serde(flatten)]
    pub message: Message,
    /// How many attempts there were.
    #[serde(default)]
    #[schema(required)]
    pub attempts: u64,
}

/// A message with its text and its attempts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MessageDetail {
    #[serde(flatten)]
    pub message: Message,
    pub text: Option<String>,
    /// The account's zone.
    #[schema(required, nullable = false)]
    pub zone: Option<String>,
    pub attempts: Vec<Attempt>,
    /// What reconciliation and people found.
    #[serde(default)]
    #[schema(required)]
    pub evidence: Vec<Evidence>,
    /// The possible decisions; only in `GET /v1/messages/{id}/review`, empty if the message is not in review.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub choices: Option<Vec<super::review::Choice>>,
}

/// One attempt at sending.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub started_at: Time,
    pub ended_at: Option<Time>,
    pub phase: String,
    pub outcome: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Unipile's error type, or ours.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub title: Option<String>,
    pub detail: Option<String>,
    pub req_id: Option<String>,
    /// The gap drawn for it, in milliseconds.
    pub gap_ms: i64,
    /// Hash of the request.
    #[serde(default)]
    #[schema(required)]
    pub fingerprint: String,
    /// The latest finding about it.
    pub evidence: Option<Evidence>,
}

/// What was found out about an attempt with an unknown outcome.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    pub attempt: u32,
    pub at: Time,
    /// `reconcile` or `person`.
    pub source: String,
    pub finding: String,
    pub detail: Option<String>,
}

/// The answer to a cancellation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Cancelled {
    pub id: String,
    #[serde(default)]
    #[schema(required)]
    pub state: String,
    /// Its state before.
    #[schema(required, nullable = false)]
    pub was: Option<String>,
    #[serde(default)]
    #[schema(required)]
    pub already_cancelled: bool,
}
