//! What a forecast starts from, and what it returns.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::fair_share::FairShare;
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::lane::Lane;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::step::StepWait;

/// A step of a campaign for a person: the hash of both, and its number.
pub type StepPlace = (u64, u8);

impl Wait {
    /// Returns a wait that a time or an event ends.
    pub fn of(reason: Reason) -> Self {
        Self { reason, needs_person: false }
    }

    /// Returns a wait that only a person ends.
    pub fn for_person(reason: Reason) -> Self {
        Self { reason, needs_person: true }
    }
}

/// The step that a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follows {
    /// The place of the step before.
    pub place: StepPlace,
    /// How long the message waits after that one was sent.
    pub wait: StepWait,
}

/// What a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    /// Why it waits.
    pub reason: Reason,
    /// Whether a person must act first: no time ends the wait.
    pub needs_person: bool,
}

/// A queued message, with what its time depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The index of its lane.
    pub lane: usize,
    /// When it became or becomes due.
    pub due_at: Timestamp,
    /// The earliest time at which it may go: `due_at`, its retry or the end of its stop, whichever is later.
    pub ready_at: Timestamp,
    /// Why it does not go before `ready_at`.
    pub later_for: Reason,
    /// The time from which it must not be sent.
    pub expires_at: Option<Timestamp>,
    /// Order of arrival.
    pub seq: i64,
    /// The chat or recipient, as a number.
    pub thread: u64,
    /// Its place in its campaign, if it is a step.
    pub step: Option<StepPlace>,
    /// The step before it, while that one is not sent.
    pub follows: Option<Follows>,
    /// What it waits for, if no time resolves that.
    pub waits_for: Option<Wait>,
    /// Whether its person is known by a public name only.
    pub is_named: bool,
}

/// The starting point of a forecast.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The first instant of the forecast.
    pub now: Timestamp,
    /// The end of the forecast.
    pub until: Timestamp,
    /// The state of the daemon, which concerns every account.
    pub daemon: &'a Daemon,
    /// The account that is run forward.
    pub account: &'a Account,
    /// The policy of the account.
    pub policy: &'a Policy,
    /// What the account has sent.
    pub ledger: &'a Ledger,
    /// The profiles that it has read, whatever the kind.
    pub profile_reads: &'a Ledger,
    /// The progress of its campaigns.
    pub turns: &'a FairShare,
    /// The lanes of its messages.
    pub lanes: &'a [Lane],
    /// Its queued messages.
    pub queued: &'a [Queued],
    /// When each thread last got a message that started a chat.
    pub started: &'a HashMap<u64, Timestamp>,
    /// How long a call takes.
    pub call: Duration,
}

/// The forecast of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is sent at this time.
    Sent(Timestamp),
    /// It expires before its turn.
    Expired,
    /// It still waits for this when the forecast ends.
    Waiting(Wait),
}

/// The forecast of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// The date in the account's zone.
    pub date: Date,
    /// How many messages are sent.
    pub sends: u32,
    /// The reason for which due messages waited longest; the hours only if there was no other reason.
    pub bound_by: Option<Reason>,
    pub(super) waits: Vec<(Reason, Duration)>,
}

/// The forecast of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The forecast of each message, in the order of the input.
    pub messages: Vec<Expected>,
    /// Each day on which a message was sent or waited.
    pub days: Vec<Day>,
}
