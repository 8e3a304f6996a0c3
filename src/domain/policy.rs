//! The rules of an account, as the configuration states them.
//!
//! `policy/` applies them; the configuration and the API parse them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::calendar::Calendar;
use super::caps::Cap;
use super::message::{AccountId, InboxId};
use super::reply_patterns::ReplyPatterns;

/// The rules of one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The pause between two sends.
    pub gap: Gap,
    /// Distribution of the pause, and breaks.
    pub rhythm: Rhythm,
    /// Maximum numbers of sends over time.
    pub caps: Caps,
    /// Working hours; `None` is always open.
    pub calendar: Option<Calendar>,
    /// How a new account begins; `None` is at full caps.
    pub warm_up: Option<WarmUp>,
    /// How long the account rests after throttling or repeated failures.
    pub cooldown: Cooldown,
    /// Which message goes first, and how soon the same person may be contacted again.
    pub order: Order,
    /// The typing indicator before a message in a chat.
    pub typing: Typing,
    /// Retries of calls that certainly did not reach the recipient.
    pub retry: Retry,
    /// How calls that may have reached the recipient are resolved.
    pub reconcile: ReconcilePolicy,
    /// The inbox from which new chats start; `None` starts them without one.
    pub inbox_id: Option<InboxId>,
    /// Where a first message to one person goes.
    pub route: Route,
    /// How InMail credits are spent.
    pub inmail: InMail,
    /// What an answer stops, and for how long other messages of a chat hold the queue.
    pub reply: ReplyPolicy,
    /// Further patterns that tell what a message of another person means.
    pub reply_patterns: ReplyPatterns,
    /// IANA zone of the hours and calendar days, and of the times shown for this account.
    pub zone: jiff::tz::TimeZone,
}

impl Policy {
    /// Returns a policy without rules: no pause, no cap, always open. A starting point for tests and benchmarks.
    pub fn unlimited() -> Self {
        let none = Duration::ZERO;
        Self {
            gap: Gap { min: none, max: none },
            rhythm: Rhythm { shape: Shape::Uniform, spread: false, breaks: None },
            caps: Caps { list: Vec::new(), profile: Vec::new(), jitter_percent: 0 },
            calendar: None,
            warm_up: None,
            cooldown: Cooldown {
                first: Duration::from_secs(24 * 3600),
                factor: 2,
                max: Duration::from_secs(7 * 24 * 3600),
                person_within: none,
                half_caps: none,
                failures: 0,
                failures_pause: none,
            },
            order: Order { follow_ups_first: true, weights: Vec::new(), per_recipient: none },
            typing: Typing {
                enabled: false,
                base: none,
                per_char_min: none,
                per_char_max: none,
                min: none,
                max: none,
            },
            retry: Retry {
                max_retries: 4,
                base: Duration::from_secs(60),
                factor: 4,
                max: Duration::from_secs(3600),
            },
            reconcile: ReconcilePolicy { after: Vec::new(), absent: Absent::Review },
            inbox_id: None,
            route: Route::NewChat,
            inmail: InMail { reserve: 0, recheck: Duration::from_secs(3600) },
            reply: ReplyPolicy {
                check: false,
                everywhere: false,
                owner_wrote: Duration::from_secs(72 * 3600),
                out_of_office: Duration::from_secs(7 * 24 * 3600),
                keep_bodies: false,
            },
            reply_patterns: ReplyPatterns::default(),
            zone: jiff::tz::TimeZone::UTC,
        }
    }
}

/// Distribution of the pause, and breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// Distribution from which a pause is drawn.
    pub shape: Shape,
    /// Whether pauses grow so that the day's caps last for the day's hours.
    pub spread: bool,
    /// A long pause after some sends.
    pub breaks: Option<Breaks>,
}

words! {
    /// Distribution from which a pause is drawn.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Shape {
        /// Every length between the two bounds is equally likely.
        Uniform = "uniform",
        /// Mostly near the middle and occasionally much longer, cut off at the two bounds.
        LogNormal = "log-normal",
    }
}

/// A long pause after some sends; number and length are drawn each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaks {
    /// Minimum number of sends before a break.
    pub after_min: u32,
    /// Maximum number of sends before a break.
    pub after_max: u32,
    /// Minimum length of a break.
    pub min: Duration,
    /// Maximum length of a break.
    pub max: Duration,
}

