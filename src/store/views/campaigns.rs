//! Campaigns, for people: how many messages of each step wait, were sent, read and answered.
//!
//! The counts are read from the messages at each request: triggers that keep them would make every INSERT slower.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// What became of the messages of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepCounts {
    /// The step; `None` for messages without one.
    pub step: Option<i64>,
    /// All messages.
    pub messages: u64,
    /// Queued, and not waiting for the step before.
    pub queued: u64,
    /// Queued, and waiting for the step before or its own wait.
    pub waiting: u64,
    /// A call is in progress, or its outcome is not known yet.
    pub in_flight: u64,
    /// A person must decide.
    pub review: u64,
    /// Sent.
    pub sent: u64,
    /// Sent and delivered, as far as it was heard.
    pub delivered: u64,
    /// Sent and read, as far as it was heard.
    pub read: u64,
    /// Sent and answered.
    pub replied: u64,
    /// Cancelled or expired.
    pub stopped: u64,
    /// Failed or rejected.
    pub failed: u64,
    /// When the next of its messages is due.
    pub next_at: Option<Timestamp>,
}

/// A campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign {
    /// Its label.
    pub name: String,
    /// Its steps, in order.
    pub steps: Vec<StepCounts>,
    /// Whether a stop of the campaign on every account holds it.
    pub is_stopped: bool,
    /// When that stop ends, if it ends.
    pub stopped_until: Option<Timestamp>,
}

/// The first `?2` campaigns after the name `?1`, each found by a seek in the index.
pub(super) const NAMES: &str = "WITH RECURSIVE names(name, n) AS ( \
       SELECT (SELECT m.campaign FROM messages m INDEXED BY messages_by_campaign WHERE m.campaign > ?1 ORDER BY m.campaign LIMIT 1), 1 \
       UNION ALL SELECT (SELECT m.campaign FROM messages m INDEXED BY messages_by_campaign WHERE m.campaign > names.name \
         ORDER BY m.campaign LIMIT 1), n + 1 FROM names WHERE names.name IS NOT NULL AND n < ?2) \
     SELECT name FROM names WHERE name IS NOT NULL";

pub(super) const COUNTS: &str = "SELECT step, count(*) AS messages, \
       count(*) FILTER (WHERE state IN ('new', 'queued') AND NOT coalesce(step > 1 AND (wait_until IS NULL OR iif(wait_held_at IS NULL, wait_until, max(wait_until, coalesce(retry_at, ''))) > ?2), 0)) AS queued, \
       count(*) FILTER (WHERE state IN ('new', 'queued') AND coalesce(step > 1 AND (wait_until IS NULL OR iif(wait_held_at IS NULL, wait_until, max(wait_until, coalesce(retry_at, ''))) > ?2), 0)) AS waiting, \
       count(*) FILTER (WHERE state IN ('sending', 'uncertain')) AS in_flight, count(*) FILTER (WHERE state = 'review') AS review, \
       count(*) FILTER (WHERE state = 'sent') AS sent, count(delivered_at) AS delivered, count(read_at) AS read, \
       count(replied_at) AS replied, count(*) FILTER (WHERE state IN ('cancelled', 'expired')) AS stopped, \
       count(*) FILTER (WHERE state IN ('failed', 'rejected')) AS failed, \
       min(CASE WHEN blocked_by IS NULL THEN next_at END) AS next_at \
     FROM messages INDEXED BY messages_by_campaign WHERE campaign = ?1 GROUP BY step ORDER BY step";

/// How many messages of a campaign were sent in each quarter of an hour, which every day of every zone is made of.
const SENT: &str = "SELECT substr(sent_at, 1, 14) || substr('00153045', 1 + 2 * (substr(sent_at, 15, 2) / 15), 2) || ':00Z' AS at, \
       count(*) AS n FROM messages INDEXED BY messages_by_campaign \
     WHERE campaign = ?1 AND state || '' = 'sent' AND sent_at IS NOT NULL GROUP BY at ORDER BY at";

impl Store {
    /// Returns how many messages of a campaign were sent in each quarter of an hour in which any was.
    pub(crate) async fn campaign_sent(&self, name: &str) -> Result<Vec<(Timestamp, u32)>> {
        let rows = sqlx::query(SENT).bind(name).fetch_all(&self.inner.readers).await?;
        rows.iter().map(|row| Ok((rows::required_time(row, "at")?, row.try_get("n")?))).collect()
    }

    /// Returns how many messages of all campaigns were answered.
    pub(crate) async fn campaigns_replied(&self) -> Result<u64> {
        const REPLIED: &str = "SELECT count(replied_at) FROM messages INDEXED BY messages_by_campaign WHERE campaign IS NOT NULL";
        let count: i64 = sqlx::query_scalar(REPLIED).fetch_one(&self.inner.readers).await?;
        Ok(count.unsigned_abs())
    }

    /// Returns the names of at most `limit` campaigns after the name `after`, in order.
    pub(crate) async fn campaign_names(&self, after: &str, limit: u32) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(NAMES).bind(after).bind(limit).fetch_all(&self.inner.readers).await?)
    }

    /// Returns the campaign with this name; `None` if no message has it.
    pub(crate) async fn campaign(&self, name: &str, now: Timestamp) -> Result<Option<Campaign>> {
        const STOP: &str = "SELECT max(coalesce(until, '~')) AS until FROM stops WHERE scope = 'campaign' AND key = ?1 \
             AND account_id = '' AND (until IS NULL OR until > ?2)";
        let query = sqlx::query(COUNTS).bind(name).bind(time_text(now));
        let steps: Vec<StepCounts> =
            query.fetch_all(&self.inner.readers).await?.iter().map(read_counts).collect::<Result<_>>()?;
        if steps.is_empty() {
            return Ok(None);
        }
        let query = sqlx::query_scalar(STOP).bind(name).bind(time_text(now));
        let until: Option<String> = query.fetch_one(&self.inner.readers).await?;
        let stopped_until = until.as_deref().and_then(rows::stored_time);
        Ok(Some(Campaign { name: name.to_owned(), steps, is_stopped: until.is_some(), stopped_until }))
    }
}

fn read_counts(row: &SqliteRow) -> Result<StepCounts> {
    let count =
        |column: &str| Ok::<_, crate::store::StoreError>(row.try_get::<i64, _>(column)?.unsigned_abs());
    Ok(StepCounts {
        step: row.try_get("step")?,
        messages: count("messages")?,
        queued: count("queued")?,
        waiting: count("waiting")?,
        in_flight: count("in_flight")?,
        review: count("review")?,
        sent: count("sent")?,
        delivered: count("delivered")?,
        read: count("read")?,
        replied: count("replied")?,
        stopped: count("stopped")?,
        failed: count("failed")?,
        next_at: rows::time(row, "next_at")?,
    })
}
