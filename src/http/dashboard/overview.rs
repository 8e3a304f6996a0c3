//! `/`: what needs a person, what goes out, and why the rest waits. The answers of `status`, `accounts` and `campaigns`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;

use super::charts::{self, Mark};
use super::command::{command, path, query};
use super::error::PageError;
use super::frame::{Action, Frame, Markup, When, html};
use super::funnels::{self, Counted, Outlook};
use super::needed::{self, Needed};
use crate::domain::message::AccountId;
use crate::domain::reason::Reason;
use crate::http::{App, accounts, status};
use crate::types::account::Account;
use crate::types::campaign::Campaign;
use crate::types::status::Status;
use crate::types::{Page, Time};

/// How far the timeline looks ahead.
const AHEAD_SECONDS: i64 = 30 * 60;
/// Accounts that are listed, those that need a person first; the rest is behind a link.
const ACCOUNTS: &str = "25";
/// Lines of the timeline.
const LINES: usize = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    when: When,
    status: Status,
    /// What needs a person.
    needed: Vec<Needed>,
    rows: Vec<Row>,
    more_accounts: Option<String>,
    reasons: Vec<Waiting>,
    /// How many messages wait for a reason of their own, not their account's.
    own_reasons: Vec<(String, u64)>,
    campaigns: Arc<Page<Campaign>>,
    /// When the campaigns were counted, if not now.
    counted_at: Option<Time>,
    more_campaigns: Option<String>,
    /// When campaigns are done and accounts send, as far as it was forecast.
    outlook: Arc<Outlook>,
    /// How many messages of all campaigns were answered.
    replied: u64,
    timeline: Option<Markup>,
    actions: Vec<Action>,
}

/// An account, with its own zone.
struct Row {
    account: Account,
    when: When,
    /// How much of the cap that binds is used.
    bar: Option<Markup>,
    /// What it sent on its last days.
    spark: Markup,
    action: Option<Action>,
}

/// The accounts that wait for one reason.
struct Waiting {
    reason: String,
    why: String,
    queued: u64,
    accounts: Vec<String>,
}

