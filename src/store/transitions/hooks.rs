//! How far each receiver of events is: its cursor, its failures, and the events that it did not accept.
//!
//! A cursor moves only after a delivery, so after a crash the last events are delivered again (at least once) and none
//! is left out. `generation` keeps a delivery that was under way from undoing a replay.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::defer::event;
use crate::domain::hook::AfterFailure;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Failed deliveries in a row that are worth an event: one alone is not.
const WORTH_AN_EVENT: i64 = 2;

/// Dead letters that are shown, newest first.
const DEAD_SHOWN: u32 = 10;

/// A receiver, as the queue knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hook {
    pub name: String,
    /// Each event up to this one was delivered, given up, or does not concern it.
    pub cursor: i64,
    /// Changes with each replay.
    pub generation: i64,
    /// Failed deliveries in a row of the event after the cursor.
    pub failures: u32,
    /// No delivery before this time.
    pub retry_at: Option<Timestamp>,
    /// The last failure.
    pub problem: Option<String>,
    /// Whether the event before was given up.
    pub is_probe: bool,
    /// Since when nothing is delivered.
    pub disabled_at: Option<Timestamp>,
    /// The last delivery.
    pub delivered_at: Option<Timestamp>,
    /// Number of dead letters.
    pub dead: u64,
    /// Id of the queue: with it, the number of an event is unique.
    pub queue: String,
}

/// An event that a receiver did not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// Number of the event.
    pub seq: i64,
    /// When it was given up.
    pub at: Timestamp,
    /// The last failure.
    pub problem: String,
}

const COLUMNS: &str = "SELECT name, cursor, generation, failures, retry_at, problem, is_probe, disabled_at, delivered_at, \
     (SELECT count(*) FROM dead_letters d WHERE d.hook = hooks.name) AS dead, \
     (SELECT coalesce(queue_id, '') FROM daemon WHERE id = 1) AS queue FROM hooks";

impl Store {
    /// Remembers receivers; a new one receives the events from now on.
    pub(crate) async fn make_hooks(&self, names: Vec<String>, now: Timestamp) -> Result<()> {
        const SQL: &str = "INSERT INTO hooks (name, cursor, created_at) \
             SELECT value, (SELECT coalesce(max(seq), 0) FROM events), ?2 FROM json_each(?1) WHERE true \
             ON CONFLICT (name) DO NOTHING";
        self.execute(now, sqlx::query(SQL).bind(json!(names).to_string()).bind(time_text(now))).await?;
        Ok(())
    }

    /// Returns a receiver.
    pub(crate) async fn hook(&self, name: &str) -> Result<Option<Hook>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE name = ?1"));
        let found = sqlx::query(sql).bind(name).fetch_optional(&self.inner.readers).await?;
        found.as_ref().map(read).transpose()
    }

    /// Returns the receivers that are disabled, or whose deliveries fail more than once in a row; sorted by name.
    pub(crate) async fn hooks_in_trouble(&self) -> Result<Vec<Hook>> {
        let sql =
            format!("{COLUMNS} WHERE disabled_at IS NOT NULL OR failures >= {WORTH_AN_EVENT} ORDER BY name");
        let found = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&self.inner.readers).await?;
        found.iter().map(read).collect()
    }

    /// Returns the newest dead letters of a receiver.
    pub(crate) async fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>> {
        const SQL: &str =
            "SELECT seq, at, problem FROM dead_letters WHERE hook = ?1 ORDER BY seq DESC LIMIT ?2 + 0";
        let found = sqlx::query(SQL).bind(name).bind(DEAD_SHOWN).fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| {
            let at = rows::required_time(row, "at")?;
            Ok(DeadLetter { seq: row.try_get("seq")?, at, problem: row.try_get("problem")? })
        };
        found.iter().map(read).collect()
    }

    /// Moves the cursor of a receiver to `seq`; `delivered` says whether an event was delivered. Returns `false` if the
    /// receiver was replayed or enabled since `hook` was read.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the events are delivered again then.
    pub(crate) async fn hook_passed(
        &self,
        hook: &Hook,
        seq: i64,
        delivered: bool,
        now: Timestamp,
    ) -> Result<bool> {
        let (name, generation) = (hook.name.clone(), hook.generation);
        let exclusive = self.exclusive(now, move |connection| {
            Box::pin(passed(connection, name, generation, seq, delivered, now))
        });
        exclusive.await
    }

    /// Records that the delivery of the event `seq` failed, and what follows. Events before it count as passed. Returns
    /// `false` if the receiver was replayed or enabled since `hook` was read.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the event is delivered again then.
    pub(crate) async fn hook_failed(
        &self,
        hook: &Hook,
        seq: i64,
        problem: String,
        then: AfterFailure,
        now: Timestamp,
    ) -> Result<bool> {
        let hook = hook.clone();
        self.exclusive(now, move |connection| Box::pin(failed(connection, hook, seq, problem, then, now)))
            .await
    }

    /// Lets a receiver go on: at once, and with the event `from` if given. Returns `false` if it is not known.
    pub(crate) async fn enable_hook(&self, name: &str, from: Option<i64>, now: Timestamp) -> Result<bool> {
        let name = name.to_owned();
        self.exclusive(now, move |connection| Box::pin(enable(connection, name, from, now))).await
    }
}

