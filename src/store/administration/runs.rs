//! The start and the end of a run, and recovery from the previous one.
//!
//! A message found `sending` at the start was interrupted in the middle of its call: it is unknown whether it was
//! sent. So it becomes uncertain, its chat is read to reconcile it, and it is never repeated blindly (P2). The
//! account's gap counts from now, because the call may have reached the recipient at the last moment (P3).

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::clock_step::ClockStep;
use crate::domain::account::Restored;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::outcome::ProviderError;
use crate::domain::{time_text, words};
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::reconcile::reason_in_queue;

words! {
    /// What a start follows.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum StartedAfter {
        /// No run: the queue is new.
        #[default]
        Nothing = "nothing",
        /// A run that stopped cleanly.
        CleanStop = "clean_stop",
        /// A run that did not.
        Crash = "crash",
        /// The file is not the one that the last run had here, but a copy of it, such as a backup.
        Copy = "copy",
    }
}

/// What the previous run left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Calls in progress when the previous run ended; their chats are read to reconcile them.
    pub uncertain: Vec<RecoveredAttempt>,
    /// Number of messages that continue in their order, at the pace of their accounts.
    pub queued: u64,
    /// What the file was before this start.
    pub after: StartedAfter,
    /// Set if no daemon had the queue open for so long that messages due before this time wait for a person.
    pub stale_before: Option<Timestamp>,
    /// Number of messages that this start left to a person for that reason.
    pub stale: u64,
    /// Set if the queue is held because it is a copy or was restored from a backup.
    pub restored: Option<Restored>,
}

/// Returns when an account's chats are first read to reconcile its messages; `None`: never, a person decides.
pub type ReconcileAt = Box<dyn Fn(&AccountId) -> Option<Timestamp> + Send + Sync>;

/// A call in progress when the previous run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredAttempt {
    /// The message.
    pub message_id: MessageId,
    /// Its account.
    pub account_id: AccountId,
    /// When the call began.
    pub started_at: Timestamp,
}

impl Store {
    /// Recovers from the previous run, once, before anything is sent. A refused key is cleared: a start means that a
    /// person has fixed it. `reconcile_at` returns when an account's chats are read. If no daemon had the queue open
    /// for `stale_after`, messages that became due longer ago than that wait for a person (P4). `clock_step` is the
    /// step of the wall clock since the last run.
    pub async fn recover(
        &self,
        now: Timestamp,
        reconcile_at: ReconcileAt,
        stale_after: Option<Duration>,
        clock_step: Option<ClockStep>,
    ) -> Result<Recovered> {
        let (run, is_copy) = (self.inner.run, self.inner.is_copy);
        let stale_before = self.stale_before(now, stale_after, clock_step).await?;
        let mut stale = 0;
        let mut from = stale_before.map(|before| (before, 0));
        while let Some((before, after)) = from {
            let exclusive =
                self.exclusive(now, move |connection| Box::pin(hold_stale(connection, before, after, now)));
            let (held, next) = exclusive.await?;
            stale += held;
            from = next.map(|after| (before, after));
        }
        let recovered = self
            .exclusive(now, move |connection| {
                Box::pin(async move { recover(connection, run, now, &reconcile_at).await })
            })
            .await?;
        let after = match recovered.after {
            StartedAfter::CleanStop | StartedAfter::Crash if is_copy => StartedAfter::Copy,
            after => after,
        };
        let restored = self.daemon().await?.restored;
        Ok(Recovered { stale_before, stale, restored, after, ..recovered })
    }

    /// Returns messages to the queue that wait for a person only because the wall clock was ahead when a run began: the
    /// clock was set back to `now`, they were left to a person later than that, and they became due within `stale_after`.
    /// Returns their accounts.
    pub(crate) async fn release_stale(
        &self,
        now: Timestamp,
        stale_after: Duration,
    ) -> Result<Vec<AccountId>> {
        let since = now.checked_sub(stale_after).unwrap_or(Timestamp::MIN);
        let mut accounts = HashSet::new();
        loop {
            let released = self
                .exclusive(now, move |connection| Box::pin(release_stale(connection, since, now)))
                .await?;
            let is_last = (released.len() as u64) < STALE_STEP.unsigned_abs();
            accounts.extend(released);
            if is_last {
                return Ok(accounts.into_iter().collect());
            }
        }
    }

