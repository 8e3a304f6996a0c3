//! Follows a wall clock that was set: moves the times that the daemon made, so that each duration is kept (P1, P3,
//! P4).
//!
//! Stored times are wall-clock times. After a step of the clock, a retry in five minutes would come in an hour and
//! five minutes, and a cap of 24 hours would forget or remember a day too much. So all such times move by the size of
//! the step. Dates from a person or a producer (`not_before`, `expires_at`, a pause until a date) do not move. The
//! engine calls [`Store::move_times`] before it sends anything by the new time. The last transaction moves the times
//! and records this run's clocks, so that a crash neither skips a step nor applies it twice.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::domain::caps::LEDGER_REACH;
use crate::domain::stop::FOREVER;
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::waits::stops_end_at;
use crate::store::{Statement, Store};

/// A smaller difference is a correction of the clock, not a step.
pub(crate) const CLOCK_STEP: SignedDuration = SignedDuration::from_secs(1);

/// No cap counts older attempts; they do not move, unless their outcome is still unknown.
const REACH: Duration = LEDGER_REACH.saturating_add(Duration::from_secs(24 * 3600));

/// An unresolved attempt is compared with other calls since this long before it, with a margin for clocks that are
/// off.
const REACH_OF_UNRESOLVED: Duration = Duration::from_secs(2 * 24 * 3600);

/// Rows per transaction, so that other programs can write in between.
const ROWS: i64 = 20_000;

/// A step of the clock is noticed within 20 s. Messages that arrived in between become due later than this before the
/// notice, so that messages already waiting go first.
const NOTICED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// A step of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// The time that the clock would show without the step.
    pub from: Timestamp,
    /// The time that the clock shows.
    pub to: Timestamp,
}

impl ClockStep {
    /// Returns the step from the expected time to the shown time, if the difference is large enough.
    pub(crate) fn between(from: Timestamp, to: Timestamp) -> Option<Self> {
        (to.duration_since(from).abs() >= CLOCK_STEP).then_some(Self { from, to })
    }

    /// Returns the size of the step; negative if the clock was set back.
    pub(crate) fn by(self) -> SignedDuration {
        self.to.duration_since(self.from)
    }
}

/// A reading of a clock that cannot be set, together with the wall clock.
#[derive(Debug, Clone)]
pub struct ClockReading {
    /// The wall-clock time.
    pub wall: Timestamp,
    /// The machine's boot id and the time since boot, if the operating system provides them.
    pub boot: Option<(String, Duration)>,
}

impl Store {
    /// Returns the step of the wall clock since the last run. After a reboot, a step is recognised only if the clock
    /// shows a time before the newest event.
    pub(crate) async fn clock_step_since_last_run(
        &self,
        reading: &ClockReading,
    ) -> Result<Option<ClockStep>> {
        const LAST: &str = "SELECT boot_id, clock_at, clock_ms, \
               (SELECT at FROM events WHERE kind NOT IN ('stop.set', 'stop.lifted', 'account.paused', 'daemon.paused', 'account.resumed', 'daemon.resumed') \
                 ORDER BY seq DESC LIMIT 1) AS newest FROM runs \
             WHERE id < ?1 AND clock_at IS NOT NULL ORDER BY id DESC LIMIT 1";
        let query = sqlx::query(LAST).bind(self.inner.run);
        let Some(row) = query.fetch_optional(&self.inner.readers).await? else { return Ok(None) };
        let same_boot = reading
            .boot
            .as_ref()
            .filter(|(id, _)| row.try_get::<Option<&str>, _>("boot_id").ok().flatten() == Some(id.as_str()));
        if let Some((_, passed)) = same_boot {
            let passed = passed.saturating_sub(milliseconds(row.try_get("clock_ms")?));
            let clock_at = rows::required_time(&row, "clock_at")?;
            return Ok(ClockStep::between(
                clock_at.checked_add(passed).unwrap_or(Timestamp::MAX),
                reading.wall,
            ));
        }
        let newest = rows::time(&row, "newest")?.unwrap_or(reading.wall);
        Ok(ClockStep::between(newest, reading.wall).filter(|step| step.by().is_negative()))
    }

