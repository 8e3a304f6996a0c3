//! Pauses and resumes one account or all sending (P5). A pause is a row of `stops`.
//!
//! A pause is durable before it is acknowledged, and every intent checks it in its own transaction, so no new call
//! begins after the acknowledgement. Pausing or resuming twice is not an error; the result says that nothing changed.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use super::enqueue::MAKE_ACCOUNTS;
use super::stop_rows;
use crate::domain::message::AccountId;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// Account rows created per transaction.
const ACCOUNTS_AT_ONCE: usize = 10_000;

/// What is paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All sending.
    Everything,
    /// One account.
    Account(AccountId),
}

/// A request to pause. The event `account.paused` has the note; who paused is in the row of `stops`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PauseRequest {
    /// End of the pause; `None` until it is resumed.
    pub until: Option<Timestamp>,
    /// Whether `until` was given as a duration. It then moves with a wall clock that is set.
    pub has_length: bool,
    /// Reason, as the operator wrote it.
    pub note: Option<String>,
    /// Who asked for it.
    pub actor: String,
}

/// Result of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// The pause is in effect.
    Done,
    /// A pause was already in effect; its end is replaced, and so is its note if the request has one.
    Already,
    /// There is no such account.
    Unknown,
}

/// Result of resuming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// Sending resumes.
    Done,
    /// Nothing was paused, held or down.
    WasNotPaused,
    /// There is no such account.
    Unknown,
}

impl Store {
    /// Pauses sending, immediately and durably.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing is paused then.
    pub async fn pause(&self, scope: Scope, request: PauseRequest, now: Timestamp) -> Result<Paused> {
        self.exclusive(now, move |connection| Box::pin(pause(connection, scope, request, now))).await
    }

    /// Resumes sending: ends a pause, and clears what was down, because the cause counts as fixed. A forced rest
    /// remains unless `lift_hold` is set: the person who ends a pause may not know that the provider throttled the
    /// account.
    pub async fn resume(&self, scope: Scope, lift_hold: bool, now: Timestamp) -> Result<Resumed> {
        self.exclusive(now, move |connection| Box::pin(resume(connection, scope, lift_hold, now))).await
    }

    /// Creates rows for the accounts that the configuration names, so that they can be paused and shown before their
    /// first message.
    pub(crate) async fn make_accounts(&self, ids: Vec<AccountId>, now: Timestamp) -> Result<()> {
        for some in ids.chunks(ACCOUNTS_AT_ONCE) {
            let list: Vec<&str> = some.iter().map(AccountId::as_str).collect();
            self.execute(now, sqlx::query(MAKE_ACCOUNTS).bind(json!(list).to_string()).bind(time_text(now)))
                .await?;
        }
        Ok(())
    }

    /// Releases a queue that was held because it is a copy or was restored. Returns whether it was held.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the queue stays held then.
    pub(crate) async fn accept_restored(&self, now: Timestamp) -> Result<bool> {
        let exclusive = self.exclusive(now, move |connection| Box::pin(accept_restored(connection, now)));
        let accepted = exclusive.await?;
        let was = accepted.is_some();
        if let Some((queue, seq)) = accepted {
            self.inner.mark.accept(queue, seq, now);
        }
        Ok(was)
    }
}

async fn pause(
    connection: &mut SqliteConnection,
    scope: Scope,
    request: PauseRequest,
    now: Timestamp,
) -> Result<Paused> {
    const KNOWN: &str = "SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)";
    if let Scope::Account(id) = &scope
        && !sqlx::query_scalar(KNOWN).bind(id.as_str()).fetch_one(&mut *connection).await?
    {
        return Ok(Paused::Unknown);
    }
    let PauseRequest { until, has_length, note, actor } = request;
    let (key, reason) = stop(&scope);
    let stop = NewStop { key, reason, until, has_length, actor, note: note.clone() };
    let was = stop_rows::put(connection, &stop, now).await?.was;
    // The trigger `stops_pause` writes the event of a new row.
    if was.is_some() {
        event(connection, &scope, "paused", &time_text(now), note.as_deref()).await?;
    }
    Ok(if was == Some(true) { Paused::Already } else { Paused::Done })
}

