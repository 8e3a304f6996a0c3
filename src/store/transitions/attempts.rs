//! The two durable steps around a call: the intent before its first byte leaves, and the settlement with its outcome.
//!
//! The intent checks again: it is written only if the message is still queued and neither the message, its account
//! nor all sending was stopped in the meantime (P2, P5). The same transaction advances the account's pace (P3).
//! Settling checks the attempt's number, so a late answer changes nothing.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::account_limits::{BEGIN_TURN, FORGET_TURNS, IntentLimits, history_json, limits_json};
use super::defer::event;
use crate::domain::account::{AccountHold, Down, History};
use crate::domain::message::{AccountId, ChatId, Seq};
use crate::domain::outcome::{Phase, ProviderError};
use crate::domain::reason::Reason;
use crate::domain::state::Settled;
use crate::domain::{time_text, whole_milliseconds};
use crate::store::Store;
use crate::store::sqlite::failpoints::Failpoint;
use crate::store::sqlite::rows::Result;

/// The intent to make one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// The message.
    pub seq: Seq,
    /// Its account.
    pub account_id: AccountId,
    /// Number of the attempt, starting at 1: one more than the message's previous attempts.
    pub number: u32,
    /// When the call begins.
    pub at: Timestamp,
    /// The gap drawn for it.
    pub gap: Duration,
    /// The account makes no call before this time.
    pub next_call_at: Timestamp,
    /// When the call begins, by the process's monotonic clock.
    pub monotonic: Duration,
    /// Earliest time at which the call can begin by the provider's clock, if that clock is known.
    pub provider_at: Option<Timestamp>,
    /// Hash of the request.
    pub fingerprint: String,
    /// The chat that the call writes to, if known.
    pub chat_id: Option<ChatId>,
    /// Number of edits of the message that is sent: a later edit withdraws the intent.
    pub edits: u32,
    /// What it records for the account's limits.
    pub limits: IntentLimits,
}

impl Intent {
    /// Returns the same intent, delayed by `waited`.
    pub(in crate::store) fn later_by(&self, waited: Duration) -> Self {
        let later = |at: Timestamp| whole_milliseconds(at.checked_add(waited).unwrap_or(Timestamp::MAX));
        Self { at: later(self.at), next_call_at: later(self.next_call_at), ..self.clone() }
    }
}

/// Whether the call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The intent is durable: make the call.
    Granted,
    /// Something changed in the meantime: make no call, check again.
    Withdrawn,
}

/// Outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// The message.
    pub seq: Seq,
    /// Its account.
    pub account_id: AccountId,
    /// Number of the attempt.
    pub number: u32,
    /// When it was settled.
    pub at: Timestamp,
    /// How far the call got.
    pub phase: Phase,
    /// The outcome's word, for the record.
    pub outcome: &'static str,
    /// The provider's error, unless the message was accepted.
    pub problem: Option<ProviderError>,
    /// State in which the message is left.
    pub message: Settled,
    /// The account makes no call before this time.
    pub next_call_at: Timestamp,
    /// A rest that the account must take.
    pub hold: Option<AccountHold>,
    /// What the account's limits remember from now on.
    pub history: History,
    /// Set if the account is down.
    pub account_down: Option<Down>,
    /// Set if the provider refused the API key.
    pub key_refused: Option<Down>,
}

impl Settlement {
    /// Returns whether it may concern more than its message and needs an event of its own.
    pub(super) fn is_about_the_account(&self) -> bool {
        self.hold.is_some() || self.account_down.is_some() || self.key_refused.is_some()
    }
}

impl Store {
    /// Makes the intent to call durable, unless something stops it.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no call may be made then.
    pub async fn begin_attempt(&self, intent: Intent) -> Result<Begun> {
        self.inner.writer.failpoints.pass(Failpoint::Begins(intent.account_id.clone(), intent.seq)).await;
        if self.cancel_suppressed(&intent).await? {
            return Ok(Begun::Withdrawn);
        }
        self.inner.writer.begin(intent).await
    }

    /// Records the outcome of a call. Returns `false` if the attempt was no longer open.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the attempt stays open and must be settled again.
    pub async fn settle(&self, settlement: Settlement) -> Result<bool> {
        self.inner.writer.settle(settlement).await
    }
}

