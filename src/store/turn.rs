//! What the engine reads before it decides: whose turn it is on an account, and where a message stands.
//!
//! Both are one statement each and so one consistent picture. The next message is found through partial indexes in
//! the same time whether ten messages wait or a million; `tests/it/store_plans.rs` holds their query plans.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::Store;
use super::rows::{self, Result};
use crate::domain::account::{Account, Daemon};
use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, Arrival, Extras, MessageId, Target};
use crate::domain::reason::Reason;

/// The message whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the queue.
    pub arrival: Arrival,
    /// Its id.
    pub id: MessageId,
    /// Attempts it has had.
    pub attempts: u32,
    /// Retries it has spent.
    pub retries: u32,
    /// Where it goes.
    pub target: Target,
    /// What it says besides its text.
    pub extras: Extras,
    /// What it says.
    pub text: String,
    /// Its own wish about typing.
    pub typing: Option<bool>,
    /// Since when it is due.
    pub due_at: Timestamp,
    /// When it may be tried again; in the past if it was tried before.
    pub retry_at: Option<Timestamp>,
    /// Why it was set aside until then, if not because an attempt failed.
    pub set_aside: Option<Reason>,
    /// Not to be sent from then on.
    pub expires_at: Option<Timestamp>,
    /// In which it waits.
    pub lane: Lane,
    /// When this person was last sent a message that started a chat.
    pub started_at: Option<Timestamp>,
}

/// An account's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What concerns every account.
    pub daemon: Daemon,
    /// The account.
    pub account: Account,
    /// The due messages that may go first, the oldest of each lane and those that are tried again, by age; nothing due
    /// earlier in their threads is unsettled. Which of them goes, `policy/order.rs` says.
    pub heads: Vec<Candidate>,
    /// How far the campaigns of the account are.
    pub floor: u64,
    /// The same for each campaign that is ahead of it.
    pub reached: HashMap<String, u64>,
    /// When the next message that is not due yet becomes due.
    pub next_due_at: Option<Timestamp>,
    /// Why that one waits, if it was set aside.
    pub next_set_aside: Option<Reason>,
}

/// Threads with a message whose outcome is open, or that is tried again: nothing overtakes it. Left to itself SQLite
/// would read all messages of the account for this (`messages_by_account`).
pub(super) const HELD_THREADS: &str = "SELECT u.thread FROM messages u INDEXED BY messages_unsettled WHERE u.account_id = ?1 AND u.state IN ('sending', 'uncertain', 'review') \
     UNION ALL SELECT r.thread FROM messages r INDEXED BY messages_retry WHERE r.account_id = ?1 AND r.state = 'queued' AND r.retry_at IS NOT NULL";

/// The lanes of an account with messages that are not tried again, found by stepping from one to the next through the
/// index. A producer that gives every message a campaign of its own would make as many lanes: so many are looked at.
pub(super) const LANES: &str = "lanes(lane) AS (SELECT min(l.lane) FROM messages l INDEXED BY messages_due \
       WHERE l.account_id = ?1 AND l.state = 'queued' AND l.retry_at IS NULL \
     UNION ALL SELECT (SELECT min(n.lane) FROM messages n INDEXED BY messages_due WHERE n.account_id = ?1 AND n.state = 'queued' \
         AND n.retry_at IS NULL AND n.lane > lanes.lane) FROM lanes WHERE lanes.lane IS NOT NULL LIMIT 64)";

/// The statement behind [`Store::turn`]: at most one row of each lane, some that are tried again, and two that are due
/// later.
pub(super) fn turn_sql() -> String {
    const CANDIDATE: &str = "m.arrival, m.id, m.attempts, m.retries, m.chat_id, m.users_ids, m.inbox_id, m.name, \
         m.specifics, m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.lane, m.thread, m.due_at, \
         m.retry_at, m.reason, m.expires_at";
    const DUE: &str =
        "m.account_id = ?1 AND m.state = 'queued' AND m.retry_at IS NULL AND m.lane = lanes.lane";
    const AGAIN: &str =
        "FROM messages m WHERE m.account_id = ?1 AND m.state = 'queued' AND m.retry_at IS NOT NULL";
    let due = DUE.replace("m.", "x.");
    format!(
        "WITH RECURSIVE {LANES} \
         SELECT c.*, (SELECT max(s.sent_at) FROM messages s INDEXED BY messages_person WHERE s.account_id = ?1 \
             AND s.thread = c.thread AND s.users_ids IS NOT NULL) AS started_at, {account}, {daemon}, \
           a.turn_floor, (SELECT json_group_object(t.campaign, t.reached) FROM turns t WHERE t.account_id = ?1) AS turns FROM ( \
           SELECT 'due' AS kind, {CANDIDATE} FROM lanes CROSS JOIN messages m ON m.arrival = \
             (SELECT x.arrival FROM messages x INDEXED BY messages_due WHERE {due} AND x.due_at <= ?2 \
               AND x.thread NOT IN ({HELD_THREADS}) ORDER BY x.due_at, x.arrival LIMIT 1) \
           UNION ALL SELECT * FROM (SELECT 'due', {CANDIDATE} {AGAIN} AND m.retry_at <= ?2 \
             AND m.thread NOT IN (SELECT u.thread FROM messages u INDEXED BY messages_unsettled WHERE u.account_id = ?1 \
                                  AND u.state IN ('sending', 'uncertain', 'review')) \
             ORDER BY m.due_at, m.arrival LIMIT 32) \
           UNION ALL SELECT * FROM (SELECT 'later', {CANDIDATE} FROM lanes CROSS JOIN messages m ON m.arrival = \
             (SELECT x.arrival FROM messages x INDEXED BY messages_due WHERE {due} AND x.due_at > ?2 \
               ORDER BY x.due_at LIMIT 1) ORDER BY m.due_at LIMIT 1) \
           UNION ALL SELECT * FROM (SELECT 'later', {CANDIDATE} {AGAIN} AND m.retry_at > ?2 ORDER BY m.retry_at LIMIT 1) \
         ) AS c, accounts AS a, daemon AS d WHERE a.id = ?1 AND d.id = 1",
        account = rows::ACCOUNT_COLUMNS,
        daemon = rows::DAEMON_COLUMNS,
    )
}

