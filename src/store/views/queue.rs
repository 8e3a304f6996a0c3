//! The queue of an account in the form that a forecast needs: a short summary of every queued message, read in parts,
//! because reading 100,000 rows at once would delay everything else.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::step::{Step, StepWaiting};
use crate::domain::stop::StoppedBy;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// Summary of a queued message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMessage {
    /// Its id.
    pub id: MessageId,
    /// Its sequence number in the queue.
    pub seq: i64,
    /// The lane in which it waits.
    pub lane: Lane,
    /// When it becomes or became due.
    pub due_at: Timestamp,
    /// Not sent before this time, if it is retried or was deferred.
    pub retry_at: Option<Timestamp>,
    /// Why it was deferred until `retry_at`, if not because an attempt failed.
    pub deferred: Option<Reason>,
    /// Not sent from this time on.
    pub expires_at: Option<Timestamp>,
    /// The chat or recipient.
    pub thread: String,
    /// Its place in its campaign.
    pub step: Option<Step>,
    /// Whom its step is for.
    pub step_key: Option<String>,
    /// What it waits for as a step of a campaign.
    pub step_waiting: Option<StepWaiting>,
    /// The state of the message whose outcome its thread waits for.
    pub blocked_by: Option<StateName>,
    /// The stop that holds it, if one does.
    pub stop: Option<StoppedBy>,
    /// Whether it is held until it is released.
    pub held: bool,
    /// Whether it needs a connection with the person, and none is known.
    pub is_unconnected: bool,
    /// When this person was last sent a message that started a chat.
    pub started_at: Option<Timestamp>,
}

/// Builds the statement behind [`Store::queued`]. Most queues have no stop.
pub(in crate::store) fn queued_sql() -> String {
    format!(
        "SELECT m.id, m.seq, m.lane, m.due_at, m.retry_at, m.reason, m.expires_at, m.thread, m.step, m.wait, m.wait_until, m.wait_held_at, \
       m.step_key, m.held_at IS NOT NULL AS held, \
       (SELECT b.state FROM messages b WHERE b.seq = m.blocked_by AND b.state <> 'queued') AS blocker_state, \
       CASE WHEN EXISTS (SELECT 1 FROM stops) THEN {stop} END AS stop, \
       m.needs IS NOT NULL AND NOT EXISTS (SELECT 1 FROM people p WHERE p.account_id = m.account_id \
         AND p.user_id = substr(m.thread, 6) AND p.distance IN ('FIRST_DEGREE', 'SELF')) AS unconnected, \
       CASE WHEN m.users_ids IS NOT NULL THEN (SELECT max(s.sent_at) FROM messages s INDEXED BY messages_person \
         WHERE s.account_id = m.account_id AND s.thread = m.thread AND s.users_ids IS NOT NULL) END AS started_at \
     FROM messages m INDEXED BY messages_by_account WHERE m.account_id = ?1 AND m.state || '' = 'queued' AND m.seq > ?2 \
     ORDER BY m.seq LIMIT ?3 + 0",
        stop = rows::longest_stop("?4")
    )
}

/// Average duration of an account's recent calls, in milliseconds.
const CALL: &str = "SELECT avg((julianday(t.ended_at) - julianday(t.started_at)) * 86400000) FROM \
     (SELECT started_at, ended_at FROM attempts WHERE account_id = ?1 AND started_at > ?2 AND outcome = 'accepted' \
        ORDER BY started_at DESC LIMIT 20) AS t";

impl Store {
    /// Returns at most `limit` queued messages of `account` that arrived after `after`, in order of arrival, with the
    /// stops in force at `now`.
    pub async fn queued(
        &self,
        account: &AccountId,
        after: i64,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<QueuedMessage>> {
        // Built from constants; every value is bound.
        let query = sqlx::query(AssertSqlSafe(queued_sql())).bind(account.as_str()).bind(after).bind(limit);
        let query = query.bind(time_text(now));
        query.fetch_all(&self.inner.readers).await?.iter().map(read).collect()
    }

    /// Returns the average duration of the calls of `account` since `since`, in milliseconds; `None` if there were
    /// none.
    pub(crate) async fn call_takes_ms(&self, account: &AccountId, since: Timestamp) -> Result<Option<f64>> {
        let query = sqlx::query_scalar(CALL).bind(account.as_str()).bind(time_text(since));
        Ok(query.fetch_one(&self.inner.readers).await?)
    }
}

fn read(row: &SqliteRow) -> Result<QueuedMessage> {
    let lane: &str = row.try_get("lane")?;
    let state = |word: &str| StateName::parse(word).ok_or_else(|| corrupt("state", word));
    Ok(QueuedMessage {
        id: rows::message_id(row, "id")?,
        seq: row.try_get("seq")?,
        lane: Lane::parse(lane).ok_or_else(|| corrupt("lane", lane))?,
        due_at: rows::required_time(row, "due_at")?,
        retry_at: rows::time(row, "retry_at")?,
        deferred: rows::reason(row, "reason")?.filter(|reason| reason.defers()),
        expires_at: rows::time(row, "expires_at")?,
        thread: row.try_get("thread")?,
        step: rows::step(row)?,
        step_key: row.try_get("step_key")?,
        step_waiting: rows::step_waiting(row)?,
        blocked_by: row.try_get::<Option<&str>, _>("blocker_state")?.map(state).transpose()?,
        stop: rows::stopped_by(row)?,
        held: row.try_get("held")?,
        is_unconnected: row.try_get("unconnected")?,
        started_at: rows::time(row, "started_at")?,
    })
}