pub(in crate::store) const BEGIN_MESSAGE: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'sending', reason = 'in_flight', attempts = j.number, \
       retry_at = NULL, updated_at = j.at, run = ?2 \
     FROM (SELECT value ->> 0 AS seq, value ->> 1 AS number, value ->> 2 AS at, \
                  value -> 9 ->> 'closes_at' AS closes_at, value ->> 11 AS edits FROM jsonb_each(?1)) AS j, \
          daemon AS d, accounts AS a \
     WHERE messages.seq = j.seq AND messages.state = 'queued' AND messages.attempts = j.number - 1 \
       AND messages.blocked_by IS NULL AND messages.held_at IS NULL AND messages.edits = j.edits \
       AND substr(messages.thread, 1, 8) <> 'user:in/' \
       AND a.id = messages.account_id AND d.id = 1 \
       AND (messages.expires_at IS NULL OR messages.expires_at > j.at) AND (j.closes_at IS NULL OR j.closes_at > j.at) \
       AND d.key_refused_at IS NULL AND d.restored_at IS NULL AND a.down_cause IS NULL \
       AND NOT EXISTS (SELECT 1 FROM stops p WHERE p.scope = 'all' AND (p.until IS NULL OR p.until > j.at)) \
       AND NOT EXISTS (SELECT 1 FROM stops p WHERE p.scope = 'account' AND p.key = a.id AND (p.until IS NULL OR p.until > j.at)) \
       AND (a.hold_until IS NULL OR a.hold_until <= j.at) \
       AND (messages.needs IS NULL OR EXISTS (SELECT 1 FROM people p WHERE p.account_id = messages.account_id \
         AND p.user_id = substr(messages.thread, 6) AND p.distance IN ('FIRST_DEGREE', 'SELF'))) \
       AND NOT EXISTS (SELECT 1 FROM answered r WHERE r.seq = messages.seq) \
       AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND (x.until IS NULL OR x.until > j.at)) \
     RETURNING messages.seq";

pub(in crate::store) const BEGIN_ATTEMPT: &str = "INSERT INTO attempts (seq, number, account_id, kind, run, gap_ms, started_at, monotonic_ms, fingerprint, \
       chat_id, provider_at) \
     SELECT value ->> 0, value ->> 1, value ->> 3, value -> 9 ->> 'kind', ?2, value ->> 4, value ->> 2, value ->> 6, value ->> 7, \
       value ->> 8, value ->> 10 \
     FROM jsonb_each(?1)";

pub(in crate::store) const BEGIN_ACCOUNT: &str = "UPDATE accounts SET last_call_at = j.at, last_gap_ms = j.gap_ms, next_call_at = j.next_call_at, \
       first_call_at = coalesce(accounts.first_call_at, j.at), break_left = j.limits ->> 'break_left', \
       on_break = j.limits ->> 'on_break', virtual_time = coalesce(j.limits ->> 'virtual_time', accounts.virtual_time), \
       warm_up_again_at = CASE WHEN j.limits ->> 'warms_up_again' THEN j.at ELSE accounts.warm_up_again_at END \
     FROM (SELECT value ->> 2 AS at, value ->> 3 AS id, value ->> 4 AS gap_ms, value ->> 5 AS next_call_at, \
                  value -> 9 AS limits \
           FROM jsonb_each(?1)) AS j \
     WHERE accounts.id = j.id";

pub(super) fn verdict(intent: &Intent, granted: &[i64]) -> Begun {
    if granted.contains(&intent.seq.0) { Begun::Granted } else { Begun::Withdrawn }
}

/// Writes intents with three statements, however many intents there are.
pub(in crate::store) async fn begin(
    connection: &mut SqliteConnection,
    run: i64,
    intents: &[Intent],
) -> Result<Vec<Begun>> {
    if intents.is_empty() {
        return Ok(Vec::new());
    }
    let asked = intents_json(intents.iter());
    let granted: Vec<i64> =
        sqlx::query_scalar(BEGIN_MESSAGE).bind(&asked).bind(run).fetch_all(&mut *connection).await?;
    let is_granted = |intent: &Intent| granted.contains(&intent.seq.0);
    if !granted.is_empty() {
        let written = if granted.len() == intents.len() {
            asked
        } else {
            intents_json(intents.iter().filter(|intent| is_granted(intent)))
        };
        sqlx::query(BEGIN_ATTEMPT).bind(&written).bind(run).execute(&mut *connection).await?;
        sqlx::query(BEGIN_ACCOUNT).bind(&written).execute(&mut *connection).await?;
        if intents.iter().any(|intent| intent.limits.turn.is_some()) {
            sqlx::query(BEGIN_TURN).bind(&written).execute(&mut *connection).await?;
            sqlx::query(FORGET_TURNS).bind(&written).execute(&mut *connection).await?;
        }
    }
    Ok(intents.iter().map(|intent| verdict(intent, &granted)).collect())
}

pub(super) fn intents_json<'a>(intents: impl Iterator<Item = &'a Intent>) -> String {
    let rows = intents.map(|intent| {
        json!([
            intent.seq.0,
            intent.number,
            time_text(intent.at),
            intent.account_id.as_str(),
            u64::try_from(intent.gap.as_millis()).unwrap_or(u64::MAX >> 1),
            time_text(intent.next_call_at),
            u64::try_from(intent.monotonic.as_millis()).unwrap_or(u64::MAX >> 1),
            intent.fingerprint,
            intent.chat_id.as_ref().map(ChatId::as_str),
            limits_json(&intent.limits),
            intent.provider_at.map(time_text),
            intent.edits,
        ])
    });
    Value::Array(rows.collect()).to_string()
}

