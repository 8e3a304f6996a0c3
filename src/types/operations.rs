//! Operations on the queue as a whole: audit and backup.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What breaks a promise, from the database alone.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Audit {
    pub ok: bool,
    pub messages: u64,
    pub attempts: u64,
    /// The oldest first, at most 1,000.
    pub breaches: Vec<Breach>,
    /// There are more.
    pub is_cut: bool,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Breach {
    /// `P2`, `P3`, `P4` or `P5` (docs/guarantees.md).
    pub promise: String,
    pub account_id: String,
    pub message_id: Option<String>,
    pub at: Time,
    pub what: String,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A file name without a folder; default: one with the current time.
    pub name: Option<String>,
    /// Keep this many backups named after the time, the new one included (1 to 10000), and remove older ones. Cannot be
    /// combined with `name`.
    pub keep: Option<u32>,
}

/// A complete backup.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    pub path: String,
    pub bytes: u64,
    pub messages: u64,
    pub at: Time,
    /// Paths of the older backups that `keep` removed.
    #[serde(default)]
    #[schema(required)]
    pub removed: Vec<String>,
}
