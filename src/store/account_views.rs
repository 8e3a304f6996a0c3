//! What people read of accounts: how each stands and what waits on it. Only reads; nothing is counted row by row.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::Store;
use super::rows::{self, Result, corrupt};
use crate::domain::account::Account;
use crate::domain::message::AccountId;
use crate::domain::state::StateName;

/// How many messages are in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(StateName, u64)>);

impl Counts {
    /// How many are in `state`.
    pub fn of(&self, state: StateName) -> u64 {
        self.0.iter().find(|(name, _)| *name == state).map_or(0, |(_, n)| *n)
    }
}

/// An account with what waits on it.
#[derive(Debug, Clone)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Its messages by state.
    pub counts: Counts,
    /// When the oldest waiting message became due.
    pub oldest_due_at: Option<Timestamp>,
    /// When it last sent one.
    pub last_sent_at: Option<Timestamp>,
    /// When the next chat of its is read back.
    pub next_read_at: Option<Timestamp>,
}

impl Store {
    /// The accounts, or only one, with what waits on them; in order of their ids.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn accounts(&self, only: Option<&AccountId>) -> Result<Vec<AccountView>> {
        let sql = format!(
            "SELECT {}, (SELECT group_concat(c.state || '=' || c.n) FROM counts c WHERE c.account_id = a.id) AS counts, \
               (SELECT min(l.due_at) FROM lanes l WHERE l.account_id = a.id) AS oldest_due_at, \
               (SELECT max(t.started_at) FROM attempts t WHERE t.account_id = a.id AND t.outcome = 'accepted') AS last_sent_at, \
               (SELECT min(u.verify_at) FROM messages u INDEXED BY messages_unsettled WHERE u.account_id = a.id \
                AND u.state IN ('sending', 'uncertain', 'review')) AS next_read_at \
             FROM accounts a WHERE ?1 IS NULL OR a.id = ?1 ORDER BY a.id",
            rows::ACCOUNT_COLUMNS,
        );
        // Made of constants; values are bound.
        let query = sqlx::query(AssertSqlSafe(sql)).bind(only.map(AccountId::as_str));
        let found = query.fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| {
            let counts: Option<&str> = row.try_get("counts")?;
            Ok(AccountView {
                account: rows::account(row)?,
                counts: read_counts(counts.unwrap_or_default())?,
                oldest_due_at: rows::time(row, "oldest_due_at")?,
                last_sent_at: rows::time(row, "last_sent_at")?,
                next_read_at: rows::time(row, "next_read_at")?,
            })
        };
        found.iter().map(read).collect()
    }
}

/// Reads `state=n,state=n`, as the counts of a group are written.
pub(super) fn read_counts(text: &str) -> Result<Counts> {
    let pair = |pair: &str| {
        let (state, n) = pair.split_once('=')?;
        Some((StateName::parse(state)?, n.parse().ok()?))
    };
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let mut counts =
        pairs.map(|text| pair(text).ok_or_else(|| corrupt("counts", text))).collect::<Result<Vec<_>>>()?;
    counts.retain(|(_, n)| *n > 0);
    counts.sort_unstable();
    Ok(Counts(counts))
}