/// Maximum numbers of sends over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// The caps; every one applies.
    pub list: Vec<Cap>,
    /// The caps on reads of profiles; every one applies.
    pub profile: Vec<Cap>,
    /// Each cap is lowered by up to this percentage, drawn for each day; never raised.
    pub jitter_percent: u32,
}

/// How a new account begins: a percentage of its caps on each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// Percentage on the first, second, … day; the full caps afterwards.
    pub ramp: Vec<u32>,
    /// First day of the warm-up; `None` is the day of the first send.
    pub start: Option<Date>,
    /// An account that sent nothing for this long restarts its warm-up; `None` never does.
    pub after_quiet: Option<Duration>,
}

/// How an account rests after it was throttled, or failed several times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cooldown {
    /// Length of the rest after the provider throttled the account.
    pub first: Duration,
    /// Factor by which each further rest grows if the account is throttled again within 30 days.
    pub factor: u32,
    /// Maximum length of a rest.
    pub max: Duration,
    /// If throttled again within this time, the account waits for a person; zero: never.
    pub person_within: Duration,
    /// How long the caps are halved after the rest.
    pub half_caps: Duration,
    /// Number of failed attempts in a row that pauses the account; 0: never.
    pub failures: u32,
    /// How long the account pauses after that many failures.
    pub failures_pause: Duration,
}

/// Which message goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// At equal priority, messages in existing chats go before those that start one.
    pub follow_ups_first: bool,
    /// Shares of named campaigns; others have 1.
    pub weights: Vec<(String, u32)>,
    /// Minimum time between two messages that start a chat with the same person; zero: none.
    pub per_recipient: Duration,
}

impl Order {
    /// Returns the share of this campaign relative to 1.
    pub fn weight(&self, campaign: &str) -> u32 {
        self.weights.iter().find(|(name, _)| name == campaign).map_or(1, |(_, weight)| *weight)
    }
}

/// The pause between two sends of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Shortest pause.
    pub min: Duration,
    /// Longest pause; not below `min`.
    pub max: Duration,
}

/// The typing indicator. Its time is part of the gap, not added to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Typing {
    /// Whether it is shown if the message does not say.
    pub enabled: bool,
    /// Time before the first character.
    pub base: Duration,
    /// Minimum time per character.
    pub per_char_min: Duration,
    /// Maximum time per character.
    pub per_char_max: Duration,
    /// Minimum total time.
    pub min: Duration,
    /// Maximum total time.
    pub max: Duration,
}

/// Exponential backoff with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Number of retries before the message fails.
    pub max_retries: u32,
    /// Upper bound of the first delay.
    pub base: Duration,
    /// Factor by which the upper bound grows each time.
    pub factor: u32,
    /// Maximum of the upper bound.
    pub max: Duration,
}

/// Reads the chat back after a call with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcilePolicy {
    /// Delay of each read after the call, ascending; empty leaves it to a person at once.
    pub after: Vec<Duration>,
    /// What happens to a message that the last read did not find.
    pub absent: Absent,
}

/// What happens to a message that was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// A person decides.
    Review,
    /// It is sent once more; if that is uncertain as well, a person decides.
    Resend,
}

/// Where a first message to one person goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Start a Chat, which appends to an existing chat.
    NewChat,
    /// The existing chat, as Unipile knows it at that moment; Start a Chat only if there is none.
    ExistingChat,
}

/// How InMail credits are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InMail {
    /// Number of credits to keep in reserve.
    pub reserve: u32,
    /// How long InMails wait before the credits are read again.
    pub recheck: Duration,
}

/// What follows from messages that others, or the owner by hand, write into a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyPolicy {
    /// Whether the chat is read for an answer before a follow-up.
    pub check: bool,
    /// Whether an answer stops the person's messages on every account, not only on the one that was answered.
    pub everywhere: bool,
    /// How long messages to a person wait after the owner of the account wrote by hand.
    pub owner_wrote: Duration,
    /// How long they wait after an automatic answer that names no date.
    pub out_of_office: Duration,
    /// Whether the texts of such messages are stored.
    pub keep_bodies: bool,
}

/// The default policy, and the policies of the accounts that the configuration names.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// Policy of every account that the configuration does not name.
    pub default: Arc<Policy>,
    /// Policies of the named accounts.
    pub accounts: HashMap<AccountId, Arc<Policy>>,
}

impl Policies {
    /// Returns the policy of `account`.
    pub fn of(&self, account: &AccountId) -> &Arc<Policy> {
        self.accounts.get(account).unwrap_or(&self.default)
    }
}
