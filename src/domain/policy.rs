//! The rules of an account, as the configuration states them. What they mean is decided in `policy/`.

use std::collections::HashMap;
use std::time::Duration;

use super::message::{AccountId, InboxId};

/// The rules of one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The pause between two sends.
    pub gap: Gap,
    /// The typing indicator before a message in a chat.
    pub typing: Typing,
    /// Repeats of calls that certainly reached nobody.
    pub retry: Retry,
    /// What is done about calls that may have reached somebody.
    pub read_back: ReadBack,
    /// Where new chats start; `None` starts them without an inbox.
    pub inbox_id: Option<InboxId>,
    /// IANA zone in which `explain` tells this account's times.
    pub zone: jiff::tz::TimeZone,
}

/// The pause between two sends of an account, drawn uniformly for each send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Shortest pause.
    pub min: Duration,
    /// Longest pause; not below `min`.
    pub max: Duration,
}

/// The typing indicator. Its time lies inside the gap, not on top of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Typing {
    /// Whether it is shown where the message does not say.
    pub enabled: bool,
    /// Time before the first character.
    pub base: Duration,
    /// Least time a character takes.
    pub per_char_min: Duration,
    /// Most time a character takes.
    pub per_char_max: Duration,
    /// Never shorter than this.
    pub min: Duration,
    /// Never longer than this.
    pub max: Duration,
}

/// Exponential retries with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often a message is tried again before it has failed.
    pub max_retries: u32,
    /// Upper end of the first delay.
    pub base: Duration,
    /// By how much the upper end grows each time.
    pub factor: u32,
    /// The upper end never exceeds this.
    pub max: Duration,
    /// Cooldown of the account when the provider itself throttles it.
    pub cooldown: Duration,
}

/// Reading the chat back after a call with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    /// How long after the call each read comes, growing; empty leaves it to a person at once.
    pub after: Vec<Duration>,
    /// How far the provider's clock and this machine's may be apart.
    pub skew: Duration,
    /// What becomes of a message that is not there when it was read the last time.
    pub absent: Absent,
}

/// What becomes of a message that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// A person decides.
    Review,
    /// It is sent once more, and if that is uncertain as well, a person decides.
    Resend,
}

/// The policy of every account: the default, and what the configuration names.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// For every account that is not named.
    pub default: Policy,
    /// For those that are.
    pub accounts: HashMap<AccountId, Policy>,
}

impl Policies {
    /// The policy of `account`.
    pub fn of(&self, account: &AccountId) -> &Policy {
        self.accounts.get(account).unwrap_or(&self.default)
    }
}
