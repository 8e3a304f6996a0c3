//! The table of metrics: name, type, labels, unit and help of each. `docs/metrics.md` repeats it, and tests compare
//! both with what a daemon prints.
//!
//! No label holds a person, a text or a key. The values of a label are listed here, or bounded as its comment says.

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A number that only grows while the daemon runs.
    Counter,
    /// A number that is computed when the metrics are read, unless its help says otherwise.
    Gauge,
    /// How many values are at most as large as each of these bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Returns its name in the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its possible values; empty if something else bounds them.
    pub values: &'static [&'static str],
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, which ends in its unit, and in `_total` if it is a counter.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels, in order.
    pub labels: &'static [Label],
    /// The unit of its values; empty for a plain number.
    pub unit: &'static str,
    /// What it says.
    pub help: &'static str,
}

const NONE: &[Label] = &[];

const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label { name, values }
}

/// The states of a message.
const STATES: &[Label] = &[label(
    "state",
    &[
        "new",
        "queued",
        "sending",
        "uncertain",
        "review",
        "sent",
        "failed",
        "cancelled",
        "expired",
        "rejected",
    ],
)];
const ACCOUNT_STATES: &[Label] =
    &[label("state", &["disconnected", "restricted", "throttled", "paused", "other"])];
/// Bounded by the codes of docs/reasons.md.
const REASONS: &[Label] = &[label("reason", &[])];
/// The account is bounded by [`super::ACCOUNTS`].
const SEND_LABELS: &[Label] = &[
    label("account", &[]),
    label("outcome", &["accepted", "refused", "not_sent", "throttled", "account_down", "uncertain"]),
];
const HEARD_KINDS: &[Label] = &[label("kind", &["replied", "out_of_office", "suppressed", "owner_wrote"])];
const CREDITS: &[Label] = &[label("credit", &["classic", "recruiter"])];
const REFUSALS: &[Label] =
    &[label("cause", &["signature", "unsigned", "stale", "body", "too_large", "incomplete", "not_stored"])];
const PROMISES: &[Label] = &[label("promise", &["gap", "stop", "twice", "overdue", "limits", "loop"])];
const RESULTS: &[Label] = &[label("result", &["sent", "queued", "review"])];
const NOTICE_KINDS: &[Label] = &[label(
    "kind",
    &[
        "promise_broken",
        "storage_locked",
        "storage",
        "restored",
        "key_refused",
        "api_unreachable",
        "api_trial",
        "account_down",
        "account_failures",
        "review",
        "paused",
        "account_cooldown",
        "config_refused",
        "webhooks_refused",
        "webhooks_unreadable",
        "receiver_disabled",
        "receiver_failing",
        "disk_low",
        "wal_long",
        "log_lines_dropped",
        "queue_new",
    ],
)];
/// One value: the version that runs.
const VERSION: &[Label] = &[label("version", &[])];

