//! Receivers of events (`[outbound]`): how far each is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A receiver of events.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Hook {
    pub name: String,
    /// `webhook` or `command`.
    pub kind: String,
    /// The host of a webhook, or the program.
    pub target: String,
    /// `ok`, `retrying` or `disabled`.
    pub state: String,
    /// Each event up to this one was delivered, given up, or does not concern it.
    pub cursor: i64,
    /// Events after the cursor, those that do not concern it included.
    pub behind: i64,
    pub delivered_at: Option<Time>,
    /// Failed deliveries in a row of the next event.
    pub failures: u32,
    /// When it is delivered again.
    pub retry_at: Option<Time>,
    /// The last failure.
    pub problem: Option<String>,
    pub disabled_at: Option<Time>,
    /// Number of events that were given up.
    pub dead: u64,
    /// The newest of them.
    pub dead_letters: Vec<DeadLetter>,
}

/// An event that was given up.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    pub seq: i64,
    pub at: Time,
    pub problem: String,
}

/// The receivers of the configuration.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HookList {
    pub data: Vec<Hook>,
    /// The delays before each retry, in seconds; after the last one the event is given up.
    pub retries_s: Vec<u64>,
}

/// Asks to deliver events again.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// The first event to deliver.
    pub from: Option<i64>,
}

/// Result of a replay, or of enabling.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct HookEnabled {
    pub name: String,
    /// The event with which it goes on.
    pub next: i64,
}
