//! Checks the promises against the database alone, for `outboxd audit`.
//!
//! Everything here is read-only.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::kind::Kind;
use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// A violation of a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The promise: `P2`, `P3`, `P4` or `P5`.
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
pub(crate) struct PastSend {
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
     WHERE e.finding = 'found' LIMIT ?1 + 0";

/// Selects provider ids that two messages claim in one chat.
const CLAIMED: &str = "SELECT account_id, max(id) AS id, max(sent_at) AS at, \
       'claims the id ' || mid || ', as ' || (count(*) - 1) || ' other message(s) of its chat do' AS what \
     FROM (SELECT m.account_id, m.id, m.sent_at, m.chat_id, j.value AS mid FROM messages m, json_each(m.provider_message_ids) j \
           WHERE m.provider_message_ids IS NOT NULL) GROUP BY account_id, chat_id, mid HAVING count(*) > 1 LIMIT ?1 + 0";

/// Selects calls that began before the previous call's gap was over. Within a run the monotonic clock decides,
/// because it cannot be set; between two runs the wall clock decides, unless it was set back.
const HASTY: &str = "SELECT account_id, id, at, 'began ' || passed || ' ms after the call before, whose pause was ' || gap_ms || ' ms' AS what \
     FROM (SELECT t.account_id, m.id, t.started_at AS at, lag(t.gap_ms) OVER w AS gap_ms, \
             CASE WHEN lag(t.run) OVER w = t.run THEN t.monotonic_ms - lag(t.monotonic_ms) OVER w \
                  ELSE CAST(round((julianday(t.started_at) - julianday(lag(t.started_at) OVER w)) * 86400000) AS INTEGER) END AS passed \
           FROM attempts t JOIN messages m ON m.seq = t.seq \
           WINDOW w AS (PARTITION BY t.account_id ORDER BY t.run, t.monotonic_ms)) \
     WHERE passed >= 0 AND passed < gap_ms LIMIT ?1 + 0";

/// Selects sent messages whose last call began after an answer that stops them was heard, in the order in which the
/// queue was written: clocks may be set. Of a person whose chat was not known then, nothing was known.
const ANSWERED: &str = "WITH heard AS MATERIALIZED ( \
       SELECT i.account_id, i.chat_id, i.sender_id, i.at, i.heard_at, e.seq FROM inbound_messages i \
       CROSS JOIN (SELECT seq, account_id, detail FROM events WHERE kind = 'reply') e \
         ON e.account_id = i.account_id AND e.detail = 'chat ' || i.chat_id || ', message ' || i.message_id \
       WHERE i.kind = 'reply'), \
     pairs AS MATERIALIZED ( \
       SELECT m.seq AS message, h.seq AS reply, h.at FROM heard h CROSS JOIN messages m INDEXED BY messages_by_chat \
         ON m.chat_id = h.chat_id AND m.account_id = h.account_id WHERE m.users_ids IS NULL AND m.state = 'sent' \
       UNION SELECT m.seq, h.seq, h.at FROM heard h CROSS JOIN messages m INDEXED BY messages_by_thread \
         ON m.thread = 'user:' || h.sender_id AND m.account_id = h.account_id WHERE m.state = 'sent' \
       UNION SELECT m.seq, h.seq, h.at FROM heard h CROSS JOIN conversations c \
         ON c.account_id = h.account_id AND c.chat_id = h.chat_id AND c.at <= h.heard_at \
         CROSS JOIN messages m INDEXED BY messages_by_thread ON m.thread = 'user:' || c.user_id AND m.account_id = c.account_id \
         WHERE h.sender_id IS NULL AND m.state = 'sent'), \
     calls AS MATERIALIZED (SELECT message_id, max(seq) AS seq FROM events WHERE kind = 'message.sending' \
       AND message_id IN (SELECT m.id FROM pairs JOIN messages m ON m.seq = pairs.message) GROUP BY message_id) \
     SELECT m.account_id, m.id, m.sent_at AS at, 'was sent after the answer of ' || min(pairs.at) || ' was heard' AS what \
     FROM pairs CROSS JOIN messages m ON m.seq = pairs.message CROSS JOIN calls ON calls.message_id = m.id \
     WHERE pairs.reply < calls.seq AND coalesce(m.stop_on_reply, m.campaign IS NOT NULL) \
       AND pairs.at > min(m.created_at, coalesce((SELECT min(s.sent_at) FROM messages s INDEXED BY messages_by_thread \
         WHERE s.thread = m.thread AND s.account_id = m.account_id AND s.campaign IS m.campaign AND s.state = 'sent'), m.created_at)) \
     GROUP BY m.seq LIMIT ?1 + 0";

/// Messages for people and chats that are suppressed by name, and those that are suppressed by a hash; `?2` has them as
/// `[message, stop, key]`.
const PAIRS: &str = "SELECT m.seq AS message, s.id AS stop, s.key FROM stops s CROSS JOIN messages m INDEXED BY messages_by_thread \
         ON m.thread = 'user:' || s.key WHERE s.reason = 'suppressed' AND s.scope = 'person' AND m.state = 'sent' \
       UNION SELECT g.seq, s.id, s.key FROM messages g INDEXED BY messages_by_thread CROSS JOIN json_each(g.users_ids) u \
         CROSS JOIN stops s ON s.scope = 'person' AND s.key = u.value \
         WHERE g.thread >= 'group:' AND g.thread < 'group;' AND g.state = 'sent' AND s.reason = 'suppressed' \
       UNION SELECT m.seq, s.id, s.key FROM stops s CROSS JOIN messages m INDEXED BY messages_by_chat ON m.chat_id = s.key \
         WHERE s.reason = 'suppressed' AND s.scope = 'chat' AND m.users_ids IS NULL AND m.state = 'sent' \
       UNION SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)";

/// Selects messages whose last call began after their person or chat was suppressed: in the order in which the queue
/// was written, or, of a suppression that another program inserted, by its time. The event of a hashed one may have no
/// key: the last event of its time is taken, so that no message is named that was sent before.
const SUPPRESSED: &str = "calls AS MATERIALIZED (SELECT message_id, max(seq) AS seq, at FROM events WHERE kind = 'message.sending' \
       AND message_id IN (SELECT m.id FROM pairs JOIN messages m ON m.seq = pairs.message) GROUP BY message_id) \
     SELECT m.account_id, m.id, m.sent_at AS at, 'was sent after ' || s.scope || ' ' || pairs.key || ' was suppressed, ' || s.at AS what \
     FROM pairs CROSS JOIN messages m ON m.seq = pairs.message CROSS JOIN stops s ON s.id = pairs.stop \
     CROSS JOIN calls ON calls.message_id = m.id \
     LEFT JOIN (SELECT max(seq) AS seq, at, detail ->> '$.scope' AS scope, detail ->> '$.key' AS key \
         FROM events WHERE kind = 'stop.set' AND reason = 'suppressed' AND detail ->> '$.by' <> 'sql' GROUP BY 2, 3, 4) e \
       ON e.scope = s.scope AND e.at = s.at AND coalesce(e.key IN (pairs.key, s.key), substr(s.key, 1, 7) = 'sha256:') \
     WHERE s.account_id IN ('', m.account_id) \
       AND CASE WHEN e.seq IS NOT NULL THEN e.seq < calls.seq \
         WHEN EXISTS (SELECT 1 FROM people p WHERE p.user_id = pairs.key AND p.public_identifier IS NOT NULL) THEN 0 \
         ELSE strftime('%Y-%m-%dT%H:%M:%fZ', s.at, '+1 seconds') < calls.at END \
       AND (s.scope <> 'person' OR m.users_ids IS NOT NULL OR EXISTS (SELECT 1 FROM conversations c \
         WHERE c.account_id = m.account_id AND c.chat_id = m.chat_id AND c.at <= calls.at)) \
     GROUP BY m.seq LIMIT ?1 + 0";

/// Selects messages whose last call began after their person was erased; `?2` has them as `[message, at]`.
const ERASED: &str = "WITH calls AS MATERIALIZED (SELECT message_id, max(seq) AS seq FROM events WHERE kind = 'message.sending' \
       AND message_id IN (SELECT m.id FROM json_each(?2) j CROSS JOIN messages m ON m.seq = j.value ->> 0) GROUP BY message_id) \
     SELECT m.account_id, m.id, m.sent_at AS at, 'was sent after its person was erased, ' || (j.value ->> 1) AS what \
     FROM json_each(?2) j CROSS JOIN messages m ON m.seq = j.value ->> 0 CROSS JOIN calls ON calls.message_id = m.id \
     WHERE calls.seq > (SELECT max(e.seq) FROM events e WHERE e.kind = 'person.erased' AND e.at = j.value ->> 1) \
     GROUP BY m.seq LIMIT ?1 + 0";

/// Selects steps of which a person was sent two.
const STEP_TWICE: &str = "SELECT max(account_id) AS account_id, max(id) AS id, max(sent_at) AS at, \
       'is one of ' || count(*) || ' messages sent as step ' || step || ' of ' || campaign || ' for ' || step_key AS what \
     FROM messages INDEXED BY messages_steps WHERE step_key IS NOT NULL AND state <> 'rejected' AND state = 'sent' \
     GROUP BY campaign, step_key, step HAVING count(*) > 1 LIMIT ?1 + 0";

/// Selects sent steps that were called before the step before was sent.
const STEP_EARLY: &str = "WITH told AS MATERIALIZED (SELECT message_id, \
         min(iif(kind = 'message.sending', seq, NULL)) AS called, min(iif(kind = 'message.sent', seq, NULL)) AS sent \
       FROM events WHERE kind IN ('message.sending', 'message.sent') AND message_id IN (SELECT id FROM messages \
         INDEXED BY messages_steps WHERE step_key IS NOT NULL AND state <> 'rejected' AND state = 'sent') GROUP BY message_id) \
     SELECT m.account_id, m.id, m.sent_at AS at, 'is step ' || m.step || ' of ' || m.campaign || ', and was called before step ' \
       || p.step || ' was sent' AS what \
     FROM messages m INDEXED BY messages_steps CROSS JOIN messages p INDEXED BY messages_steps \
       ON p.campaign = m.campaign AND p.step_key = m.step_key AND p.step = m.step - 1 AND p.state <> 'rejected' \
     LEFT JOIN told c ON c.message_id = m.id LEFT JOIN told s ON s.message_id = p.id \
     WHERE m.step_key IS NOT NULL AND m.state <> 'rejected' AND m.state = 'sent' AND p.step_key IS NOT NULL \
       AND (p.state <> 'sent' OR c.called < s.sent) GROUP BY m.seq LIMIT ?1 + 0";

/// What one call broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBreach {
    /// When the call began; this moves when the wall clock is set.
    pub began_at: Timestamp,
    /// An earlier call of the message was accepted, or was found in its chat.
    pub twice: bool,
    /// Its account, all sending, its person, chat or campaign was stopped before it began.
    pub stopped: bool,
}

