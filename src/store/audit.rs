//! Checks the promises against the database alone, for `outboxd audit`.
//!
//! Everything here is read-only.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::rows::{self, Result, corrupt};
use crate::domain::kind::Kind;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::time_text;

/// A violation of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The promise: `P2`, `P3` or `P4`.
    pub promise: &'static str,
    /// The account.
    pub account_id: AccountId,
    /// The message.
    pub message_id: Option<MessageId>,
    /// When it happened.
    pub at: Timestamp,
    /// Description.
    pub what: String,
}

/// A past send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastSend {
    /// The message.
    pub id: MessageId,
    /// When its call began.
    pub at: Timestamp,
    /// Its kind, as the caps count it.
    pub kind: Kind,
    /// Whether its producer asked to ignore hours.
    pub ignores_hours: bool,
}

/// How much the audit covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audited {
    /// Number of messages.
    pub messages: u64,
    /// Number of calls.
    pub attempts: u64,
}

/// Selects messages that more than one call sent, or that were called again after they were found.
const TWICE: &str = "SELECT m.account_id, m.id, t.started_at AS at, \
       'was accepted by call ' || e.number || ' and called again as number ' || t.number AS what \
     FROM attempts e JOIN attempts t ON t.seq = e.seq AND t.number > e.number JOIN messages m ON m.seq = e.seq \
     WHERE e.outcome = 'accepted' \
     UNION ALL SELECT m.account_id, m.id, t.started_at, \
       'was found in its chat after call ' || e.number || ' and called again as number ' || t.number \
     FROM evidence e JOIN attempts t ON t.seq = e.seq AND t.number > e.number JOIN messages m ON m.seq = e.seq \
     WHERE e.finding = 'found' LIMIT ?1";

/// Selects provider ids that two messages claim in one chat.
const CLAIMED: &str = "SELECT account_id, max(id) AS id, max(sent_at) AS at, \
       'claims the id ' || mid || ', as ' || (count(*) - 1) || ' other message(s) of its chat do' AS what \
     FROM (SELECT m.account_id, m.id, m.sent_at, m.chat_id, j.value AS mid FROM messages m, json_each(m.provider_message_ids) j \
           WHERE m.provider_message_ids IS NOT NULL) GROUP BY account_id, chat_id, mid HAVING count(*) > 1 LIMIT ?1";

/// Selects calls that began before the previous call's gap was over. Within a run the monotonic clock decides,
/// because it cannot be set; between two runs the wall clock decides, unless it was set back.
const HASTY: &str = "SELECT account_id, id, at, 'began ' || passed || ' ms after the call before, whose pause was ' || gap_ms || ' ms' AS what \
     FROM (SELECT t.account_id, m.id, t.started_at AS at, lag(t.gap_ms) OVER w AS gap_ms, \
             CASE WHEN lag(t.run) OVER w = t.run THEN t.monotonic_ms - lag(t.monotonic_ms) OVER w \
                  ELSE CAST(round((julianday(t.started_at) - julianday(lag(t.started_at) OVER w)) * 86400000) AS INTEGER) END AS passed \
           FROM attempts t JOIN messages m ON m.seq = t.seq \
           WINDOW w AS (PARTITION BY t.account_id ORDER BY t.run, t.monotonic_ms)) \
     WHERE passed >= 0 AND passed < gap_ms LIMIT ?1";

impl Store {
    /// Returns violations of P2 and P3 that the database shows, at most `limit` of each kind.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn breaches(&self, limit: u32) -> Result<Vec<Breach>> {
        let mut found = Vec::new();
        for (promise, sql) in [("P2", TWICE), ("P2", CLAIMED), ("P3", HASTY)] {
            for row in sqlx::query(sql).bind(limit).fetch_all(&self.inner.readers).await? {
                found.push(read_breach(promise, &row)?);
            }
        }
        Ok(found)
    }

    /// Returns how much there is to audit.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn audited(&self) -> Result<Audited> {
        const SQL: &str = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM attempts)";
        let (messages, attempts): (i64, i64) = sqlx::query_as(SQL).fetch_one(&self.inner.readers).await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Audited { messages: count(messages), attempts: count(attempts) })
    }

    /// Returns at most `limit` sends of `account` that reached or may have reached a recipient, oldest first,
    /// continuing after those in `before`.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn sends(&self, account: &AccountId, before: &[PastSend], limit: u32) -> Result<Vec<PastSend>> {
        const SQL: &str = "SELECT t.started_at, t.kind, m.id, coalesce(m.urgent AND m.ignore_hours, 0) AS ignores_hours \
             FROM attempts t INDEXED BY attempts_by_account JOIN messages m ON m.seq = t.seq \
             WHERE t.account_id = ?1 AND t.started_at >= ?2 \
               AND (t.outcome IS NULL OR t.outcome IN ('accepted', 'uncertain', 'throttled')) \
             ORDER BY t.started_at, t.kind, t.outcome, t.seq, t.number LIMIT ?3 OFFSET ?4";
        // Several may have begun in the same millisecond; those already known are skipped.
        let from = before.last().map(|last| last.at);
        let known = before.iter().rev().take_while(|send| Some(send.at) == from).count();
        let query = sqlx::query(SQL).bind(account.as_str()).bind(from.map(time_text).unwrap_or_default());
        let query = query.bind(limit).bind(i64::try_from(known).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| {
            let kind: &str = row.try_get("kind")?;
            let kind = Kind::parse(kind).ok_or_else(|| corrupt("kind", kind))?;
            let (id, at) = (rows::message_id(row, "id")?, rows::required_time(row, "started_at")?);
            Ok(PastSend { id, at, kind, ignores_hours: row.try_get("ignores_hours")? })
        };
        found.iter().map(read).collect()
    }
}

fn read_breach(promise: &'static str, row: &SqliteRow) -> Result<Breach> {
    Ok(Breach {
        promise,
        account_id: AccountId::new(row.try_get::<String, _>("account_id")?),
        message_id: Some(rows::message_id(row, "id")?),
        at: rows::required_time(row, "at")?,
        what: row.try_get("what")?,
    })
}
