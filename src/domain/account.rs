//! An account as the queue knows it: whether it may send, and when again.

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
}
