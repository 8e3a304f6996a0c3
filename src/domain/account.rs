//! An account as the queue knows it: whether it may send, and when again.

use std::time::Duration;

use jiff::Timestamp;

use super::message::AccountId;
use super::outcome::DownCause;
use super::reason::Reason;

/// What the store holds of one account; everything that a promise needs survives a restart here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Set while somebody has paused it.
    pub pause: Option<Pause>,
    /// Set while it cannot send for a reason that a person must mend.
    pub down: Option<Down>,
    /// Set while it must rest.
    pub hold: Option<AccountHold>,
    /// When its last call began.
    pub last_call_at: Option<Timestamp>,
    /// The earliest time of its next call: the last one plus the gap that was drawn for it (P3).
    pub next_call_at: Option<Timestamp>,
    /// Whether a call is on its way.
    pub in_flight: bool,
    /// What its limits remember.
    pub history: History,
}

/// What the limits of an account remember beside the sends themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Its first call of all.
    pub first_call_at: Option<Timestamp>,
    /// When its warm-up began again, after a restriction or a long quiet time.
    pub warm_up_again_at: Option<Timestamp>,
    /// When the provider last throttled it.
    pub throttled_at: Option<Timestamp>,
    /// How often in a row it was throttled, each within 30 days of the one before.
    pub throttles: u32,
    /// Its caps are halved until then.
    pub half_caps_until: Option<Timestamp>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Sends until the next break; `None` where none has been drawn.
    pub break_left: Option<u32>,
    /// Whether the pause before its next call is a break.
    pub on_break: bool,
    /// The pause that was drawn for its last call.
    pub last_gap: Option<Duration>,
}

impl Account {
    /// An account that has sent nothing and that nothing holds.
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

/// A pause that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` until it is resumed.
    pub until: Option<Timestamp>,
    /// In the words of whoever paused it.
    pub note: Option<String>,
}

impl Pause {
    /// Whether it still holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Something is down until a person has mended it and said `resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// What is down.
    pub cause: DownCause,
    /// Since when.
    pub since: Timestamp,
    /// What Unipile answered.
    pub problem: String,
}

/// A forced rest of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountHold {
    /// Why.
    pub reason: Reason,
    /// Until when.
    pub until: Timestamp,
}

/// What concerns every account at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Daemon {
    /// Set while all sending is paused.
    pub pause: Option<Pause>,
    /// Set while the key is refused.
    pub key_refused: Option<Down>,
    /// Set while the queue is held because it is a copy, or was restored from a backup.
    pub restored: Option<Restored>,
}

/// A queue that was recognised as a restored copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When it was recognised.
    pub since: Timestamp,
    /// By what.
    pub why: String,
}