pub(in crate::store) const SETTLE_MESSAGE: &str = "UPDATE messages SET revision = messages.revision + 1, state = j.state, reason = j.reason, error = j.error, retry_at = j.retry_at, \
       retries = messages.retries + j.spent, sent_at = j.sent_at, chat_id = coalesce(messages.chat_id, j.chat_id), \
       provider_message_ids = j.ids, updated_at = j.at, reconcile_at = j.reconcile_at, settled_by = j.settled_by, \
       reads = iif(j.reconcile_at IS NULL, messages.reads, 0) \
     FROM (SELECT value ->> 0 AS seq, value ->> 1 AS number, value ->> 2 AS at, value ->> 3 AS state, \
                  value ->> 4 AS reason, value ->> 5 AS error, value ->> 6 AS retry_at, value ->> 7 AS spent, \
                  value ->> 8 AS sent_at, value ->> 9 AS chat_id, value ->> 10 AS ids, value ->> 25 AS reconcile_at, \
                  value ->> 26 AS settled_by FROM jsonb_each(?1)) AS j \
     WHERE messages.seq = j.seq AND messages.state = 'sending' AND messages.attempts = j.number \
     RETURNING messages.seq";

pub(in crate::store) const SETTLE_ATTEMPT: &str = "UPDATE attempts SET ended_at = j.at, phase = j.phase, outcome = j.outcome, status = j.status, \
       type = j.type, title = j.title, detail = j.detail, req_id = j.req_id \
     FROM (SELECT value ->> 0 AS seq, value ->> 1 AS number, value ->> 2 AS at, value ->> 11 AS phase, \
                  value ->> 12 AS outcome, value ->> 13 AS status, value ->> 14 AS type, value ->> 15 AS title, \
                  value ->> 16 AS detail, value ->> 17 AS req_id FROM jsonb_each(?1)) AS j \
     WHERE attempts.seq = j.seq AND attempts.number = j.number AND attempts.ended_at IS NULL";

/// A call that began before a person resumed the account says nothing about what was fixed since. It neither takes
/// the account down again nor counts earlier failures.
pub(in crate::store) const SETTLE_ACCOUNT: &str = "UPDATE accounts SET next_call_at = max(coalesce(accounts.next_call_at, ''), j.next_call_at), \
       hold_reason = iif(j.is_old AND j.hold_reason = 'failures', accounts.hold_reason, coalesce(j.hold_reason, accounts.hold_reason)), \
       hold_until = iif(j.is_old AND j.hold_reason = 'failures', accounts.hold_until, coalesce(j.hold_until, accounts.hold_until)), \
       down_cause = coalesce(iif(j.is_old, NULL, j.down_cause), accounts.down_cause), \
       down_at = coalesce(iif(j.is_old, NULL, j.down_at), accounts.down_at), \
       down_problem = coalesce(iif(j.is_old, NULL, j.down_problem), accounts.down_problem), \
       failures = iif(j.is_old, min(j.history ->> 'failures', 1), j.history ->> 'failures'), \
       throttles = j.history ->> 'throttles', \
       throttled_at = j.history ->> 'throttled_at', half_caps_until = j.history ->> 'half_caps_until' \
     FROM (SELECT value ->> 18 AS id, value ->> 19 AS next_call_at, value ->> 20 AS hold_reason, \
                  value ->> 21 AS hold_until, value ->> 22 AS down_cause, value ->> 23 AS down_at, \
                  value ->> 24 AS down_problem, value -> 27 AS history, \
                  coalesce(a.resumed_at > t.started_at, 0) AS is_old \
           FROM jsonb_each(?1) CROSS JOIN attempts AS t ON t.seq = value ->> 0 AND t.number = value ->> 1 \
             CROSS JOIN accounts AS a ON a.id = value ->> 18) AS j \
     WHERE accounts.id = j.id";

/// Settles attempts with three statements, however many attempts there are.
pub(in crate::store) async fn settle(
    connection: &mut SqliteConnection,
    settlements: &[&Settlement],
) -> Result<Vec<bool>> {
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let rows = settlements_json(settlements);
    let settled: Vec<i64> =
        sqlx::query_scalar(SETTLE_MESSAGE).bind(&rows).fetch_all(&mut *connection).await?;
    let is_settled = |settlement: &Settlement| settled.contains(&settlement.seq.0);
    // A late answer changes neither its attempt nor its account.
    let in_time: Vec<&Settlement> = settlements.iter().copied().filter(|one| is_settled(one)).collect();
    let rows = if in_time.len() == settlements.len() { rows } else { settlements_json(&in_time) };
    sqlx::query(SETTLE_ATTEMPT).bind(&rows).execute(&mut *connection).await?;
    sqlx::query(SETTLE_ACCOUNT).bind(&rows).execute(&mut *connection).await?;
    for settlement in in_time {
        account_events(connection, settlement).await?;
    }
    Ok(settlements.iter().map(|settlement| is_settled(settlement)).collect())
}

