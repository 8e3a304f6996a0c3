//! Rests that an account must take because of what a read showed.
//!
//! No attempt is involved.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::defer::{event, note_down};
use crate::domain::account::AccountRest;
use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

impl Store {
    /// Starts a rest of `account`.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the account does not rest then.
    pub(crate) async fn rest(&self, account: AccountId, rest: AccountRest, now: Timestamp) -> Result<()> {
        self.exclusive(now, move |connection| Box::pin(write(connection, account, rest, now))).await
    }
}

async fn write(
    connection: &mut SqliteConnection,
    account: AccountId,
    rest: AccountRest,
    now: Timestamp,
) -> Result<()> {
    const REST: &str = "UPDATE accounts SET hold_reason = ?2, hold_until = ?3 \
         WHERE id = ?1 AND (hold_until IS NULL OR hold_until < ?3)";
    const REMEMBER: &str = "UPDATE accounts SET failures = ?2, throttles = ?3, throttled_at = ?4, half_caps_until = ?5 WHERE id = ?1";
    let AccountRest { hold, history, down } = rest;
    let (at, id, until) = (time_text(now), account.as_str(), time_text(hold.until));
    let query = sqlx::query(REST).bind(id).bind(hold.reason.as_str()).bind(&until);
    query.execute(&mut *connection).await?;
    let query = sqlx::query(REMEMBER).bind(id).bind(history.failures).bind(history.throttles);
    let query = query.bind(history.throttled_at.map(time_text));
    query.bind(history.half_caps_until.map(time_text)).execute(&mut *connection).await?;
    event(connection, &at, "account.hold", Some(id), hold.reason.as_str(), &until).await?;
    if let Some(down) = down {
        note_down(connection, account, down).await?;
    }
    Ok(())
}