/// Bounds for a wait or a pause, in seconds.
const LONG: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21_600.0];
/// Bounds for a request over the network, in seconds.
const REQUEST: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Bounds for a commit, in seconds.
const COMMIT: &[f64] = &[0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

macro_rules! metrics {
    ($($id:ident: $name:literal, $kind:expr, $labels:expr, $unit:literal, $help:literal;)+) => {
        $(#[doc = $help] pub const $id: Metric =
            Metric { name: $name, kind: $kind, labels: $labels, unit: $unit, help: $help };)+

        /// Every metric.
        pub const TABLE: &[Metric] = &[$($id,)+];
    };
}

metrics! {
    BUILD_INFO: "outboxd_build_info", Kind::Gauge, VERSION, "", "Always 1; the label is the version that runs.";
    STARTED: "outboxd_start_timestamp_seconds", Kind::Gauge, NONE, "seconds", "When the daemon started, as Unix time.";
    MESSAGES: "outboxd_messages", Kind::Gauge, STATES, "", "Messages in each state.";
    WAITING: "outboxd_messages_waiting", Kind::Gauge, REASONS, "",
        "Unfinished messages with a reason of their own (docs/reasons.md), by its code; 1 and more only.";
    OLDEST_DUE: "outboxd_oldest_due_seconds", Kind::Gauge, NONE, "seconds",
        "How long the oldest message that is ready to go has been due; it grows while an account rests or is paused.";
    ACCOUNTS: "outboxd_accounts", Kind::Gauge, ACCOUNT_STATES, "",
        "Accounts that are down, by cause, paused, or neither. Each count of a cause ends at 10,000.";
    ACCOUNTS_WAITING: "outboxd_accounts_waiting", Kind::Gauge, REASONS, "",
        "Accounts whose next message waits, by the reason that the sender found last (docs/reasons.md).";
    SENDS: "outboxd_sends_total", Kind::Counter, SEND_LABELS, "",
        "Calls that send, by account and outcome. The first 200 accounts since the start have a label of their own, the rest share `other`.";
    SEND_DURATION: "outboxd_send_duration_seconds", Kind::Histogram(REQUEST), NONE, "seconds",
        "How long a call that sends took.";
    SEND_LAG: "outboxd_send_lag_seconds", Kind::Histogram(LONG), NONE, "seconds",
        "How long after the time at which a message was free to go its call began.";
    SEND_GAP: "outboxd_send_gap_seconds", Kind::Histogram(LONG), NONE, "seconds",
        "Time between the beginnings of two calls of one account.";
    PROMISES_BROKEN: "outboxd_promises_broken_total", Kind::Counter, PROMISES, "",
        "Must stay 0. gap: two calls of an account closer than the gap; stop: a call after a pause or a stop; twice: a call for a message that was sent; overdue: a call later than the longest gap; limits: a call outside the hours or above a cap; loop: an account that decides the same thing without an end.";
    RECONCILED: "outboxd_reconciled_total", Kind::Counter, RESULTS, "",
        "Messages with an unknown outcome that were settled, by what became of them.";
    HEARD: "outboxd_heard_total", Kind::Counter, HEARD_KINDS, "",
        "Messages of people and owners that were heard, by what they changed.";
    API_BREAKER_OPEN: "outboxd_api_breaker_open", Kind::Gauge, NONE, "",
        "1 while nothing is sent because the Unipile API fails.";
    API_FAILURES: "outboxd_api_failures", Kind::Gauge, NONE, "", "Failed calls in a row, while the breaker is open.";
    PERMITS_WAITING: "outboxd_permits_waiting", Kind::Gauge, NONE, "",
        "Requests that wait for a permit of the request rates.";
    KEY_REFUSED: "outboxd_key_refused", Kind::Gauge, NONE, "", "1 while Unipile refuses the key or the subscription.";
    PAUSED: "outboxd_paused", Kind::Gauge, NONE, "", "1 while all sending is paused.";
    RESTORED: "outboxd_restored", Kind::Gauge, NONE, "", "1 while the queue is held because it was restored or copied.";
    CREDITS_LOWEST: "outboxd_inmail_credits_lowest", Kind::Gauge, CREDITS, "",
        "The lowest balance of InMail credits of any account, as last read; absent if none was read.";
    INMAIL_HOLDS: "outboxd_inmail_holds", Kind::Gauge, CREDITS, "",
        "Accounts whose InMails wait for credits, up to 10,000.";
    WEBHOOKS_LISTENING: "outboxd_webhooks_listening", Kind::Gauge, NONE, "", "1 if webhooks are received.";
    WEBHOOKS_RECEIVED: "outboxd_webhooks_received_total", Kind::Counter, NONE, "",
        "Webhooks that were verified and stored, including repeated ones.";
    WEBHOOKS_REFUSED: "outboxd_webhooks_refused_total", Kind::Counter, REFUSALS, "", "Webhooks that were refused, by cause.";
    WEBHOOK_NEWEST: "outboxd_webhook_newest_timestamp_seconds", Kind::Gauge, NONE, "seconds",
        "When the newest stored webhook came, as Unix time; 0 if none is stored.";
    COMMIT_DURATION: "outboxd_commit_duration_seconds", Kind::Histogram(COMMIT), NONE, "seconds",
        "How long a group commit of the queue took.";
    QUEUE_BYTES: "outboxd_queue_bytes", Kind::Gauge, NONE, "bytes", "Size of the database file.";
    WAL_BYTES: "outboxd_wal_bytes", Kind::Gauge, NONE, "bytes", "Size of the write-ahead log.";
    DISK_FREE: "outboxd_disk_free_bytes", Kind::Gauge, NONE, "bytes", "Free space on the disk of the queue.";
    STORAGE_TROUBLE: "outboxd_storage_trouble", Kind::Gauge, NONE, "",
        "1 while the queue cannot be written or read, or another program keeps it locked.";
    NOTICES: "outboxd_notices", Kind::Gauge, NOTICE_KINDS, "", "Notices of each kind, as `outboxd notices` lists them; at most ten accounts.";
    LOG_LINES_DROPPED: "outboxd_log_lines_dropped_total", Kind::Counter, NONE, "",
        "Log lines that were dropped because their reader was too slow.";
}
