//! Totals of the whole queue, for `status`.
//!
//! Triggers maintain the counts, so no row is counted here.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::accounts::{Counts, read_counts};
use crate::domain::account::{Daemon, Down};
use crate::domain::outcome::DownCause;
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// A SQLite library of another program that wrote to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Its version.
    pub sqlite_version: String,
    /// When it first wrote.
    pub first_seen_at: Timestamp,
}

/// An account that cannot send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DownAccount {
    pub id: String,
    /// Why and since when.
    pub down: Down,
}

/// The accounts with waiting messages that rest for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resting {
    pub reason: Reason,
    /// How many there are.
    pub accounts: usize,
    /// The ids of the first ones.
    pub first: Vec<String>,
    /// When the first of them goes on.
    pub until: Timestamp,
}

/// How many accounts that rest are named.
const NAMED: usize = 3;

/// Totals of the whole queue.
#[derive(Debug, Clone)]
pub struct Totals {
    /// State that concerns every account.
    pub daemon: Daemon,
    /// Number of messages in each state.
    pub counts: Counts,
    /// Number of accounts.
    pub accounts: u64,
    /// SQLite libraries of other programs that wrote to the queue.
    pub producers: Vec<Producer>,
}

pub(in crate::store) const DOWN: &str = "SELECT id, down_cause, down_at, down_problem FROM accounts INDEXED BY accounts_down WHERE down_cause IS NOT NULL ORDER BY id LIMIT 10";

/// Of accounts that have something to send: among the others, a rest keeps nothing.
const RESTING: &str = "SELECT id, hold_reason, hold_until FROM accounts INDEXED BY accounts_resting \
     WHERE hold_until > ?1 AND attention < 2 AND hold_reason IN ('failures', 'cooldown') AND down_cause IS NULL \
     ORDER BY attention, id LIMIT 10000";

/// The statement behind [`Store::totals`].
pub(in crate::store) fn totals_sql() -> String {
    format!(
        "SELECT {}, (SELECT n FROM totals WHERE what = 'accounts') AS accounts, \
           (SELECT group_concat(what || '=' || n) FROM totals WHERE what <> 'accounts') AS counts \
         FROM daemon d WHERE d.id = 1",
        rows::DAEMON_COLUMNS
    )
}

impl Store {
    /// Returns the totals, in the same time whatever the queue holds.
    pub async fn totals(&self) -> Result<Totals> {
        // Built from constants.
        let row = sqlx::query(AssertSqlSafe(totals_sql())).fetch_one(&self.inner.readers).await?;
        let counts: Option<&str> = row.try_get("counts")?;
        Ok(Totals {
            daemon: rows::daemon(&row)?,
            counts: read_counts(counts.unwrap_or_default())?,
            accounts: u64::try_from(row.try_get::<i64, _>("accounts")?).unwrap_or(0),
            producers: self.producers().await?,
        })
    }

    /// Returns only the state that concerns every account.
    pub(crate) async fn daemon(&self) -> Result<Daemon> {
        let sql = format!("SELECT {} FROM daemon d WHERE d.id = 1", rows::DAEMON_COLUMNS);
        // Built from constants.
        rows::daemon(&sqlx::query(AssertSqlSafe(sql)).fetch_one(&self.inner.readers).await?)
    }

    /// Returns the accounts that are down, in the order of their ids; at most ten.
    pub(crate) async fn accounts_down(&self) -> Result<Vec<DownAccount>> {
        let read = |row: &SqliteRow| {
            let cause: &str = row.try_get("down_cause")?;
            let cause = DownCause::parse(cause).ok_or_else(|| rows::corrupt("down_cause", cause))?;
            let problem: Option<String> = row.try_get("down_problem")?;
            let (since, problem) = (rows::required_time(row, "down_at")?, problem.unwrap_or_default());
            Ok(DownAccount { id: row.try_get("id")?, down: Down { cause, since, problem } })
        };
        sqlx::query(DOWN).fetch_all(&self.inner.readers).await?.iter().map(read).collect()
    }

    /// Returns the accounts with waiting messages that rest at `now` after failures in a row, or because the provider
    /// throttled them. An account that is down is not among them.
    pub(crate) async fn accounts_resting(&self, now: Timestamp) -> Result<Vec<Resting>> {
        let mut found: Vec<Resting> = Vec::new();
        for row in sqlx::query(RESTING).bind(time_text(now)).fetch_all(&self.inner.readers).await? {
            let (id, code): (String, &str) = (row.try_get("id")?, row.try_get("hold_reason")?);
            let reason = Reason::parse(code).ok_or_else(|| rows::corrupt("hold_reason", code))?;
            let until = rows::required_time(&row, "hold_until")?;
            let Some(known) = found.iter_mut().find(|known| known.reason == reason) else {
                found.push(Resting { reason, accounts: 1, first: vec![id], until });
                continue;
            };
            known.accounts += 1;
            known.until = known.until.min(until);
            if known.first.len() < NAMED {
                known.first.push(id);
            }
        }
        Ok(found)
    }

    async fn producers(&self) -> Result<Vec<Producer>> {
        const SQL: &str = "SELECT sqlite_version, first_seen_at FROM producers ORDER BY sqlite_version";
        let read = |row: &SqliteRow| {
            let sqlite_version = row.try_get("sqlite_version")?;
            Ok(Producer { sqlite_version, first_seen_at: rows::required_time(row, "first_seen_at")? })
        };
        sqlx::query(SQL).fetch_all(&self.inner.readers).await?.iter().map(read).collect()
    }
}
