//! Commands about stored messages: an edit of one, and one command about many.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::error::FieldError;

/// The fields to change. Null removes `priority`, `not_before`, `expires_at` or `campaign`.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageEdit {
    /// The account that sends it instead; only for a message that starts a chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The higher goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// Accept a text that looks as if it has an unfilled placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_placeholders: Option<bool>,
    /// Reason; the event records it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub note: Option<String>,
}

/// One command about many messages: those of `ids`, or those that a filter selects.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    #[schema(required, schema_with = commands)]
    pub command: Option<String>,
    /// At most 1,000; excludes the filter.
    pub ids: Option<Vec<String>>,
    pub account_id: Option<String>,
    pub campaign: Option<String>,
    pub chat_id: Option<String>,
    /// A user id.
    pub person: Option<String>,
    /// One state, or several separated by commas; if left out, those that the command is for.
    pub state: Option<String>,
    /// The stored reason: of a waiting message, that of its last change.
    pub reason: Option<String>,
    /// With the command `edit`.
    #[schema(value_type = Option<MessageEdit>)]
    pub edit: Option<serde_json::Value>,
    /// Reason; the events record it.
    #[schema(max_length = 500)]
    pub note: Option<String>,
    /// Only say what the command would do.
    pub dry_run: Option<bool>,
}

fn commands() -> Schema {
    let words = ["cancel", "hold", "release", "retry", "edit"];
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).into()
}

/// What became of the messages of a command.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    pub command: String,
    pub dry_run: bool,
    /// How many messages were selected.
    pub messages: u64,
    pub changed: u64,
    /// Those that were like this already.
    pub unchanged: u64,
    pub refused: u64,
    /// In the order of `ids`, or the newest first; of a filter at most 1,000.
    pub results: Vec<Commanded>,
    /// There are more than `results` lists.
    pub is_cut: bool,
}

/// What became of one message.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Commanded {
    pub id: String,
    /// Whether the command changed it, or would.
    #[serde(default)]
    #[schema(required)]
    pub changed: bool,
    /// What was done, in words; null if it was refused.
    pub answer: Option<String>,
    /// Its state before; null if no message has this id.
    pub was: Option<String>,
    /// Its state after.
    pub state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldError>>,
    /// The message that already says or holds what this one would.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub existing_id: Option<String>,
}
