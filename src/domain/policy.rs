//! The rules of an account, as the configuration states them. What they mean is decided in `policy/`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;

use super::calendar::Calendar;
use super::caps::Cap;
use super::message::{AccountId, InboxId};

/// The rules of one account.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The pause between two sends.
    pub gap: Gap,
    /// How the pause is drawn, and longer ones now and then.
    pub rhythm: Rhythm,
    /// How many sends in which time.
    pub caps: Caps,
    /// When it works; `None` is always.
    pub calendar: Option<Calendar>,
    /// How a new account begins; `None` is at once.
    pub warm_up: Option<WarmUp>,
    /// What it does after the provider or its own failures told it to rest.
    pub cooldown: Cooldown,
    /// Whose message goes first, and how soon the same person is written to again.
    pub order: Order,
    /// The typing indicator before a message in a chat.
    pub typing: Typing,
    /// Repeats of calls that certainly reached nobody.
    pub retry: Retry,
    /// What is done about calls that may have reached somebody.
    pub reconcile: ReconcilePolicy,
    /// Where new chats start; `None` starts them without an inbox.
    pub inbox_id: Option<InboxId>,
    /// Where a first message to one person goes.
    pub route: Route,
    /// How InMail credits are spent.
    pub inmail: InMail,
    /// IANA zone of its hours and calendar days, and in which its times are told.
    pub zone: jiff::tz::TimeZone,
}

impl Policy {
    /// No rule at all: no pause, no cap, always open. What a test or a benchmark begins with.
    pub fn unlimited() -> Self {
        let none = Duration::ZERO;
        Self {
            gap: Gap { min: none, max: none },
            rhythm: Rhythm { shape: Shape::Uniform, spread: false, breaks: None },
            caps: Caps { list: Vec::new(), jitter_percent: 0 },
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
            zone: jiff::tz::TimeZone::UTC,
        }
    }
}

/// What is wrong with a value, and what to write instead; the door adds which field it is (P7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// What is wrong, as a clause.
    pub what: String,
    /// The way out, as an imperative clause.
    pub fix: &'static str,
}

impl ParseError {
    /// Both parts.
    pub fn new(what: impl Into<String>, fix: &'static str) -> Self {
        Self { what: what.into(), fix }
    }
}

/// How the pause is drawn, and longer ones now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// The distribution.
    pub shape: Shape,
    /// Whether pauses grow so that the day's caps last the day's hours.
    pub spread: bool,
    /// A long pause after some sends.
    pub breaks: Option<Breaks>,
}

/// The distribution that pauses are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Every length between the two ends alike.
    Uniform,
    /// Mostly near the middle and now and then much longer, cut off at the two ends.
    LogNormal,
}

impl Shape {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::LogNormal => "log-normal",
        }
    }
}

/// A long pause after some sends; both are drawn anew each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaks {
    /// After at least so many sends.
    pub after_min: u32,
    /// After at most so many.
    pub after_max: u32,
    /// At least so long.
    pub min: Duration,
    /// At most so long.
    pub max: Duration,
}

/// How many sends in which time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// Each of them holds.
    pub list: Vec<Cap>,
    /// By up to so many percent each is lowered, drawn for each day; never raised.
    pub jitter_percent: u32,
}

/// How a new account begins: so many percent of its caps on each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmUp {
    /// Percent of the first, second, … day; afterwards all.
    pub ramp: Vec<u32>,
    /// Its first day; `None` is that of the first send.
    pub start: Option<Date>,
    /// An account that sent nothing for so long begins again; `None` never.
    pub after_quiet: Option<Duration>,
}

/// What an account does after it was throttled, or failed several times in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cooldown {
    /// Rest after the provider throttled it.
    pub first: Duration,
    /// How many times as long each further rest is, when it is throttled again within 30 days.
    pub factor: u32,
    /// No rest is longer.
    pub max: Duration,
    /// Throttled again within this time, it waits for a person; zero: never.
    pub person_within: Duration,
    /// After the rest its caps are halved for so long.
    pub half_caps: Duration,
    /// So many failed attempts in a row pause it; 0: never.
    pub failures: u32,
    /// For so long.
    pub failures_pause: Duration,
}

/// Whose message goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// At equal priority, messages in chats before those that start one.
    pub follow_ups_first: bool,
    /// FairShare that a campaign gets for one of another; those not named have 1.
    pub weights: Vec<(String, u32)>,
    /// Least time between two messages that we start to one person; zero: none.
    pub per_recipient: Duration,
}

impl Order {
    /// FairShare of this campaign for one of another.
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
}

/// Reading the chat back after a call with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconcilePolicy {
    /// How long after the call each read comes, growing; empty leaves it to a person at once.
    pub after: Vec<Duration>,
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

/// Where a first message to one person goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Start a Chat, which appends where one exists.
    NewChat,
    /// Into the chat that exists, as Unipile knows it at that moment; only where there is none, Start a Chat.
    ExistingChat,
}

/// How InMail credits are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InMail {
    /// Credits that are kept back.
    pub reserve: u32,
    /// How long InMails wait before the credits are read again.
    pub recheck: Duration,
}

/// The policy of every account: the default, and what the configuration names.
#[derive(Debug, Clone, PartialEq)]
pub struct Policies {
    /// For every account that is not named.
    pub default: Arc<Policy>,
    /// For those that are.
    pub accounts: HashMap<AccountId, Arc<Policy>>,
}

impl Policies {
    /// The policy of `account`.
    pub fn of(&self, account: &AccountId) -> &Arc<Policy> {
        self.accounts.get(account).unwrap_or(&self.default)
    }
}