/// Checks one call. A stop within the second before it does not count, because clocks may differ by as much.
const OF_CALL: &str = "WITH call AS (SELECT m.*, strftime('%Y-%m-%dT%H:%M:%fZ', t.started_at, '-1 seconds') AS before, t.started_at AS began, t.number \
       FROM attempts t CROSS JOIN messages m ON m.seq = t.seq WHERE t.seq = ?1 AND t.number = ?2) \
     SELECT (SELECT began FROM call) AS began_at, EXISTS (SELECT 1 FROM attempts e WHERE e.seq = ?1 AND e.number < ?2 AND e.outcome = 'accepted') \
         OR EXISTS (SELECT 1 FROM evidence e WHERE e.seq = ?1 AND e.number < ?2 AND e.finding = 'found') AS twice, \
       EXISTS (SELECT 1 FROM call CROSS JOIN stops s WHERE s.at < call.before AND coalesce(s.until > call.began, 1) \
         AND s.account_id IN ('', call.account_id) AND (s.scope, s.key) IN (VALUES ('all', ''), ('account', call.account_id), ('campaign', call.campaign), \
           ('chat', CASE WHEN call.users_ids IS NULL THEN call.chat_id END), \
           ('person', CASE WHEN call.thread >= 'user:' AND call.thread < 'user;' THEN substr(call.thread, 6) END))) AS stopped";