    /// Returns the time before which a due message is stale, if no daemon had the queue open for long enough.
    async fn stale_before(
        &self,
        now: Timestamp,
        stale_after: Option<Duration>,
        clock_step: Option<ClockStep>,
    ) -> Result<Option<Timestamp>> {
        // The guard's time may come from a clock that was set shortly before the last run ended.
        const CLOCKS: &str = "SELECT clock_at FROM runs WHERE id < ?1 ORDER BY id DESC LIMIT 1";
        let Some(before) = stale_after.and_then(|after| now.checked_sub(after).ok()) else { return Ok(None) };
        let Some(alive_at) = self.inner.mark.last_alive_at() else { return Ok(None) };
        let query = sqlx::query(CLOCKS).bind(self.inner.run);
        let row = query.fetch_optional(&self.inner.readers).await?;
        let clock_at = row.map_or(Ok(None), |row| rows::time(&row, "clock_at"))?;
        let alive_at = clock_at.map_or(alive_at, |clock_at| clock_at.max(alive_at));
        let set_by = clock_step.map(ClockStep::by).unwrap_or_default();
        let alive_at = alive_at.checked_add(set_by).unwrap_or(alive_at);
        Ok((alive_at <= before).then_some(before))
    }

    /// Leaves the open call of `account` to reconciliation: the code that made it has ended.
    pub async fn abandon(&self, account: AccountId, now: Timestamp, reconcile_at: ReconcileAt) -> Result<()> {
        self.exclusive(now, move |connection| {
            Box::pin(async move { in_doubt(connection, Some(&account), now, &reconcile_at).await.map(drop) })
        })
        .await
    }

    pub(in crate::store) async fn end_run(&self, now: Timestamp) -> Result<()> {
        const SQL: &str = "UPDATE runs SET stopped_at = ?2 WHERE id = ?1";
        self.execute(now, sqlx::query(SQL).bind(self.inner.run).bind(time_text(now))).await?;
        Ok(())
    }
}

pub(in crate::store) async fn begin(connection: &mut SqliteConnection, now: Timestamp) -> Result<i64> {
    const SQL: &str = "INSERT INTO runs (started_at, version, pid) VALUES (?1, ?2, ?3) RETURNING id";
    let query = sqlx::query_scalar(SQL).bind(time_text(now)).bind(env!("CARGO_PKG_VERSION"));
    Ok(query.bind(i64::from(std::process::id())).fetch_one(connection).await?)
}

async fn recover(
    connection: &mut SqliteConnection,
    run: i64,
    now: Timestamp,
    reconcile_at: &ReconcileAt,
) -> Result<Recovered> {
    const QUEUED: &str = "SELECT n FROM totals WHERE what = 'queued'";
    const LAST_RUN: &str = "SELECT stopped_at IS NOT NULL FROM runs WHERE id < ?1 ORDER BY id DESC LIMIT 1";
    const FORGET: &str =
        "UPDATE daemon SET key_refused_at = NULL, key_problem = NULL WHERE key_refused_at IS NOT NULL";
    let uncertain = in_doubt(connection, None, now, reconcile_at).await?;
    sqlx::query(FORGET).execute(&mut *connection).await?;
    let queued: i64 = sqlx::query_scalar(QUEUED).fetch_one(&mut *connection).await?;
    let last: Option<bool> = sqlx::query_scalar(LAST_RUN).bind(run).fetch_optional(connection).await?;
    let queued = queued.try_into().unwrap_or(0);
    let after = match last {
        None => StartedAfter::Nothing,
        Some(true) => StartedAfter::CleanStop,
        Some(false) => StartedAfter::Crash,
    };
    Ok(Recovered { uncertain, queued, after, ..Recovered::default() })
}

/// Rows per transaction, so that other programs can write in between.
const STALE_STEP: i64 = 10_000;

/// Leaves messages that were due before `before` to a person, among those that arrived after `after`. A step that waits
/// for the step before it is not due, and a held message waits for a person anyway. Returns how many were left to a
/// person, and where to continue if more remain.
async fn hold_stale(
    connection: &mut SqliteConnection,
    before: Timestamp,
    after: i64,
    now: Timestamp,
) -> Result<(u64, Option<i64>)> {
    const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'review', reason = 'stale', retry_at = NULL, updated_at = ?2 \
         WHERE seq > ?3 AND seq <= ?4 AND state = 'queued' AND held_at IS NULL AND due_at < ?1 AND NOT (coalesce(step, 1) > 1 AND wait_until IS NULL) \
           AND (expires_at IS NULL OR expires_at > ?2)";
    const MORE: &str = "SELECT EXISTS (SELECT 1 FROM messages WHERE seq > ?1)";
    let up_to = after.saturating_add(STALE_STEP);
    let query = sqlx::query(SQL).bind(time_text(before)).bind(time_text(now)).bind(after).bind(up_to);
    let held = query.execute(&mut *connection).await?.rows_affected();
    let more: bool = sqlx::query_scalar(MORE).bind(up_to).fetch_one(connection).await?;
    Ok((held, more.then_some(up_to)))
}

