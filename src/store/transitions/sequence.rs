//! The steps of one person in a campaign: what the edit, the move or the retry of one means for the others.
//!
//! All steps of a person are on one account, and a step is queued again only after the one that it follows.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result};

/// Returns what the queue knows of the steps around one, which is for `key`: a row that was not admitted says itself only
/// as its producer wrote it. `None` for a message without a step.
pub(super) async fn of(
    connection: &mut SqliteConnection,
    seq: Seq,
    key: Option<&str>,
) -> Result<Option<Sequence>> {
    const SQL: &str = "SELECT m.step, m.account_id, \
         (SELECT b.state FROM messages b INDEXED BY messages_steps WHERE b.campaign = m.campaign \
           AND b.step_key = coalesce(m.step_key, ?2) AND b.step = m.step - 1 AND b.state <> 'rejected') AS state, \
         EXISTS (SELECT 1 FROM messages s INDEXED BY messages_steps WHERE s.campaign = m.campaign \
           AND s.step_key = coalesce(m.step_key, ?2) AND s.state <> 'rejected' \
           AND s.state IN ('sending', 'uncertain', 'review', 'sent')) AS has_begun, \
         (SELECT o.id FROM messages o INDEXED BY messages_steps WHERE o.campaign = m.campaign \
           AND o.step_key = coalesce(m.step_key, ?2) AND o.step = m.step AND o.state <> 'rejected' AND o.seq <> m.seq) AS other, \
         (SELECT a.account_id FROM messages a INDEXED BY messages_steps WHERE a.campaign = m.campaign \
           AND a.step_key = coalesce(m.step_key, ?2) AND a.state <> 'rejected' AND a.account_id <> m.account_id \
           ORDER BY a.step LIMIT 1) AS elsewhere \
         FROM messages m WHERE m.seq = ?1 AND m.step IS NOT NULL";
    let query = sqlx::query(SQL).bind(seq.0).bind(key);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let before: Option<&str> = row.try_get("state")?;
    let other: Option<&str> = row.try_get("other")?;
    Ok(Some(Sequence {
        number: row.try_get("step")?,
        account: rows::account_id(&row)?,
        before: before.map(|_| rows::state(&row)).transpose()?,
        has_begun: row.try_get("has_begun")?,
        other: other.map(|_| rows::message_id(&row, "other")).transpose()?,
        elsewhere: row.try_get::<Option<String>, _>("elsewhere")?.map(AccountId::new),
    }))
}

/// The steps around one.
pub(super) struct Sequence {
    number: i64,
    account: AccountId,
    /// The state of the step before; `None` if there is none.
    before: Option<StateName>,
    /// Whether a step was sent, or may have been.
    pub(super) has_begun: bool,
    /// Another message that is this step.
    pub(super) other: Option<MessageId>,
    /// Another account that has steps of the person.
    elsewhere: Option<AccountId>,
}

impl Sequence {
    /// Returns why the step cannot be queued again.
    pub(super) fn not_again(&self) -> Option<(String, &'static str)> {
        let last = self.number - 1;
        if let Some(other) = self.other {
            let fix = "use that message; this one stays as it is";
            return Some((format!("is in the queue for this person already, as message {other}"), fix));
        }
        if let Some(elsewhere) = &self.elsewhere {
            let problem = format!(
                "is on {}, and other steps of this person are on {elsewhere}",
                self.account.as_str(),
                elsewhere = elsewhere.as_str()
            );
            return Some((problem, "move it to their account first, or queue a new message"));
        }
        match self.before {
            _ if last == 0 => None,
            None => Some((format!("{} has no step {last}", self.number), "queue the step before first")),
            Some(StateName::Failed | StateName::Cancelled | StateName::Expired | StateName::Rejected) => {
                let state = self.before.map_or("", StateName::as_str);
                Some((
                    format!("{} follows step {last}, which is `{state}`", self.number),
                    "retry that one first",
                ))
            }
            Some(
                StateName::New
                | StateName::Queued
                | StateName::Sending
                | StateName::Uncertain
                | StateName::Review
                | StateName::Sent,
            ) => None,
        }
    }
}

/// Moves the other steps of the person to another account, with the one that was moved: those that are queued, and those
/// that ended without being sent and may be queued again. Returns their ids, by step.
pub(super) async fn move_with(
    connection: &mut SqliteConnection,
    moved: Seq,
    account: &AccountId,
    now: Timestamp,
) -> Result<Vec<MessageId>> {
    // Out of its lane first: the entry there is of the account that it leaves.
    const LEAVE: &str = "UPDATE messages SET blocked_by = seq WHERE seq IN (SELECT value FROM json_each(?1)) AND state = 'queued'";
    const MOVE: &str = "UPDATE messages SET revision = messages.revision + 1, edits = messages.edits + 1, account_id = ?2, route = NULL, \
           updated_at = ?3 WHERE seq IN (SELECT value FROM json_each(?1))";
    const OTHERS: &str = "SELECT o.seq, o.id FROM messages m JOIN messages o INDEXED BY messages_steps ON o.campaign = m.campaign \
           AND o.step_key = m.step_key AND o.state <> 'rejected' \
           AND o.state IN ('queued', 'failed', 'cancelled', 'expired') AND o.seq <> m.seq WHERE m.seq = ?1 ORDER BY o.step";
    let found = sqlx::query(OTHERS).bind(moved.0).fetch_all(&mut *connection).await?;
    let others: Vec<i64> =
        found.iter().map(|row| row.try_get("seq")).collect::<std::result::Result<_, _>>()?;
    let ids: Vec<MessageId> = found.iter().map(|row| rows::message_id(row, "id")).collect::<Result<_>>()?;
    let others = json!(others).to_string();
    sqlx::query(LEAVE).bind(&others).execute(&mut *connection).await?;
    let query = sqlx::query(MOVE).bind(&others).bind(account.as_str());
    query.bind(time_text(now)).execute(connection).await?;
    Ok(ids)
}

/// Queues the steps again that were cancelled because this one was not sent, up to the first that ended otherwise or
/// has lost its text. Returns their ids.
pub(super) async fn queue_again(
    connection: &mut SqliteConnection,
    step: Seq,
    run: i64,
    now: Timestamp,
) -> Result<Vec<MessageId>> {
    const AFTER: &str = "SELECT o.seq, o.id, o.state = 'cancelled' AND o.reason = 'step_stopped' AND o.pruned_at IS NULL AS comes_back \
         FROM messages m JOIN messages o INDEXED BY messages_steps ON o.campaign = m.campaign \
           AND o.step_key = m.step_key AND o.state <> 'rejected' AND o.step > m.step WHERE m.seq = ?1 ORDER BY o.step";
    const QUEUE: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'queued', reason = 'step_before', error = NULL, \
           due_at = max(?3, coalesce(not_before, '')), retry_at = NULL, retries = 0, held_at = NULL, run = ?2, updated_at = ?3, \
           step_sent_at = NULL, wait_until = NULL, wait_held_at = NULL WHERE seq = ?1";
    let mut ids = Vec::new();
    for row in sqlx::query(AFTER).bind(step.0).fetch_all(&mut *connection).await? {
        if !row.try_get("comes_back")? {
            break;
        }
        let query = sqlx::query(QUEUE).bind(row.try_get::<i64, _>("seq")?).bind(run).bind(time_text(now));
        query.execute(&mut *connection).await?;
        ids.push(rows::message_id(&row, "id")?);
    }
    Ok(ids)
}