pub(super) async fn show(
    frame: Frame,
    State(state): App,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<Response, PageError> {
    let cursor = |name: &str| asked.get(name).map(|cursor| ("cursor".to_owned(), cursor.clone()));
    let status = status::status(State(Arc::clone(&state))).await?.0;
    let limit = ("limit".to_owned(), ACCOUNTS.to_owned());
    let of_accounts = Query(cursor("accounts").into_iter().chain([limit]).collect());
    let accounts = accounts::list(State(Arc::clone(&state)), of_accounts).await?.0;
    let counted = funnels::campaigns(&state, cursor("campaigns")).await?;
    let Counted { campaigns, replied, at: counted_at, .. } = counted;
    let now: Timestamp = status.now.into();
    let own_reasons = state.store.waiting_reasons().await?;
    let mut reasons = reasons(&accounts.data);
    // These are counted exactly.
    reasons.retain(|waiting| own_reasons.iter().all(|(reason, _)| *reason != waiting.reason));
    let outlook = funnels::outlook(&state).await;
    let timeline = timeline(&accounts.data, &outlook, now);
    let mut needed = needed::needed(&status);
    needed.extend(needed::of_accounts(&accounts.data, &status.notices));
    let rows = accounts.data.into_iter().map(|account| row(account, now, &frame)).collect();
    let is_paused = status.paused.is_some();
    let all = match is_paused {
        false => Action::new("/sending/pause".to_owned(), "Pause all sending", command(&["pause", "--all"])),
        true => Action::new("/sending/resume".to_owned(), "Resume sending", command(&["resume", "--all"])),
    };
    Ok(html(&Overview {
        when: When::new(now, None),
        needed,
        rows,
        more_accounts: accounts.next_cursor.map(|cursor| query("/", &[("accounts", &cursor)])),
        reasons,
        own_reasons,
        replied,
        more_campaigns: campaigns.next_cursor.as_ref().map(|cursor| query("/", &[("campaigns", cursor)])),
        outlook,
        campaigns,
        counted_at,
        timeline,
        actions: frame.offers(vec![all]),
        status,
        frame,
    }))
}

fn row(account: Account, now: Timestamp, frame: &Frame) -> Row {
    let id = account.id.as_str();
    let action = match account.paused {
        None => Action::new(path("/accounts", &[id, "pause"]), "Pause", command(&["pause", id])),
        Some(_) => Action::new(path("/accounts", &[id, "resume"]), "Resume", command(&["resume", id])),
    };
    let bar = account.cap.as_ref().map(|cap| {
        charts::bar(cap.used, cap.limit, &format!("{} of {} in {}", cap.used, cap.limit, cap.window))
    });
    let when = When::new(now, account.zone.as_deref());
    let spark = charts::sparkline(&account.sent_by_day.iter().map(|day| day.sent).collect::<Vec<_>>());
    Row { bar, spark, action: frame.offers(vec![action.with("back", "/")]).pop(), when, account }
}

/// Groups accounts by what they wait for, those with the most queued messages first.
fn reasons(accounts: &[Account]) -> Vec<Waiting> {
    let mut reasons: BTreeMap<&str, Waiting> = BTreeMap::new();
    for account in accounts {
        let queued = account.counts.get("queued").copied().unwrap_or(0);
        let Some(reason) = account.waits.reason.as_deref().filter(|_| queued > 0) else { continue };
        let waiting = reasons.entry(reason).or_insert_with(|| Waiting {
            reason: reason.to_owned(),
            why: account.waits.why.clone().unwrap_or_default(),
            queued: 0,
            accounts: Vec::new(),
        });
        waiting.queued += queued;
        waiting.accounts.push(account.id.clone());
    }
    let mut reasons: Vec<Waiting> = reasons.into_values().collect();
    reasons.sort_by_key(|waiting| std::cmp::Reverse(waiting.queued));
    reasons
}

/// Draws the accounts that send, or open, soon.
fn timeline(accounts: &[Account], outlook: &Outlook, now: Timestamp) -> Option<Markup> {
    let from_now = |at: Timestamp| at.duration_since(now).as_secs();
    let mark = |account: &Account| {
        let until = account.waits.until.filter(|_| account.waits.waits_for.as_deref() == Some("time"))?;
        let seconds = from_now(until.into()).max(0);
        let is_closed = account.waits.reason.as_deref() == Some("outside_hours");
        let label = account.id.clone();
        let sends = outlook.sends.get(&AccountId::new(account.id.as_str()));
        let later = sends.into_iter().flatten().map(|at| from_now(*at));
        // The first send of the forecast is that of `seconds`, or in the past.
        let later = later.filter(|at| *at > seconds && *at <= AHEAD_SECONDS).collect();
        (is_closed || seconds <= AHEAD_SECONDS).then_some(Mark { label, seconds, is_closed, later })
    };
    let mut marks: Vec<Mark> = accounts.iter().filter_map(mark).collect();
    marks.sort_by_key(|mark| mark.seconds);
    marks.truncate(LINES);
    (!marks.is_empty()).then(|| charts::timeline(&marks, AHEAD_SECONDS))
}

impl Row {
    fn count(&self, state: &str) -> u64 {
        self.account.counts.get(state).copied().unwrap_or(0)
    }
}

impl Waiting {
    fn link(&self, account: &str) -> String {
        query("/messages", &[("state", "queued"), ("account_id", account)])
    }
}

impl Overview {
    fn count(&self, states: &[&str]) -> u64 {
        states.iter().filter_map(|state| self.status.queue.counts.get(*state)).sum()
    }

    fn sentence(&self, reason: &str) -> &'static str {
        Reason::parse(reason).map_or("", Reason::sentence)
    }

    fn of_reason(&self, reason: &str) -> String {
        query("/messages", &[("reason", reason)])
    }
}
