//! The state of the daemon: its health, what waits, and the one next step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::account::{Down, Pause, Restored};
use super::notice::Notice;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub started_at: Time,
    pub now: Time,
    /// The pause of everything.
    pub paused: Option<Pause>,
    pub key_refused: Option<Down>,
    /// Why the queue is held as a copy.
    pub restored: Option<Restored>,
    pub api: Api,
    pub queue: Queue,
    pub accounts: u64,
    #[schema(required, nullable = false)]
    pub ready: Option<Readiness>,
    /// Log lines that were dropped because the reader was too slow.
    #[serde(default)]
    #[schema(required)]
    pub log_lines_dropped: u64,
    pub recovered: Recovered,
    /// Null without a listener.
    pub webhooks: Option<Webhooks>,
    /// Warnings about the configuration and the machine.
    pub warnings: Vec<String>,
    /// What a person must know or do, the most urgent first.
    #[serde(default)]
    #[schema(required)]
    pub notices: Vec<Notice>,
    /// The one thing to do.
    pub next_step: Option<String>,
}

/// The Unipile API.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Api {
    pub reachable: bool,
    /// Failures in a row: of calls if it cannot be reached, otherwise of sends.
    pub failures: u32,
    /// When a read probes it, or the next send is tried.
    pub next_try_at: Option<Time>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    pub path: String,
    pub blocked_since: Option<Time>,
    /// The program whose transaction keeps the queue locked.
    pub blocked_by: Option<String>,
    /// Set while the queue cannot be written or read.
    pub trouble: Option<Trouble>,
    /// Number of messages in each state; states without messages are left out.
    pub counts: BTreeMap<String, u64>,
    /// Length of the write-ahead log.
    #[serde(default)]
    #[schema(required)]
    pub wal_bytes: u64,
    /// The program that keeps a read transaction open.
    pub wal_held_by: Option<String>,
    /// The SQLite libraries that have inserted rows.
    #[serde(default)]
    #[schema(required)]
    pub producers: Vec<Producer>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    pub since: Time,
    pub next_try_at: Time,
    pub error: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Producer {
    pub sqlite_version: String,
    pub first_seen_at: Time,
    /// It has the bug that docs/sql.md describes.
    pub wal_reset_bug: bool,
}

/// Counts of the webhooks since the start.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    pub listen: String,
    /// Including `duplicates`.
    pub received: u64,
    pub duplicates: u64,
    pub last_at: Option<Time>,
    pub refused: RefusedWebhooks,
    /// Stored, and not interpreted: they changed nothing.
    #[serde(default)]
    #[schema(required)]
    pub unreadable: u64,
}

/// Counts of refused webhooks, by cause.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RefusedWebhooks {
    pub signature: u64,
    pub last_signature_at: Option<Time>,
    pub unsigned: u64,
    pub stale: u64,
    pub last_stale_at: Option<Time>,
    /// The body is not an event.
    pub body: u64,
    pub too_large: u64,
    /// The body did not arrive completely.
    pub incomplete: u64,
    pub not_stored: u64,
}

/// What the last start found.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Recovered {
    pub sending: u64,
    pub uncertain: u64,
    pub replanned: u64,
    pub flushed: u64,
    #[serde(default)]
    #[schema(required)]
    pub stale: u64,
    /// False after a crash or a kill.
    pub clean_stop: bool,
    /// `nothing` (the queue was new), `clean_stop`, `crash` or `copy` (a copy or a restored backup).
    #[serde(default)]
    #[schema(required)]
    pub after: String,
}

impl Recovered {
    /// Returns what the start followed; an older daemon reports only whether the stop was clean.
    pub(crate) fn before(&self) -> &'static str {
        match (self.after.as_str(), self.clean_stop) {
            ("nothing", _) => "the first of this queue",
            ("copy", _) => "of a copy or a restored backup",
            (_, true) => "after a clean stop",
            (_, false) => "after a crash or a kill",
        }
    }
}

/// The daemon is alive and can write its queue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    pub ok: bool,
}

/// What the daemon can do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// It can do both.
    pub ready: bool,
    /// Accept messages.
    pub take_in: Ability,
    /// Send messages.
    pub send: Ability,
}

/// Whether the daemon can do something; if not, why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Ability {
    pub ok: bool,
    #[serde(flatten)]
    pub unready: Option<Unready>,
}

#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Unready {
    /// `storage`, `restored`, `key_refused`, `paused` or `api_unreachable`.
    pub reason: String,
    /// The reason in words, for a person.
    pub detail: String,
    /// When it is retried, or ends.
    pub until: Option<Time>,
}
