//! Rests that an account must take because of what a read showed.
//!
//! No attempt is involved.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::account::{AccountHold, Down, History};
use crate::domain::message::AccountId;
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// A rest and what is recorded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRest {
    /// The rest; a longer one already in effect remains.
    pub hold: AccountHold,
    /// What the account's limits remember from now on.
    pub history: History,
    /// Set if a person must decide before the account resumes.
    pub down: Option<Down>,
}

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
    const DOWN: &str = "UPDATE accounts SET down_cause = ?2, down_at = ?3, down_problem = ?4 WHERE id = ?1 AND down_cause IS NULL";
    const EVENT: &str =
        "INSERT INTO events (at, kind, account_id, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let AccountRest { hold, history, down } = rest;
    let (at, id, until) = (time_text(now), account.as_str(), time_text(hold.until));
    let query = sqlx::query(REST).bind(id).bind(hold.reason.as_str()).bind(&until);
    query.execute(&mut *connection).await?;
    let query = sqlx::query(REMEMBER).bind(id).bind(history.failures).bind(history.throttles);
    let query = query.bind(history.throttled_at.map(time_text));
    query.bind(history.half_caps_until.map(time_text)).execute(&mut *connection).await?;
    let event = sqlx::query(EVENT).bind(&at).bind("account.hold").bind(id);
    event.bind(hold.reason.as_str()).bind(&until).execute(&mut *connection).await?;
    if let Some(down) = down {
        let cause = down.cause.as_str();
        let query = sqlx::query(DOWN).bind(id).bind(cause).bind(&at).bind(&down.problem);
        if query.execute(&mut *connection).await?.rows_affected() == 0 {
            return Ok(());
        }
        let event = sqlx::query(EVENT).bind(&at).bind("account.down").bind(id);
        event.bind(Reason::of_down(down.cause).as_str()).bind(&down.problem).execute(connection).await?;
    }
    Ok(())
}