/// Records the event for a failure that stops more than one message. Such failures are rare.
async fn account_events(connection: &mut SqliteConnection, settlement: &Settlement) -> Result<()> {
    // A call that began before a person resumed does not show that the new key is refused either.
    const KEY: &str = "UPDATE daemon SET key_refused_at = ?1, key_problem = ?2 WHERE id = 1 AND key_refused_at IS NULL \
         AND NOT EXISTS (SELECT 1 FROM attempts t WHERE t.seq = ?3 AND t.number = ?4 AND t.started_at < daemon.resumed_at)";
    const IS_DOWN: &str = "SELECT down_cause IS NOT NULL FROM accounts WHERE id = ?1";
    let at = time_text(settlement.at);
    let account = settlement.account_id.as_str();
    if let Some(hold) = &settlement.hold {
        let (reason, until) = (hold.reason.as_str(), time_text(hold.until));
        event(connection, &at, "account.hold", Some(account), reason, &until).await?;
    }
    if let Some(down) = &settlement.account_down
        && sqlx::query_scalar(IS_DOWN).bind(account).fetch_optional(&mut *connection).await? == Some(true)
    {
        let reason = Reason::of_down(down.cause).as_str();
        event(connection, &at, "account.down", Some(account), reason, &down.problem).await?;
    }
    if let Some(down) = &settlement.key_refused {
        let query = sqlx::query(KEY).bind(&at).bind(&down.problem).bind(settlement.seq.0);
        let refused = query.bind(settlement.number).execute(&mut *connection).await?;
        if refused.rows_affected() > 0 {
            let reason = Reason::KeyRefused.as_str();
            event(connection, &at, "daemon.key_refused", None, reason, &down.problem).await?;
        }
    }
    Ok(())
}

pub(super) fn settlements_json(settlements: &[&Settlement]) -> String {
    Value::Array(settlements.iter().map(|settlement| settlement_json(settlement)).collect()).to_string()
}

fn settlement_json(settlement: &Settlement) -> Value {
    let (reason, retry_at, spent, sent_at, chat_id, ids) = match &settlement.message {
        Settled::Sent { at, chat_id, message_ids } => {
            let ids = json!(message_ids).to_string();
            (Reason::Delivered, None, false, Some(*at), chat_id.as_ref().map(|id| id.as_str()), Some(ids))
        }
        Settled::Queued { reason, retry_at, spent_retry, .. } => {
            (*reason, *retry_at, *spent_retry, None, None, None)
        }
        Settled::Failed { reason, .. } | Settled::Review { reason, .. } => {
            (*reason, None, false, None, None, None)
        }
        Settled::Uncertain { .. } => (Reason::Reconciling, None, false, None, None, None),
    };
    let reconcile_at = match &settlement.message {
        Settled::Uncertain { reconcile_at, .. } => Some(time_text(*reconcile_at)),
        Settled::Sent { .. } | Settled::Queued { .. } | Settled::Failed { .. } | Settled::Review { .. } => {
            None
        }
    };
    let problem = settlement.problem.as_ref();
    json!([
        settlement.seq.0,
        settlement.number,
        time_text(settlement.at),
        settlement.message.name().as_str(),
        reason.as_str(),
        problem.map(ToString::to_string),
        retry_at.map(time_text),
        i32::from(spent),
        sent_at.map(time_text),
        chat_id,
        ids,
        settlement.phase.as_str(),
        settlement.outcome,
        problem.and_then(|problem| problem.status),
        problem.map(|problem| &problem.kind),
        problem.and_then(|problem| problem.title.as_ref()),
        problem.and_then(|problem| problem.detail.as_ref()),
        problem.and_then(|problem| problem.req_id.as_ref()),
        settlement.account_id.as_str(),
        time_text(settlement.next_call_at),
        settlement.hold.map(|hold| hold.reason.as_str()),
        settlement.hold.map(|hold| time_text(hold.until)),
        settlement.account_down.as_ref().map(|down| down.cause.as_str()),
        settlement.account_down.as_ref().map(|down| time_text(down.since)),
        settlement.account_down.as_ref().map(|down| &down.problem),
        reconcile_at,
        sent_at.map(|_| "answer"),
        history_json(&settlement.history),
    ])
}
