//! Stops, pauses among them, and the suppression list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::error::FieldError;

/// A stop to set. `until` and `for` exclude each other.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// `person`, `chat` or `campaign`.
    #[schema(required, nullable = false)]
    pub scope: Option<String>,
    /// The user id, the id of the chat, or the label.
    #[schema(required, nullable = false)]
    pub key: Option<String>,
    /// Only on this account.
    pub account_id: Option<String>,
    /// `stopped` if left out, or `suppressed`.
    pub reason: Option<String>,
    /// A time in the future; without an end, it lasts until it is lifted.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// A length such as `2h` or `1d`.
    #[serde(rename = "for")]
    pub length: Option<String>,
    #[schema(max_length = 500)]
    pub note: Option<String>,
}

/// The answer to a stop.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Stopped {
    pub id: i64,
    pub scope: String,
    pub key: String,
    /// Null: on every account.
    pub account_id: Option<String>,
    pub reason: String,
    pub until: Option<Time>,
    pub already_stopped: bool,
    /// Number of queued messages that wait for it, or were cancelled.
    pub messages: u64,
    /// The messages for which it came too late.
    pub in_flight: Vec<String>,
    /// The public name, if the user id behind it is not known: messages to that id go on until it is.
    #[serde(default)]
    #[schema(required)]
    pub unresolved: Option<String>,
}

/// The answer to several stops.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StopBatch {
    pub accepted: usize,
    pub refused: usize,
    pub results: Vec<StopVerdict>,
}

/// The verdict on a row: a stop, or what is wrong.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StopVerdict {
    /// The place of the row, from 0.
    pub index: usize,
    #[serde(flatten)]
    pub stopped: Option<Stopped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<FieldError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub errors: Option<Vec<FieldError>>,
}

/// A stop in force.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Stop {
    pub id: i64,
    /// `all`, `account`, `campaign`, `person` or `chat`.
    pub scope: String,
    /// Empty for the scope `all`.
    pub key: String,
    /// Null: on every account.
    pub account_id: Option<String>,
    /// `stopped`, `suppressed`, `owner_wrote`, `out_of_office`, `account_paused` or `daemon_paused`.
    pub reason: String,
    pub until: Option<Time>,
    /// Who set it.
    pub actor: String,
    pub note: Option<String>,
    pub at: Time,
}

/// The stops to lift.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GoRequest {
    /// `person`, `chat` or `campaign`.
    #[schema(required, nullable = false)]
    pub scope: Option<String>,
    #[schema(required, nullable = false)]
    pub key: Option<String>,
    pub account_id: Option<String>,
    /// All but a suppression if left out.
    pub reason: Option<String>,
}

/// The answer to a lift.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Lifted {
    pub stops: u64,
    /// Number of queued messages that go on.
    pub messages: u64,
    /// The first ten stops that still hold what the lifted ones held, such as that of a chat in which the person wrote.
    #[serde(default)]
    #[schema(required)]
    pub remaining: Vec<Stop>,
}
