//! Notices: the one place that decides what a person must know or do. `GET /v1/notices`, `GET /v1/status`, the metrics,
//! the dashboard and `outboxd notices` show what [`collect`] returns.

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};

use super::error::ApiError;
use super::{Answer, App, AppState};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::{DownAccount, Hook, Resting, Totals};
use crate::types::Time;
use crate::types::notice::{Notice, Notices};

/// How long after its first start a new queue is reported as new.
const NEW_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Failed calls in a row after which the network is worth a look.
const API_FAILURES: u32 = 2;

/// Less free space than this on the disk of the queue is reported: about 600,000 messages.
const DISK_LOW_BYTES: u64 = 1_000_000_000;

/// What the database says, read once for all who need it.
pub(super) struct Facts {
    pub(super) totals: Totals,
    /// The first accounts that are down.
    pub(super) down: Vec<DownAccount>,
    /// The accounts that rest with messages to send.
    resting: Vec<Resting>,
    /// The receivers of events that are disabled or fail.
    receivers: Vec<Hook>,
    /// Why a row could not be written just now, if that was tried.
    unwritable: Option<String>,
}

impl Facts {
    pub(super) async fn read(state: &AppState) -> Result<Self, ApiError> {
        let (totals, down) = (state.store.totals().await?, state.store.accounts_down().await?);
        let resting = state.store.accounts_resting(state.engine.now()).await?;
        let configured = state.hooks();
        let mut receivers =
            if configured.is_empty() { Vec::new() } else { state.store.hooks_in_trouble().await? };
        receivers.retain(|hook| configured.iter().any(|one| one.name == hook.name));
        Ok(Self { totals, down, resting, receivers, unwritable: None })
    }

    /// Reads the same, and tries to write a row: without messages to send, nothing else notices a full disk.
    pub(super) async fn read_and_try(state: &AppState) -> Result<Self, ApiError> {
        let written = state.store.test_write(state.engine.now()).await;
        let unwritable = written.err().map(|error| error.chain());
        Ok(Self { unwritable, ..Self::read(state).await? })
    }
}

pub(super) async fn notices(State(state): App) -> Answer<Notices> {
    let facts = Facts::read_and_try(&state).await?;
    Ok(Json(Notices { data: collect(&state, &facts) }))
}

fn notice(kind: &str, what: impl Into<String>, to_do: impl Into<String>) -> Notice {
    let (what, to_do) = (what.into(), to_do.into());
    Notice { kind: kind.to_owned(), needs_person: true, since: None, account_id: None, what, to_do }
}

impl Notice {
    fn since(self, at: Option<Timestamp>) -> Self {
        Self { since: at.map(Time), ..self }
    }
}

/// Returns all notices, the most urgent first.
pub(super) fn collect(state: &AppState, facts: &Facts) -> Vec<Notice> {
    let mut found: Vec<Notice> = broken(state).into_iter().collect();
    found.extend(storage(state, facts));
    found.extend(everything(state, &facts.totals));
    found.extend(facts.down.iter().map(account_down));
    found.extend(facts.resting.iter().filter(|rest| rest.reason == Reason::Failures).map(failures));
    found.extend(review(&facts.totals));
    found.extend(paused(state, &facts.totals));
    found.extend(facts.resting.iter().filter(|rest| rest.reason == Reason::Cooldown).map(cooldown));
    found.extend(config_refused(state));
    found.extend(webhooks(state));
    found.extend(webhooks_unreadable(state));
    found.extend(facts.receivers.iter().filter(|hook| hook.disabled_at.is_some()).map(receiver_disabled));
    found.extend(facts.receivers.iter().filter(|hook| hook.disabled_at.is_none()).map(receiver_failing));
    found.extend(machine(state));
    found
}

fn broken(state: &AppState) -> Option<Notice> {
    let n = state.store.metrics().promises_broken();
    let times = if n == 1 { "once".to_owned() } else { format!("{n} times") };
    let what = format!("a promise was broken {times} since the start");
    (n > 0).then(|| {
        notice("promise_broken", what, "outboxd pause --all, keep the log, then: outboxd audit")
            .since(Some(state.engine.started_at()))
    })
}

/// Returns why the queue cannot be written, if it cannot.
fn storage(state: &AppState, facts: &Facts) -> Option<Notice> {
    if let Some(since) = state.store.blocked_since() {
        let holder = state.store.blocked_by().unwrap_or_else(|| "another program".to_owned());
        let what = format!("{holder} keeps the queue locked, so nothing is sent");
        let to_do = format!("end the transaction of {holder}");
        return Some(notice("storage_locked", what, to_do).since(Some(since)));
    }
    let trouble = state.engine.storage_trouble();
    let since = trouble.as_ref().map(|trouble| trouble.since);
    let error = trouble.map(|trouble| trouble.error).or_else(|| facts.unwritable.clone())?;
    let what = format!("the queue cannot be written or read ({error})");
    let to_do = "see to its disk; sending resumes when it works again";
    Some(notice("storage", what, to_do).since(since))
}