impl Store {
    /// Whose turn it is on `account`; `None` while it has nothing that could ever become due by itself.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn turn(&self, account: &AccountId, now: Timestamp) -> Result<Option<Turn>> {
        static SQL: std::sync::LazyLock<std::sync::Arc<str>> = std::sync::LazyLock::new(|| turn_sql().into());
        // Made of the constants above; nothing of a producer's is in it.
        let query = sqlx::query(AssertSqlSafe(std::sync::Arc::clone(&SQL)));
        let query = query.bind(account.as_str().to_owned()).bind(crate::domain::time_text(now));
        let found = self
            .inner
            .reader
            .read(|connection| Box::pin(async move { Ok(query.fetch_all(connection).await?) }));
        let found = found.await?;
        let Some(row) = found.first() else { return Ok(None) };
        let (floor, reached) = read_turns(row)?;
        let mut turn = Turn {
            daemon: rows::daemon(row)?,
            account: rows::account(row)?,
            heads: Vec::new(),
            floor,
            reached,
            next_due_at: None,
            next_set_aside: None,
        };
        for row in &found {
            let candidate = read_candidate(row)?;
            if row.try_get::<&str, _>("kind")? == "later" {
                let at = candidate.retry_at.unwrap_or(candidate.due_at);
                if turn.next_due_at.is_none_or(|earlier| at < earlier) {
                    (turn.next_due_at, turn.next_set_aside) = (Some(at), candidate.set_aside);
                }
            } else {
                turn.heads.push(candidate);
            }
        }
        turn.heads.sort_by_key(|head| (head.due_at, head.arrival));
        Ok(Some(turn))
    }

    /// How far the campaigns of `account` are: the floor, and those ahead of it.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn turns(&self, account: &AccountId) -> Result<(u64, HashMap<String, u64>)> {
        const SQL: &str = "SELECT a.turn_floor, (SELECT json_group_object(t.campaign, t.reached) FROM turns t \
             WHERE t.account_id = a.id) AS turns FROM accounts a WHERE a.id = ?1";
        let row = sqlx::query(SQL).bind(account.as_str()).fetch_optional(&self.inner.readers).await?;
        row.as_ref().map_or_else(|| Ok((0, HashMap::new())), read_turns)
    }

    /// The accounts that have messages waiting: where a run begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn accounts_with_work(&self) -> Result<Vec<AccountId>> {
        const SQL: &str = "SELECT account_id FROM counts WHERE state = 'queued' AND n > 0";
        let ids: Vec<String> = sqlx::query_scalar(SQL).fetch_all(&self.inner.readers).await?;
        Ok(ids.into_iter().map(AccountId::new).collect())
    }
}

fn read_turns(row: &SqliteRow) -> Result<(u64, HashMap<String, u64>)> {
    let reached = serde_json::from_str(row.try_get("turns")?);
    let reached = reached.map_err(|error| rows::corrupt("turns", error.to_string()))?;
    Ok((row.try_get::<i64, _>("turn_floor")?.unsigned_abs(), reached))
}

fn read_candidate(row: &SqliteRow) -> Result<Candidate> {
    Ok(Candidate {
        arrival: Arrival(row.try_get("arrival")?),
        id: rows::message_id(row, "id")?,
        attempts: rows::count(row, "attempts")?,
        retries: rows::count(row, "retries")?,
        target: rows::target(row)?,
        extras: rows::extras(row)?,
        text: row.try_get("text")?,
        typing: row.try_get("typing")?,
        due_at: rows::required_time(row, "due_at")?,
        retry_at: rows::time(row, "retry_at")?,
        set_aside: rows::reason(row, "reason")?.filter(|reason| reason.sets_aside()),
        expires_at: rows::time(row, "expires_at")?,
        lane: Lane::parse(row.try_get("lane")?)
            .ok_or_else(|| rows::corrupt("lane", row.try_get::<&str, _>("lane").unwrap_or_default()))?,
        started_at: rows::time(row, "started_at")?,
    })
}