    /// Moves every time that the daemon made by `step`, and records the clocks as they are now.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; it can then be called again with the same step.
    pub async fn move_times(&self, step: ClockStep, reading: ClockReading) -> Result<()> {
        let due_at = step.to.checked_sub(NOTICED_WITHIN).unwrap_or(step.to);
        let mut from = step.by().is_negative().then_some(0);
        while let Some(after) = from {
            let verb =
                self.exclusive(step.to, move |connection| Box::pin(clamp_due(connection, due_at, after)));
            from = verb.await?;
        }
        let run = self.inner.run;
        let verb = self.exclusive(step.to, move |connection| {
            Box::pin(async move {
                if step.by().is_negative() {
                    restore_order(connection, due_at).await?;
                }
                shift(connection, step).await?;
                clocks_noted(run, &reading).execute(&mut *connection).await?;
                const EVENT: &str =
                    "INSERT INTO events (at, kind, detail) VALUES (?1, 'daemon.clock_set', ?2)";
                let detail = format!("{} s", step.by().as_secs());
                sqlx::query(EVENT).bind(time_text(step.to)).bind(detail).execute(connection).await?;
                Ok(())
            })
        });
        verb.await
    }

    /// Records the clocks as this run found them.
    pub(crate) async fn note_clocks(&self, reading: ClockReading) -> Result<()> {
        self.execute(reading.wall, clocks_noted(self.inner.run, &reading)).await?;
        Ok(())
    }
}

/// Builds the statement that records the clocks of a run.
fn clocks_noted(run: i64, reading: &ClockReading) -> Statement {
    const NOTE: &str =
        "UPDATE runs SET clock_at = ?2, clock_ms = ?3, boot_id = coalesce(?4, boot_id) WHERE id = ?1";
    let passed =
        reading.boot.as_ref().map(|(_, passed)| i64::try_from(passed.as_millis()).unwrap_or(i64::MAX));
    let query = sqlx::query(NOTE).bind(run).bind(time_text(reading.wall)).bind(passed.unwrap_or_default());
    query.bind(reading.boot.as_ref().map(|(id, _)| id))
}

/// Makes messages without a scheduled time due at `latest`, rather than when the clock shows their arrival time
/// again, in the order of their arrival. Messages that are not settled are included because they may be queued again.
/// Returns where to continue.
async fn clamp_due(connection: &mut SqliteConnection, latest: Timestamp, after: i64) -> Result<Option<i64>> {
    const CLAMP: &str = "UPDATE messages SET revision = messages.revision + 1, due_at = max(?1, coalesce(not_before, '')) \
         WHERE seq > ?2 AND seq <= ?3 AND wait_until IS NULL AND due_at > max(?1, coalesce(not_before, '')) \
           AND state IN ('queued', 'sending', 'uncertain', 'review')";
    const MORE: &str = "SELECT EXISTS (SELECT 1 FROM messages WHERE seq > ?1)";
    let up_to = after.saturating_add(ROWS);
    let query = sqlx::query(CLAMP).bind(time_text(latest)).bind(after).bind(up_to);
    query.execute(&mut *connection).await?;
    let more: bool = sqlx::query_scalar(MORE).bind(up_to).fetch_one(connection).await?;
    Ok(more.then_some(up_to))
}

/// Recomputes what depends on due times: the first message of each lane, and which messages wait for a retry of their
/// thread.
async fn restore_order(connection: &mut SqliteConnection, latest: Timestamp) -> Result<()> {
    const LANES: &str = "UPDATE lanes SET (due_at, seq) = (SELECT m.due_at, m.seq FROM messages m \
           WHERE m.account_id = lanes.account_id AND m.lane = (SELECT f.lane FROM messages f WHERE f.seq = lanes.seq) \
             AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL ORDER BY m.due_at, m.seq LIMIT 1) \
         WHERE due_at >= ?1";
    const BLOCKED: &str = "UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq) \
         WHERE state = 'queued' AND seq IN ( \
             SELECT m.seq FROM messages r INDEXED BY messages_retry_thread CROSS JOIN messages m INDEXED BY messages_thread \
               ON m.account_id = r.account_id AND m.thread = r.thread AND m.state = 'queued' AND m.blocked_by IS NULL \
              WHERE r.state = 'queued' AND r.retry_at IS NOT NULL \
             UNION ALL SELECT m.seq FROM messages r INDEXED BY messages_retry_thread \
               CROSS JOIN messages m INDEXED BY messages_blocked ON m.blocked_by = r.seq \
              WHERE r.state = 'queued' AND r.retry_at IS NOT NULL) \
           AND blocked_by IS NOT (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)";
    sqlx::query(LANES).bind(time_text(latest)).execute(&mut *connection).await?;
    sqlx::query(BLOCKED).execute(connection).await?;
    Ok(())
}