async fn enable(
    connection: &mut SqliteConnection,
    name: String,
    from: Option<i64>,
    now: Timestamp,
) -> Result<bool> {
    const ENABLE: &str = "UPDATE hooks SET cursor = coalesce(?2 - 1, cursor), generation = generation + 1, failures = 0, \
         retry_at = NULL, problem = NULL, is_probe = 0, disabled_at = NULL WHERE name = ?1";
    const REVIVE: &str = "DELETE FROM dead_letters WHERE hook = ?1 AND seq >= ?2";
    let enabled = sqlx::query(ENABLE).bind(&name).bind(from).execute(&mut *connection).await?;
    if enabled.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(REVIVE).bind(&name).bind(from).execute(&mut *connection).await?;
    note(connection, "enabled", &name, from, None, now).await?;
    Ok(true)
}

async fn passed(
    connection: &mut SqliteConnection,
    name: String,
    generation: i64,
    seq: i64,
    delivered: bool,
    now: Timestamp,
) -> Result<bool> {
    const WAS: &str = "SELECT failures >= ?3 OR is_probe FROM hooks WHERE name = ?1 AND generation = ?2";
    const PASS: &str = "UPDATE hooks SET cursor = max(cursor, ?3), failures = iif(?4, 0, failures), \
           retry_at = iif(?4, NULL, retry_at), problem = iif(?4, NULL, problem), is_probe = iif(?4, 0, is_probe), \
           delivered_at = iif(?4, ?5, delivered_at) WHERE name = ?1 AND generation = ?2";
    let query = sqlx::query_scalar(WAS).bind(&name).bind(generation).bind(WORTH_AN_EVENT);
    let failed: Option<bool> = query.fetch_optional(&mut *connection).await?;
    let Some(failed) = failed else { return Ok(false) };
    let query = sqlx::query(PASS).bind(&name).bind(generation).bind(seq).bind(delivered);
    query.bind(time_text(now)).execute(&mut *connection).await?;
    if failed && delivered {
        note(connection, "recovered", &name, Some(seq), None, now).await?;
    }
    Ok(true)
}

async fn failed(
    connection: &mut SqliteConnection,
    hook: Hook,
    seq: i64,
    problem: String,
    then: AfterFailure,
    now: Timestamp,
) -> Result<bool> {
    const FAIL: &str = "UPDATE hooks SET failures = failures + 1, cursor = max(cursor, ?3), problem = ?4, retry_at = ?5, \
           disabled_at = ?6 WHERE name = ?1 AND generation = ?2 RETURNING failures";
    const GIVE_UP: &str =
        "UPDATE hooks SET cursor = ?2, failures = 0, retry_at = NULL, is_probe = 1 WHERE name = ?1";
    const BURY: &str =
        "INSERT INTO dead_letters (hook, seq, at, problem) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let at = time_text(now);
    let (retry_at, disabled_at) = match then {
        AfterFailure::Retry(delay) => (now.checked_add(delay).ok().map(time_text), None),
        AfterFailure::GiveUp => (None, None),
        AfterFailure::Disable => (None, Some(at.clone())),
    };
    let query = sqlx::query_scalar(FAIL).bind(&hook.name).bind(hook.generation).bind(seq - 1).bind(&problem);
    let failures: Option<i64> =
        query.bind(retry_at).bind(disabled_at).fetch_optional(&mut *connection).await?;
    let Some(failures) = failures else { return Ok(false) };
    if failures == WORTH_AN_EVENT {
        note(connection, "failing", &hook.name, Some(seq), Some(&problem), now).await?;
    }
    match then {
        AfterFailure::Retry(_) => {}
        AfterFailure::GiveUp => {
            sqlx::query(GIVE_UP).bind(&hook.name).bind(seq).execute(&mut *connection).await?;
            let query = sqlx::query(BURY).bind(&hook.name).bind(seq).bind(&at).bind(&problem);
            query.execute(&mut *connection).await?;
            note(connection, "dead_letter", &hook.name, Some(seq), Some(&problem), now).await?;
        }
        AfterFailure::Disable => {
            note(connection, "disabled", &hook.name, Some(seq), Some(&problem), now).await?;
        }
    }
    Ok(true)
}

/// Writes an event about a receiver.
async fn note(
    connection: &mut SqliteConnection,
    what: &str,
    name: &str,
    seq: Option<i64>,
    problem: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    let detail = json!({ "endpoint": name, "event_seq": seq, "problem": problem }).to_string();
    event(connection, &time_text(now), &format!("endpoint.{what}"), None, "", &detail).await
}

fn read(row: &SqliteRow) -> Result<Hook> {
    Ok(Hook {
        name: row.try_get("name")?,
        cursor: row.try_get("cursor")?,
        generation: row.try_get("generation")?,
        failures: rows::count(row, "failures")?,
        retry_at: rows::time(row, "retry_at")?,
        problem: row.try_get("problem")?,
        is_probe: row.try_get("is_probe")?,
        disabled_at: rows::time(row, "disabled_at")?,
        delivered_at: rows::time(row, "delivered_at")?,
        dead: row.try_get::<i64, _>("dead")?.unsigned_abs(),
        queue: row.try_get("queue")?,
    })
}
