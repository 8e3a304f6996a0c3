//! Accounts: their state, what Unipile says about them, pauses and resumptions.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Ref, Schema, Type};

use super::{Time, WaitStatus};
use crate::domain::account;

/// A Unipile account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub id: String,
    /// `active`, `paused`, `resting` or `down`.
    pub standing: String,
    /// `person` (it is down, or a message is in review), `waiting` (messages wait or are being sent) or `none`.
    #[serde(default)]
    #[schema(required)]
    pub attention: String,
    #[serde(flatten)]
    pub waits: WaitStatus,
    pub paused: Option<Pause>,
    pub down: Option<Down>,
    pub hold: Option<Hold>,
    pub next_call_at: Option<Time>,
    pub last_call_at: Option<Time>,
    pub last_sent_at: Option<Time>,
    pub oldest_due_at: Option<Time>,
    /// Number of messages in each state; states without messages are left out.
    #[serde(default)]
    #[schema(required)]
    pub counts: BTreeMap<String, u64>,
    /// The error of the newest message that failed or has no known outcome.
    pub last_error: Option<String>,
    /// The cap that binds, or the daily one; null without caps.
    pub cap: Option<Cap>,
    /// The account's zone.
    #[schema(required, nullable = false)]
    pub zone: Option<String>,
    /// The last 7 days, today last.
    #[serde(default)]
    #[schema(required)]
    pub sent_by_day: Vec<SentOnDay>,
    pub unipile: Option<AccountSnapshot>,
}

/// How many messages were sent on a day.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SentOnDay {
    /// In the zone of the account; of a campaign, in the zone of the daemon's machine.
    #[schema(format = Date)]
    pub date: String,
    pub sent: u32,
}

impl SentOnDay {
    pub(crate) fn new(date: Date, sent: u32) -> Self {
        Self { date: date.to_string(), sent }
    }
}

/// A pause in force.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Pause {
    #[schema(required, nullable = false)]
    pub since: Option<Time>,
    /// Null: until it is resumed.
    pub until: Option<Time>,
    pub note: Option<String>,
}

/// Why an account, or the key, cannot send until a person acts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Down {
    #[serde(default)]
    #[schema(required)]
    pub cause: String,
    #[schema(required, nullable = false)]
    pub since: Option<Time>,
    /// Unipile's answer.
    pub problem: String,
}

/// A forced rest.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    pub reason: String,
    #[schema(required, nullable = false)]
    pub until: Option<Time>,
}

/// Why the queue is held as a copy.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    pub since: Time,
    pub why: String,
}

/// A cap and how much of it is used.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Cap {
    /// `all`, `message`, `new_chat`, `inmail` or `forward`; in a budget also `profile`, which counts reads of profiles.
    pub cap: String,
    /// `hour`, `24h`, `7d` or `day`.
    pub window: String,
    #[serde(default)]
    #[schema(required)]
    pub configured: u32,
    /// Its current value.
    pub limit: u32,
    /// `warm_up`, `half_caps` or `jitter`.
    pub lowered_by: Option<String>,
    pub used: u32,
    #[serde(default)]
    #[schema(required)]
    pub left: u32,
    /// When the next send, or read of a profile, has room.
    #[schema(required, nullable = false)]
    pub frees_at: Option<Time>,
}

/// Unipile's last known view of an account, in its own words; each part with the time at which it was read.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountSnapshot {
    pub name: Option<String>,
    pub provider: Option<String>,
    pub status: Option<String>,
    pub is_locked: Option<bool>,
    /// The status of each product.
    pub products: Option<BTreeMap<String, String>>,
    pub read_at: Option<Time>,
    pub inboxes: Option<Vec<Inbox>>,
    pub inboxes_read_at: Option<Time>,
    /// The InMails that are left, by product.
    pub credits: Option<BTreeMap<String, u64>>,
    pub credits_read_at: Option<Time>,
    /// The account was not read for twice the interval.
    pub is_old: bool,
    pub tried_at: Option<Time>,
    /// Why the last read failed.
    pub problem: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Inbox {
    pub id: String,
    pub disabled: bool,
}

/// The zone in which outboxd reads and shows times of an account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountZone {
    #[schema(required, nullable = false)]
    pub account_id: Option<String>,
    pub zone: String,
    #[schema(required, nullable = false)]
    pub now: Option<Time>,
}

/// `until` and `for` exclude each other; without them, the pause lasts until it is resumed.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// A time in the future.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// A length such as `2h` or `1d`.
    #[serde(rename = "for")]
    pub length: Option<String>,
    #[schema(max_length = 500)]
    pub note: Option<String>,
}

/// The answer to a pause.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    pub paused: bool,
    pub already_paused: bool,
    pub until: Option<Time>,
    /// Absent for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account_id: Option<String>,
    /// The account's zone; absent for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub zone: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// Also end a forced rest.
    pub lift_hold: Option<bool>,
    /// For everything: release a queue that is held as a restored copy.
    pub restored: Option<bool>,
}

/// The answer to a resumption.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    pub resumed: bool,
    pub was_paused: bool,
    /// Absent for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub account_id: Option<String>,
    /// Why the queue is still held as a copy, or null; absent for an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = may_be_absent)]
    pub restored: Option<Option<Restored>>,
}

fn may_be_absent() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOfBuilder::new().item(Ref::from_schema_name("Restored")).item(null).into()
}

impl From<&account::Pause> for Pause {
    fn from(pause: &account::Pause) -> Self {
        let account::Pause { since, until, note } = pause.clone();
        Self { since: Some(since.into()), until: until.map(Time), note }
    }
}

impl From<&account::Down> for Down {
    fn from(down: &account::Down) -> Self {
        let account::Down { cause, since, problem } = down.clone();
        Self { cause: cause.as_str().to_owned(), since: Some(since.into()), problem }
    }
}

impl From<&account::Restored> for Restored {
    fn from(restored: &account::Restored) -> Self {
        Self { since: restored.since.into(), why: restored.why.clone() }
    }
}