/// The times that move: the table, its columns, and which rows; `?2` is the oldest time that is moved.
const TIMES: [(&str, &[&str], &str); 15] = [
    (
        "messages INDEXED BY messages_retry",
        &["retry_at"],
        "state = 'queued' AND retry_at IS NOT NULL AND reason NOT IN ('stopped', 'held', 'owner_wrote', 'out_of_office')",
    ),
    (
        "messages INDEXED BY messages_reconcile",
        &["reconcile_at"],
        "state = 'uncertain' AND reconcile_at IS NOT NULL",
    ),
    (
        "messages",
        &["updated_at"],
        "sent_at IS NOT NULL AND seq IN (SELECT t.seq FROM attempts t WHERE t.started_at >= ?2)",
    ),
    ("attempts", &["started_at", "ended_at"], "started_at >= ?2"),
    (
        "accounts",
        &[
            "hold_until",
            "last_call_at",
            "next_call_at",
            "first_call_at",
            "warm_up_again_at",
            "throttled_at",
            "half_caps_until",
            "resumed_at",
            "down_at",
        ],
        "TRUE",
    ),
    ("daemon", &["resumed_at"], "TRUE"),
    ("inmail_holds", &["until"], "TRUE"),
    ("stops", &["until"], "has_length = 1"),
    ("hooks", &["retry_at"], "TRUE"),
    ("profile_reads", &["at", "next_at"], "TRUE"),
    ("people", &["read_at", "at"], "at >= ?2"),
    ("inbound_messages INDEXED BY inbound_messages_heard", &["heard_at"], "heard_at >= ?2"),
    // What they say is dated by their arrival.
    ("webhooks INDEXED BY webhooks_waiting", &["received_at", "look_at"], "result IS NULL"),
    ("chat_reads", &["sent_at", "read_at", "tried_at"], "TRUE"),
    ("account_snapshots", &["tried_at", "read_at", "inboxes_read_at", "credits_read_at"], "TRUE"),
];

/// Builds the assignment that moves a time by `?1`.
fn moved(column: &str) -> String {
    format!("{column} = coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', {column}, ?1), {column})")
}

/// Moves times that are part of a duration: retries, rests, reconciliations, and what the caps count.
async fn shift(connection: &mut SqliteConnection, step: ClockStep) -> Result<()> {
    let by = format!("{:+.3} seconds", step.by().as_secs_f64());
    let oldest = time_text(oldest(connection, step).await?);
    // The trigger `attempts_update` refuses other times otherwise.
    sqlx::query("INSERT INTO clock_moves (id) VALUES (1)").execute(&mut *connection).await?;
    move_answers(connection, step, &by, &oldest).await?;
    for (table, columns, which) in TIMES {
        let moved = columns.iter().map(|column| moved(column)).collect::<Vec<_>>().join(", ");
        let counted = if table.starts_with("messages") { "revision = revision + 1, " } else { "" };
        let sql = format!("UPDATE {table} SET {counted}{moved} WHERE {which}");
        // Built from the constants above.
        sqlx::query(AssertSqlSafe(sql)).bind(&by).bind(&oldest).execute(&mut *connection).await?;
    }
    sqlx::query("DELETE FROM clock_moves").execute(&mut *connection).await?;
    move_waits(connection, &by).await?;
    follow_stops(connection).await
}