/// The key is read at the start only, so that `resume` alone tries the old one again.
const KEY_TO_DO: &str = "for a new key restart the daemon; for the subscription: outboxd resume --all";

/// Returns what keeps every account from sending.
fn everything(state: &AppState, totals: &Totals) -> Vec<Notice> {
    let daemon = &totals.daemon;
    let restored = daemon.restored.as_ref().map(|restored| {
        let what = format!("the queue is held as a restored copy ({})", restored.why);
        let to_do = "cancel what was sent since, then: outboxd resume --all --restored";
        notice("restored", what, to_do).since(Some(restored.since))
    });
    let key = daemon.key_refused.as_ref().map(|key| {
        let what = format!("Unipile refuses the API key or the subscription ({})", key.problem);
        notice("key_refused", what, KEY_TO_DO).since(Some(key.since))
    });
    let health = state.engine.api_health();
    let api = (health.failures > 0).then(|| {
        let failures = if health.failures == 1 { "failure" } else { "failures in a row" };
        let failures = format!("{} {failures}", health.failures);
        let needs_person = health.failures > API_FAILURES;
        if health.unreachable_until.is_none() {
            let what = format!("the Unipile API fails sends ({failures}) and answers reads");
            let to_do = "if it stays, ask Unipile; one message at a time is tried";
            return Notice { needs_person, ..notice("api_trial", what, to_do) };
        }
        let what = format!("the Unipile API cannot be reached ({failures})");
        let to_do = "check the network and unipile.base_url: outboxd doctor";
        Notice { needs_person, ..notice("api_unreachable", what, to_do) }
    });
    [restored, key, api].into_iter().flatten().collect()
}

fn account_down(account: &DownAccount) -> Notice {
    let DownAccount { id, down } = account;
    let what = format!("{id} cannot send, it is {} ({})", down.cause.as_str(), down.problem);
    let to_do = format!("fix {id} at Unipile, then: outboxd resume {id}");
    let found = notice("account_down", what, to_do).since(Some(down.since));
    Notice { account_id: Some(id.clone()), ..found }
}

fn failures(resting: &Resting) -> Notice {
    let (subject, when) = resting_accounts(resting);
    let only = only_account(resting);
    let to_do = format!(
        "read the last errors: outboxd list --state failed; when the cause is fixed: outboxd resume {} --lift-hold",
        only.as_deref().unwrap_or("ACCOUNT")
    );
    let what = format!("{subject} after several failures in a row; {when}");
    Notice { account_id: only, ..notice("account_failures", what, to_do) }
}

fn cooldown(resting: &Resting) -> Notice {
    let (subject, when) = resting_accounts(resting);
    let what = format!("{subject} because LinkedIn throttled what was sent; {when}");
    let to_do = "wait; if it happens again, lengthen the gap";
    let found = notice("account_cooldown", what, to_do);
    Notice { needs_person: false, account_id: only_account(resting), ..found }
}

/// Returns which accounts rest, and when they go on.
fn resting_accounts(resting: &Resting) -> (String, String) {
    let (n, named, until) = (resting.accounts, resting.first.join(", "), time_text(resting.until));
    match n - resting.first.len() {
        0 if n == 1 => (format!("{named} rests"), format!("it goes on at {until}")),
        0 => (format!("{n} accounts ({named}) rest"), format!("the first goes on at {until}")),
        more => {
            (format!("{n} accounts ({named} and {more} more) rest"), format!("the first goes on at {until}"))
        }
    }
}

fn only_account(resting: &Resting) -> Option<String> {
    resting.first.first().filter(|_| resting.accounts == 1).cloned()
}

fn review(totals: &Totals) -> Option<Notice> {
    let n = totals.counts.of(StateName::Review);
    let messages = if n == 1 { "message waits" } else { "messages wait" };
    (n > 0).then(|| notice("review", format!("{n} {messages} for a person"), "outboxd review"))
}

fn paused(state: &AppState, totals: &Totals) -> Option<Notice> {
    let now = state.engine.now();
    let pause = totals.daemon.pause.as_ref().filter(|pause| pause.holds(now))?;
    let note = pause.note.as_ref().filter(|note| !note.is_empty());
    let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
    let until = pause.until.map(|at| format!(" until {}", time_text(at))).unwrap_or_default();
    let what = format!("all sending is paused{until}{note}");
    let needs_person = pause.until.is_none();
    let found = notice("paused", what, "outboxd resume --all").since(Some(pause.since));
    Some(Notice { needs_person, ..found })
}