/// Returns messages to the queue that were left to a person after `now` and became due since `since`; returns the account
/// of each.
async fn release_stale(
    connection: &mut SqliteConnection,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<AccountId>> {
    let sql = format!(
        "UPDATE messages SET revision = messages.revision + 1, state = 'queued', reason = {}, updated_at = ?1 \
         WHERE seq IN (SELECT seq FROM messages INDEXED BY messages_unsettled \
           WHERE state IN ('sending', 'uncertain', 'review') AND state = 'review' AND reason = 'stale' \
           AND updated_at > ?1 AND due_at >= ?2 LIMIT ?3 + 0) RETURNING account_id",
        reason_in_queue("?1")
    );
    // Built from constants; values are bound.
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(time_text(now)).bind(time_text(since));
    let accounts: Vec<String> = query.bind(STALE_STEP).fetch_all(connection).await?;
    Ok(accounts.into_iter().map(AccountId::new).collect())
}

/// Leaves the open calls of all accounts, or of one, to reconciliation or to a person.
async fn in_doubt(
    connection: &mut SqliteConnection,
    only: Option<&AccountId>,
    now: Timestamp,
    reconcile_at: &ReconcileAt,
) -> Result<Vec<RecoveredAttempt>> {
    const FOUND: &str = "SELECT m.seq, m.id, m.account_id, a.started_at, a.gap_ms FROM messages m \
         JOIN attempts a ON a.seq = m.seq AND a.number = m.attempts \
         WHERE m.state = 'sending' AND (?1 IS NULL OR m.account_id = ?1)";
    const MESSAGES: &str = "UPDATE messages SET revision = messages.revision + 1, state = iif(j.reconcile_at IS NULL, 'review', 'uncertain'), \
           reason = iif(j.reconcile_at IS NULL, 'outcome_unknown', 'reconciling'), reconcile_at = j.reconcile_at, reads = 0, \
           error = ?2, updated_at = ?3 \
         FROM (SELECT value ->> 0 AS seq, value ->> 3 AS reconcile_at FROM json_each(?1)) AS j \
         WHERE messages.seq = j.seq";
    const ATTEMPTS: &str = "UPDATE attempts SET ended_at = ?4, outcome = 'uncertain', type = ?2, detail = ?3 \
         WHERE seq IN (SELECT value ->> 0 FROM json_each(?1)) AND ended_at IS NULL";
    const ACCOUNTS: &str = "UPDATE accounts SET next_call_at = max(coalesce(next_call_at, ''), j.at) \
         FROM (SELECT value ->> 1 AS id, value ->> 2 AS at FROM json_each(?1)) AS j WHERE accounts.id = j.id";
    let mut in_doubt = Vec::new();
    let mut rows = Vec::new();
    for row in sqlx::query(FOUND).bind(only.map(AccountId::as_str)).fetch_all(&mut *connection).await? {
        let account_id: String = row.try_get("account_id")?;
        let gap = Duration::from_millis(row.try_get::<i64, _>("gap_ms")?.try_into().unwrap_or(0));
        let next_call_at = now.checked_add(gap).unwrap_or(Timestamp::MAX);
        let account_id = AccountId::new(account_id);
        let reconcile_at = reconcile_at(&account_id).map(time_text);
        let seq: i64 = row.try_get("seq")?;
        rows.push(json!([seq, account_id.as_str(), time_text(next_call_at), reconcile_at]));
        in_doubt.push(RecoveredAttempt {
            message_id: rows::message_id(&row, "id")?,
            account_id,
            started_at: rows::required_time(&row, "started_at")?,
        });
    }
    if in_doubt.is_empty() {
        return Ok(in_doubt);
    }
    let rows = serde_json::Value::Array(rows).to_string();
    let problem = ProviderError::local("stopped_while_sending", "the daemon stopped before the answer came");
    let at = time_text(now);
    sqlx::query(MESSAGES).bind(&rows).bind(problem.to_string()).bind(&at).execute(&mut *connection).await?;
    let attempts = sqlx::query(ATTEMPTS).bind(&rows).bind(&problem.kind).bind(&problem.detail).bind(&at);
    attempts.execute(&mut *connection).await?;
    sqlx::query(ACCOUNTS).bind(&rows).execute(connection).await?;
    Ok(in_doubt)
}
