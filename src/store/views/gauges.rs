//! What the metrics show of the queue, in about the same time whatever the queue holds.
//!
//! Each value comes from the end of an index, or from a count that triggers maintain or that ends at
//! [`COUNTED`] rows.

use jiff::Timestamp;
use sqlx::Row;

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::filesystem;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// Where a count of accounts ends.
const COUNTED: u32 = 10_000;

/// Values for the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gauges {
    /// Unfinished messages with a reason of their own, by its code.
    pub reasons: Vec<(String, u64)>,
    /// When the oldest message that is ready to go became due.
    pub oldest_due: Option<Timestamp>,
    /// Accounts that are down, by cause.
    pub down: Vec<(String, u64)>,
    /// Accounts that are paused and not down.
    pub paused: u64,
    /// Accounts whose InMails wait, by balance.
    pub inmail_holds: Vec<(String, u64)>,
    /// The lowest balances of InMail credits, if any was read: classic and recruiter.
    pub lowest_credits: [Option<u64>; 2],
    /// When the newest stored webhook came.
    pub newest_webhook: Option<Timestamp>,
}

/// The statement behind [`Store::gauges`]: everything that is not a list.
pub(in crate::store) const GAUGES: &str = "SELECT \
       (SELECT min(due_at) FROM lanes) AS oldest_due, \
       (SELECT count(*) FROM (SELECT 1 FROM stops p CROSS JOIN accounts a ON a.id = p.key WHERE p.scope = 'account' \
          AND coalesce(p.until > ?1, TRUE) AND a.down_cause IS NULL LIMIT 10000)) AS paused, \
       (SELECT json_extract(credits, '$.classic') FROM account_snapshots \
          WHERE json_extract(credits, '$.classic') IS NOT NULL ORDER BY json_extract(credits, '$.classic') LIMIT 1) AS classic, \
       (SELECT json_extract(credits, '$.recruiter') FROM account_snapshots \
          WHERE json_extract(credits, '$.recruiter') IS NOT NULL ORDER BY json_extract(credits, '$.recruiter') LIMIT 1) AS recruiter, \
       (SELECT received_at FROM webhooks ORDER BY seq DESC LIMIT 1) AS newest_webhook";

const REASONS: &str = "SELECT reason, n FROM waiting_reasons WHERE n > 0 AND ?1 > 0";

const DOWN: &str = "SELECT down_cause, count(*) FROM (SELECT down_cause FROM accounts INDEXED BY accounts_down \
     WHERE down_cause IS NOT NULL LIMIT ?1 + 0) GROUP BY down_cause";

const HOLDS: &str =
    "SELECT credit, count(*) FROM (SELECT credit FROM inmail_holds LIMIT ?1 + 0) GROUP BY credit";

impl Store {
    /// Returns what the metrics show of the queue at `now`.
    pub(crate) async fn gauges(&self, now: Timestamp) -> Result<Gauges> {
        let row = sqlx::query(GAUGES).bind(time_text(now)).fetch_one(&self.inner.readers).await?;
        let count = |column| -> Result<Option<u64>> {
            let number: Option<i64> = row.try_get(column)?;
            number.map(|n| u64::try_from(n).map_err(|_| corrupt(column, n.to_string()))).transpose()
        };
        Ok(Gauges {
            reasons: self.waiting_reasons().await?,
            oldest_due: rows::time(&row, "oldest_due")?,
            down: self.counts_by(DOWN).await?,
            paused: count("paused")?.unwrap_or(0),
            inmail_holds: self.counts_by(HOLDS).await?,
            lowest_credits: [count("classic")?, count("recruiter")?],
            newest_webhook: rows::time(&row, "newest_webhook")?,
        })
    }

    /// Returns how many unfinished messages have each reason of their own.
    pub(crate) async fn waiting_reasons(&self) -> Result<Vec<(String, u64)>> {
        self.counts_by(REASONS).await
    }

    async fn counts_by(&self, sql: &'static str) -> Result<Vec<(String, u64)>> {
        let found: Vec<(String, i64)> =
            sqlx::query_as(sql).bind(COUNTED).fetch_all(&self.inner.readers).await?;
        Ok(found.into_iter().map(|(word, n)| (word, u64::try_from(n).unwrap_or(0))).collect())
    }

    /// Returns the size of the database file and the free space of its disk, in bytes.
    pub(crate) fn disk(&self) -> (u64, Option<u64>) {
        let size = std::fs::metadata(self.path()).map_or(0, |found| found.len());
        (size, filesystem::free_bytes(self.path()))
    }
}
