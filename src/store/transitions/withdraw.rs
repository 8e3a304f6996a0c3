//! Transitions out of the queue without a send.
//!
//! A message is cancelled, or it expires.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::{Changed, state_value};
use super::reconcile::keep;
use super::review::Decision;
use crate::domain::message::AccountId;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

pub(in crate::store) const NEXT_EXPIRY: &str = "SELECT min(expires_at) AS expires_at FROM messages INDEXED BY messages_expiring \
     WHERE state = 'queued' AND expires_at IS NOT NULL";

pub(in crate::store) const EXPIRE: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'expired', reason = 'expired', updated_at = ?1 WHERE seq IN \
     (SELECT seq FROM messages INDEXED BY messages_expiring WHERE state = 'queued' AND expires_at IS NOT NULL AND expires_at <= ?1 LIMIT 500) \
     RETURNING account_id";

impl Store {
    /// Expires unsent messages whose expiry has passed, at most 500 at a time. Returns their accounts.
    pub async fn expire(&self, now: Timestamp) -> Result<Vec<AccountId>> {
        self.exclusive(now, move |connection| Box::pin(expire(connection, now))).await
    }

    /// Returns when the next message expires.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>> {
        let row = sqlx::query(NEXT_EXPIRY).fetch_one(&self.inner.readers).await?;
        rows::time(&row, "expires_at")
    }
}

/// Cancels the message of a row, which is in the state `was`.
pub(super) async fn cancel_row(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    was: StateName,
    now: Timestamp,
) -> Result<Changed> {
    const CANCEL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'cancelled', updated_at = ?2 WHERE seq = ?1";
    let (seq, at): (i64, String) = (row.try_get("seq")?, time_text(now));
    sqlx::query(CANCEL).bind(seq).bind(&at).execute(&mut *connection).await?;
    if was == StateName::Review {
        let attempt = rows::count(row, "attempts")?;
        keep(connection, seq, attempt, &at, ("person", Decision::Drop.as_str()), None).await?;
    }
    let (old, new) = (state_value(was), state_value(StateName::Cancelled));
    Ok(Changed { state: StateName::Cancelled, moved_to: None, others: Vec::new(), old, new })
}

async fn expire(connection: &mut SqliteConnection, now: Timestamp) -> Result<Vec<AccountId>> {
    let ids: Vec<String> = sqlx::query_scalar(EXPIRE).bind(time_text(now)).fetch_all(connection).await?;
    let ids: HashSet<String> = ids.into_iter().collect();
    Ok(ids.into_iter().map(AccountId::new).collect())
}
