//! An account as the queue stores it: whether it may send, and when it may send again.
//!
//! The store loads and saves these types; the engine and `policy/` decide with them.

use std::time::Duration;

use jiff::Timestamp;

use super::message::AccountId;
use super::outcome::DownCause;
use super::reason::Reason;

/// Stored state of one account. Everything that a promise needs is here, so that it survives a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Account id, `acc_…`.
    pub id: AccountId,
    /// Set while the account is paused.
    pub pause: Option<Pause>,
    /// Set while the account cannot send and a person must fix the cause.
    pub down: Option<Down>,
    /// Set while the account must rest.
    pub hold: Option<AccountHold>,
    /// When the last call of the account began.
    pub last_call_at: Option<Timestamp>,
    /// Earliest time of the next call: the last one plus the gap drawn for it (P3).
    pub next_call_at: Option<Timestamp>,
    /// Whether a call of the account is in flight.
    pub in_flight: bool,
    /// What the account's limits remember.
    pub history: History,
}

/// What the limits of an account remember in addition to its sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// When the account's first call ever began.
    pub first_call_at: Option<Timestamp>,
    /// When the warm-up restarted, after a restriction or a long idle period.
    pub warm_up_again_at: Option<Timestamp>,
    /// When the provider last throttled the account.
    pub throttled_at: Option<Timestamp>,
    /// Number of throttles in a row, each within 30 days of the one before.
    pub throttles: u32,
    /// The caps are halved until this time.
    pub half_caps_until: Option<Timestamp>,
    /// Number of attempts in a row that failed.
    pub failures: u32,
    /// Sends until the next break; `None` if no number has been drawn.
    pub break_left: Option<u32>,
    /// Whether the pause before its next call is a break.
    pub on_break: bool,
    /// The pause drawn for the last call.
    pub last_gap: Option<Duration>,
}

impl Account {
    /// Returns an account that has sent nothing and that nothing blocks.
    pub fn new(id: AccountId) -> Self {
        Self {
            id,
            pause: None,
            down: None,
            hold: None,
            last_call_at: None,
            next_call_at: None,
            in_flight: false,
            history: History::default(),
        }
    }
}

/// A pause of one account, or of all sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When the pause began.
    pub since: Timestamp,
    /// When the pause ends; `None` lasts until `resume`.
    pub until: Option<Timestamp>,
    /// The reason that was given for the pause.
    pub note: Option<String>,
}

impl Pause {
    /// Returns whether the pause is still in force at `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// An account, or the key, that cannot send until a person has fixed the cause and run `resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Why it cannot send.
    pub cause: DownCause,
    /// When the problem was first seen.
    pub since: Timestamp,
    /// Unipile's answer.
    pub problem: String,
}

/// A forced rest of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountHold {
    /// Why the account rests.
    pub reason: Reason,
    /// When the rest ends.
    pub until: Timestamp,
}

/// A rest that an account must take because of what a read showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRest {
    /// The rest; a longer one already in effect remains.
    pub hold: AccountHold,
    /// What the account's limits remember from now on.
    pub history: History,
    /// Set if a person must decide before the account resumes.
    pub down: Option<Down>,
}

/// State that applies to every account at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Daemon {
    /// Set while all sending is paused.
    pub pause: Option<Pause>,
    /// Set while Unipile refuses the key.
    pub key_refused: Option<Down>,
    /// Set while the queue is held because it is a copy or was restored from a backup.
    pub restored: Option<Restored>,
}

/// A queue that the daemon recognized as a restored copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the daemon recognized it.
    pub since: Timestamp,
    /// How the daemon recognized it.
    pub why: String,
}