impl Store {
    /// Returns what call `number` of a message broke, as the database shows it.
    pub async fn breach_of_call(&self, seq: Seq, number: u32) -> Result<CallBreach> {
        let row = sqlx::query(OF_CALL).bind(seq.0).bind(number).fetch_one(&self.inner.readers).await?;
        let (twice, stopped) = (row.try_get("twice")?, row.try_get("stopped")?);
        Ok(CallBreach { began_at: rows::required_time(&row, "began_at")?, twice, stopped })
    }

    /// Returns how many sends of `account`, of `kind` or of all kinds, that reached or may have reached a recipient began
    /// after `after` and not later than `until`.
    pub(crate) async fn sends_between(
        &self,
        account: &AccountId,
        kind: Option<Kind>,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<u64> {
        const SQL: &str = "SELECT count(*) FROM attempts INDEXED BY attempts_by_account WHERE account_id = ?1 \
             AND started_at > ?2 AND started_at <= ?3 AND (?4 IS NULL OR kind = ?4) \
             AND (outcome IS NULL OR outcome IN ('accepted', 'uncertain', 'throttled'))";
        let query = sqlx::query_scalar(SQL).bind(account.as_str()).bind(time_text(after));
        let query = query.bind(time_text(until)).bind(kind.map(Kind::as_str));
        let count: i64 = query.fetch_one(&self.inner.readers).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Returns violations of P2, P3 and P5 that the database shows, at most `limit` of each kind.
    pub async fn breaches(&self, limit: u32) -> Result<Vec<Breach>> {
        let mut found = Vec::new();
        let all = [
            ("P2", TWICE),
            ("P2", CLAIMED),
            ("P2", STEP_TWICE),
            ("P3", HASTY),
            ("P5", STEP_EARLY),
            ("P5", ANSWERED),
        ];
        for (promise, sql) in all {
            for row in sqlx::query(sql).bind(limit).fetch_all(&self.inner.readers).await? {
                found.push(read_breach(promise, &row)?);
            }
        }
        let hashed = self.sent_to_hashed().await?;
        let suppressed = format!("WITH pairs AS MATERIALIZED ({PAIRS}), {SUPPRESSED}");
        for (sql, rows) in [(suppressed, hashed.suppressed), (ERASED.to_owned(), hashed.erased)] {
            // Built from constants; every value is bound.
            let query = sqlx::query(AssertSqlSafe(sql)).bind(limit).bind(Value::Array(rows).to_string());
            for row in query.fetch_all(&self.inner.readers).await? {
                found.push(read_breach("P5", &row)?);
            }
        }
        Ok(found)
    }

    /// Returns how much there is to audit.
    pub(crate) async fn audited(&self) -> Result<Audited> {
        const SQL: &str = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM attempts)";
        let (messages, attempts): (i64, i64) = sqlx::query_as(SQL).fetch_one(&self.inner.readers).await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(Audited { messages: count(messages), attempts: count(attempts) })
    }

    /// Returns at most `limit` sends of `account` that reached or may have reached a recipient, oldest first,
    /// continuing after those in `before`.
    pub(crate) async fn sends(
        &self,
        account: &AccountId,
        before: &[PastSend],
        limit: u32,
    ) -> Result<Vec<PastSend>> {
        const SQL: &str = "SELECT t.started_at, t.kind, m.id, coalesce(m.urgent AND m.ignore_hours, 0) AS ignores_hours \
             FROM attempts t INDEXED BY attempts_by_account JOIN messages m ON m.seq = t.seq \
             WHERE t.account_id = ?1 AND t.started_at >= ?2 \
               AND (t.outcome IS NULL OR t.outcome IN ('accepted', 'uncertain', 'throttled')) \
             ORDER BY t.started_at, t.kind, t.outcome, t.seq, t.number LIMIT ?3 + 0 OFFSET ?4 + 0";
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
        account_id: rows::account_id(row)?,
        message_id: Some(rows::message_id(row, "id")?),
        at: rows::required_time(row, "at")?,
        what: row.try_get("what")?,
    })
}
