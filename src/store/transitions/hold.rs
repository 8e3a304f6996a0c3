//! Holds a queued message until it is released, and releases it.
//!
//! `held_at` is what counts: the selection and the intent check it. `retry_at` only keeps the message out of its lane,
//! and later messages of its thread behind it.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::change::Changed;
use super::waits::{wait_goes_on, wait_is_held};
use crate::domain::message::Seq;
use crate::domain::state::StateName;
use crate::domain::stop::FOREVER;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

impl Store {
    /// Keeps a held message out of its lane, if something else released it there.
    pub(crate) async fn keep_held(&self, seq: Seq, now: Timestamp) -> Result<()> {
        const KEEP: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = ?2, reason = 'held', updated_at = ?3 \
             WHERE seq = ?1 AND state = 'queued' AND held_at IS NOT NULL";
        let query = sqlx::query(KEEP).bind(seq.0).bind(time_text(FOREVER)).bind(time_text(now));
        self.execute(now, query).await?;
        Ok(())
    }
}

/// Holds a queued message. Returns `None` if it is held already.
pub(super) async fn hold(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    now: Timestamp,
) -> Result<Option<Changed>> {
    if is_held(row)? {
        return Ok(None);
    }
    // Built from constants; every value is bound.
    let sql = AssertSqlSafe(format!(
        "UPDATE messages SET revision = messages.revision + 1, {} WHERE seq = ?1",
        wait_is_held()
    ));
    let query = sqlx::query(sql).bind(row.try_get::<i64, _>("seq")?).bind(time_text(now));
    query.bind(time_text(FOREVER)).execute(connection).await?;
    Ok(Some(changed(false)))
}

/// Releases a held message. Returns `None` if it is not held.
pub(super) async fn release(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    now: Timestamp,
) -> Result<Option<Changed>> {
    if !is_held(row)? {
        return Ok(None);
    }
    // Built from constants; every value is bound.
    let sql = AssertSqlSafe(format!(
        "UPDATE messages SET revision = messages.revision + 1, held_at = NULL, {} WHERE seq = ?1",
        wait_goes_on("?2")
    ));
    let query = sqlx::query(sql).bind(row.try_get::<i64, _>("seq")?).bind(time_text(now));
    query.execute(connection).await?;
    Ok(Some(changed(true)))
}

fn is_held(row: &SqliteRow) -> Result<bool> {
    Ok(rows::time(row, "held_at")?.is_some())
}

fn changed(was_held: bool) -> Changed {
    let (old, new) = (json!({ "held": was_held }), json!({ "held": !was_held }));
    Changed { state: StateName::Queued, moved_to: None, others: Vec::new(), old, new }
}