/// Moves the times that tell whether an answer is newer than what it stops: of each thread in which something may still
/// be stopped or was sent a short time ago, all of them, however old they are. After a step forward, what is later than
/// its `from` came after the step.
async fn move_answers(
    connection: &mut SqliteConnection,
    step: ClockStep,
    by: &str,
    oldest: &str,
) -> Result<()> {
    const THREADS: &str = "WITH touched AS MATERIALIZED ( \
           SELECT account_id, thread FROM messages WHERE state IN ('queued', 'sending', 'uncertain', 'review') \
             AND thread IS NOT NULL AND coalesce(stop_on_reply, campaign IS NOT NULL) \
           UNION SELECT m.account_id, m.thread FROM attempts t CROSS JOIN messages m ON m.seq = t.seq \
            WHERE t.started_at >= ?2 AND m.thread IS NOT NULL), \
         moving AS MATERIALIZED (SELECT m.seq, m.account_id, m.chat_id FROM touched t \
           CROSS JOIN messages m INDEXED BY messages_by_thread ON m.thread = t.thread AND m.account_id = t.account_id)";
    const TIMES: [(&str, &str, &str); 4] = [
        ("messages", "created_at", "seq IN (SELECT seq FROM moving)"),
        ("messages", "sent_at", "sent_at IS NOT NULL AND seq IN (SELECT seq FROM moving)"),
        ("replies", "at", "(account_id, thread) IN (SELECT account_id, thread FROM touched)"),
        (
            "inbound_messages",
            "at",
            "(account_id, chat_id) IN (SELECT account_id, chat_id FROM moving WHERE chat_id IS NOT NULL \
               UNION SELECT c.account_id, c.chat_id FROM touched t CROSS JOIN conversations c INDEXED BY conversations_user \
                 ON c.account_id = t.account_id AND c.user_id = substr(t.thread, 6) WHERE t.thread LIKE 'user:%')",
        ),
    ];
    let latest = time_text(if step.by().is_negative() { FOREVER } else { step.from });
    for (table, column, which) in TIMES {
        let moved = moved(column);
        let counted = if table == "messages" { "revision = revision + 1, " } else { "" };
        let sql = format!("{THREADS} UPDATE {table} SET {counted}{moved} WHERE {column} <= ?3 AND {which}");
        // Built from the constants above.
        let query = sqlx::query(AssertSqlSafe(sql)).bind(by).bind(oldest).bind(&latest);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Moves the waits of steps, which began when the step before was sent, and with them their due times.
async fn move_waits(connection: &mut SqliteConnection, by: &str) -> Result<()> {
    const OPEN: &str = "messages INDEXED BY messages_steps";
    const WHICH: &str = "step_key IS NOT NULL AND state <> 'rejected' AND step_sent_at IS NOT NULL \
         AND state IN ('queued', 'sending', 'uncertain', 'review')";
    const LANES: &str = "UPDATE lanes SET (due_at, seq) = (SELECT m.due_at, m.seq FROM messages m \
           WHERE m.account_id = lanes.account_id AND m.lane = (SELECT f.lane FROM messages f WHERE f.seq = lanes.seq) \
             AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL ORDER BY m.due_at, m.seq LIMIT 1) \
         WHERE (account_id, campaign, class) IN (SELECT m.account_id, substr(m.lane, 11), substr(m.lane, 1, 9) \
           FROM messages m INDEXED BY messages_steps WHERE m.step_key IS NOT NULL AND m.state <> 'rejected' \
             AND m.wait_until IS NOT NULL AND m.state = 'queued' AND m.retry_at IS NULL AND m.blocked_by IS NULL)";
    let [since, until, held] = ["step_sent_at", "wait_until", "wait_held_at"].map(moved);
    // Built from the constants above.
    let times = format!("UPDATE {OPEN} SET revision = revision + 1, {since}, {until}, {held} WHERE {WHICH}");
    sqlx::query(AssertSqlSafe(times)).bind(by).execute(&mut *connection).await?;
    let due = format!(
        "UPDATE {OPEN} SET revision = revision + 1, due_at = max(wait_until, coalesce(not_before, '')) \
         WHERE {WHICH} AND wait_until IS NOT NULL"
    );
    sqlx::query(AssertSqlSafe(due)).execute(&mut *connection).await?;
    sqlx::query(LANES).execute(connection).await?;
    Ok(())
}

/// Makes the messages that wait for a stop follow its end, after the wall clock was set.
async fn follow_stops(connection: &mut SqliteConnection) -> Result<()> {
    let sql = format!(
        "UPDATE messages INDEXED BY messages_retry SET revision = messages.revision + 1, retry_at = {} \
         WHERE state = 'queued' AND retry_at IS NOT NULL AND reason IN ('stopped', 'owner_wrote', 'out_of_office')",
        stops_end_at("?1")
    );
    // Built from constants.
    sqlx::query(AssertSqlSafe(sql)).bind(time_text(FOREVER)).execute(connection).await?;
    Ok(())
}

/// Returns the oldest attempt that is moved. The start of an unresolved attempt determines how far back its chat is
/// read, however long the daemon was stopped.
async fn oldest(connection: &mut SqliteConnection, step: ClockStep) -> Result<Timestamp> {
    const UNRESOLVED: &str = "SELECT min(t.started_at) AS started_at FROM messages m INDEXED BY messages_unsettled \
         JOIN attempts t ON t.seq = m.seq AND t.number = m.attempts WHERE m.state IN ('sending', 'uncertain', 'review') AND m.state <> 'review'";
    let row = sqlx::query(UNRESOLVED).fetch_one(connection).await?;
    let before = |at: Timestamp, reach: Duration| at.checked_sub(reach).unwrap_or(Timestamp::MIN);
    let counted = before(step.from, REACH);
    let unresolved = rows::time(&row, "started_at")?.map(|at| before(at, REACH_OF_UNRESOLVED));
    Ok(unresolved.map_or(counted, |at| at.min(counted)))
}

fn milliseconds(milliseconds: Option<i64>) -> Duration {
    Duration::from_millis(milliseconds.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default())
}