fn webhooks(state: &AppState) -> Option<Notice> {
    let why = state.webhooks.as_ref()?.tally().warning(state.engine.now())?;
    Some(notice("webhooks_refused", why, "outboxd webhook list, then: outboxd webhook test"))
}

fn webhooks_unreadable(state: &AppState) -> Option<Notice> {
    let unreadable = state.webhooks.as_ref()?.tally().unreadable_lately(state.engine.now())?;
    let (n, kind, why) = (unreadable.count, &unreadable.kind, unreadable.why);
    let webhooks = if n == 1 { "webhook" } else { "webhooks" };
    let what = format!(
        "{n} {webhooks} could not be interpreted since the start and changed nothing (the last: {kind}, {why})"
    );
    let to_do = "search the log for \"a webhook cannot be read\"; what people write is found when chats are read (reply.check, inbound.poll)";
    Some(notice("webhooks_unreadable", what, to_do).since(Some(unreadable.last_at)))
}

fn config_refused(state: &AppState) -> Option<Notice> {
    let refused = state.refused_reload()?;
    let problem = refused.problem;
    let what = format!("the configuration could not be reloaded, the old one stays in force: {problem}");
    let to_do = "correct it (outboxd check shows every mistake), then reload again, or restart the daemon";
    Some(notice("config_refused", what, to_do).since(Some(refused.at)))
}

fn receiver_disabled(hook: &Hook) -> Notice {
    let (name, problem) = (&hook.name, hook.problem.as_deref().unwrap_or("no reason is known"));
    let what = format!("{name} receives no more events, it is disabled ({problem})");
    notice("receiver_disabled", what, format!("fix {name}, then: outboxd hook enable {name}"))
        .since(hook.disabled_at)
}

fn receiver_failing(hook: &Hook) -> Notice {
    let (name, problem) = (&hook.name, hook.problem.as_deref().unwrap_or("no reason is known"));
    let again = hook.retry_at.map(|at| format!("; the next try is at {}", time_text(at))).unwrap_or_default();
    let what = format!("{name} does not accept events ({problem}, {} in a row{again})", hook.failures);
    let to_do = format!("fix {name}; outboxd hook enable {name} then tries at once");
    Notice { needs_person: false, ..notice("receiver_failing", what, to_do) }
}

/// Returns what is wrong around the daemon: disk, log.
fn machine(state: &AppState) -> Vec<Notice> {
    let now = state.engine.now();
    let mut found = Vec::new();
    if let Some(free) = state.store.disk().1.filter(|free| *free < DISK_LOW_BYTES) {
        let what = format!("the disk of the queue has {} MB left", free / 1_000_000);
        found.push(notice("disk_low", what, "make room on it"));
    }
    let log = state.store.write_ahead_log();
    if log.is_long() {
        let holder = log.blocked_by.as_deref().unwrap_or("another program");
        let (path, size) = (log.path.display(), log.bytes >> 20);
        let what = format!("{path} has grown to {size} MB because {holder} keeps a read transaction open");
        found.push(notice("wal_long", what, "end that transaction or program, and the log shrinks again"));
    }
    let dropped = (state.dropped_log_lines)();
    if dropped > 0 {
        let lines = if dropped == 1 { "line was" } else { "lines were" };
        let what = format!("{dropped} log {lines} dropped since the start");
        let to_do = "look at what reads the log, which is too slow, or at its disk, which may be full";
        found.push(Notice { needs_person: false, ..notice("log_lines_dropped", what, to_do) });
    }
    if state.store.is_new() && now.duration_since(state.engine.started_at()) < NEW_FOR {
        let what = format!("this queue is new: there was none at {}", state.store.path().display());
        let to_do = "if there should be one, stop, correct store.path and start again";
        found.push(Notice { needs_person: false, ..notice("queue_new", what, to_do) });
    }
    found
}

/// Returns the one thing to do next.
pub(super) fn next_step(notices: &[Notice]) -> Option<String> {
    next(notices).map(|first| format!("{}: {}", first.what, first.to_do))
}

/// Returns the notice that says it.
pub(super) fn next(notices: &[Notice]) -> Option<&Notice> {
    notices.iter().find(|notice| notice.needs_person && BEFORE_SENDING.contains(&&*notice.kind))
}

/// The kinds that keep messages from being sent.
const BEFORE_SENDING: [&str; 11] = [
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
];