/// Releases a queue that was held as a restored copy.
async fn accept_restored(connection: &mut SqliteConnection, now: Timestamp) -> Result<Option<(String, i64)>> {
    const SEQ: &str = "SELECT max(seq) FROM events";
    // The queue gets a new name: for this database, the queue that it was copied from would be a restored one.
    const SQL: &str = "UPDATE daemon SET restored_at = NULL, restored_why = NULL, queue_id = lower(hex(randomblob(16))) \
         WHERE restored_at IS NOT NULL RETURNING queue_id";
    let Some(queue) = sqlx::query_scalar(SQL).fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    event(connection, &Scope::Everything, "accepted", &time_text(now), None).await?;
    Ok(Some((queue, sqlx::query_scalar(SEQ).fetch_one(connection).await?)))
}

async fn resume(
    connection: &mut SqliteConnection,
    scope: Scope,
    lift_hold: bool,
    now: Timestamp,
) -> Result<Resumed> {
    const WAS: [&str; 2] = [
        "SELECT EXISTS (SELECT 1 FROM stops WHERE scope = 'all') OR key_refused_at IS NOT NULL AS held FROM daemon WHERE ?1 = ?1",
        "SELECT EXISTS (SELECT 1 FROM stops WHERE scope = 'account' AND key = ?1) OR down_cause IS NOT NULL \
           OR (?3 AND hold_until > ?2) AS held FROM accounts WHERE id = ?1",
    ];
    const RESUME: [&str; 2] = [
        "UPDATE daemon SET key_refused_at = NULL, key_problem = NULL, resumed_at = ?2 WHERE ?1 = ?1",
        "UPDATE accounts SET resumed_at = ?2, down_cause = NULL, down_at = NULL, down_problem = NULL, failures = 0, \
           warm_up_again_at = CASE WHEN down_cause = 'restricted' THEN ?2 ELSE warm_up_again_at END, \
           hold_reason = CASE WHEN ?3 THEN NULL ELSE hold_reason END, \
           hold_until = CASE WHEN ?3 THEN NULL ELSE hold_until END WHERE id = ?1",
    ];
    let (which, id) = addressed(&scope);
    let at = time_text(now);
    let row =
        sqlx::query(WAS[which]).bind(id).bind(&at).bind(lift_hold).fetch_optional(&mut *connection).await?;
    let Some(row) = row else { return Ok(Resumed::Unknown) };
    if row.try_get::<Option<bool>, _>("held")? != Some(true) {
        return Ok(Resumed::WasNotPaused);
    }
    sqlx::query(RESUME[which]).bind(id).bind(&at).bind(lift_hold).execute(&mut *connection).await?;
    stop_rows::end_pause(connection, &stop(&scope).0, now).await?;
    event(connection, &scope, "resumed", &at, None).await?;
    Ok(Resumed::Done)
}

/// Returns the stop that a pause is.
fn stop(scope: &Scope) -> (StopKey, StopReason) {
    let (scope, key, reason) = match scope {
        Scope::Everything => (StopScope::All, String::new(), StopReason::DaemonPaused),
        Scope::Account(id) => (StopScope::Account, id.to_string(), StopReason::AccountPaused),
    };
    (StopKey { scope, key, account_id: None }, reason)
}

/// Returns which statement applies, and the id to bind.
fn addressed(scope: &Scope) -> (usize, &str) {
    match scope {
        Scope::Everything => (0, ""),
        Scope::Account(id) => (1, id.as_str()),
    }
}

async fn event(
    connection: &mut SqliteConnection,
    scope: &Scope,
    what: &str,
    at: &str,
    note: Option<&str>,
) -> Result<()> {
    const SQL: &str = "INSERT INTO events (at, kind, account_id, detail) VALUES (?1, ?2, ?3, ?4)";
    let (kind, account) = match scope {
        Scope::Everything => ("daemon", None),
        Scope::Account(id) => ("account", Some(id.as_str())),
    };
    let query = sqlx::query(SQL).bind(at).bind(format!("{kind}.{what}")).bind(account).bind(note);
    query.execute(connection).await?;
    Ok(())
}
