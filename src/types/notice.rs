//! Notices: what a person must know or do, the most urgent first.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Every kind of notice, the most urgent first.
pub const KINDS: [&str; 21] = [
    "promise_broken",
    "storage_locked",
    "storage",
    "restored",
    "key_refused",
    "api_unreachable",
    "api_trial",
    "account_down",
    "account_failures",
    "review",
    "paused",
    "account_cooldown",
    "config_refused",
    "webhooks_refused",
    "webhooks_unreadable",
    "receiver_disabled",
    "receiver_failing",
    "disk_low",
    "wal_long",
    "log_lines_dropped",
    "queue_new",
];

/// Something that a person must know or do.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    /// One of the kinds in docs/http.md.
    pub kind: String,
    /// Nothing resolves it until a person acts.
    pub needs_person: bool,
    pub since: Option<Time>,
    pub account_id: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub to_do: String,
}

/// All notices.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Notices {
    pub data: Vec<Notice>,
}
