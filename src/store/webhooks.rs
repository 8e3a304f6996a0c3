//! Webhooks on disk: kept as they came, before they are answered, and each only once.
//!
//! `inbound/` keeps and interprets them. What a webhook changes and that it was interpreted is one transaction
//! (`heard.rs`), so that a crash neither loses nor repeats it.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Store;
use super::rows::{self, Result};
use crate::domain::message::AccountId;
use crate::domain::time_text;

/// A webhook that was received and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Unipile's id of the event, or another text that identifies it.
    pub event_id: String,
    /// Type of the event: `message.new`.
    pub kind: String,
    /// The account that it concerns, if it names one.
    pub account_id: Option<AccountId>,
    /// The body, unchanged.
    pub body: String,
}

/// A webhook that waits to be interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its place in the order of arrival.
    pub seq: i64,
    /// When it arrived.
    pub received_at: Timestamp,
    /// What arrived.
    pub webhook: NewWebhook,
}

/// What was received of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookKind {
    /// Type of the events.
    pub kind: String,
    /// How many were received.
    pub count: u64,
    /// When the last one was received.
    pub last_at: Timestamp,
}

impl Store {
    /// Keeps a webhook. Returns `false` if the same event was kept before.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the webhook must not be acknowledged then.
    pub async fn keep_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Result<bool> {
        const SQL: &str = "INSERT INTO webhooks (event_id, kind, account_id, received_at, body) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (event_id) DO NOTHING";
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let NewWebhook { event_id, kind, account_id, body } = webhook;
                    let query = sqlx::query(SQL).bind(event_id).bind(kind);
                    let query = query.bind(account_id.as_ref().map(AccountId::as_str).map(str::to_owned));
                    let query = query.bind(time_text(now)).bind(body);
                    Ok(query.execute(connection).await?.rows_affected() > 0)
                })
            })
            .await
    }

    /// Returns webhooks that can be interpreted now, in the order of arrival, at most `limit`; and when the next of
    /// the others can be.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn waiting_webhooks(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<(Vec<Webhook>, Option<Timestamp>)> {
        const SQL: &str = "SELECT seq, event_id, kind, account_id, received_at, body FROM webhooks INDEXED BY webhooks_waiting \
             WHERE result IS NULL AND (look_at IS NULL OR look_at <= ?1) ORDER BY seq LIMIT ?2 + 0";
        const NEXT: &str = "SELECT min(look_at) AS look_at FROM webhooks INDEXED BY webhooks_waiting \
             WHERE result IS NULL AND look_at > ?1";
        let query = sqlx::query(SQL).bind(time_text(now)).bind(limit);
        let found = query.fetch_all(&self.inner.readers).await?;
        let webhooks = found.iter().map(read).collect::<Result<Vec<_>>>()?;
        let next = sqlx::query(NEXT).bind(time_text(now)).fetch_one(&self.inner.readers).await?;
        Ok((webhooks, rows::time(&next, "look_at")?))
    }

    /// Returns whether a webhook with this id was kept.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn has_webhook(&self, event_id: &str) -> Result<bool> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM webhooks WHERE event_id = ?1)";
        Ok(sqlx::query_scalar(SQL).bind(event_id).fetch_one(&self.inner.readers).await?)
    }

    /// Returns what was received of each type.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn webhook_kinds(&self) -> Result<Vec<WebhookKind>> {
        const SQL: &str = "SELECT kind, count(*) AS n, max(received_at) AS last_at FROM webhooks GROUP BY kind ORDER BY kind";
        let found = sqlx::query(SQL).fetch_all(&self.inner.readers).await?;
        let kind = |row: &SqliteRow| {
            Ok(WebhookKind {
                kind: row.try_get("kind")?,
                count: row.try_get::<i64, _>("n")?.unsigned_abs(),
                last_at: rows::required_time(row, "last_at")?,
            })
        };
        found.iter().map(kind).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Webhook> {
    let account_id: Option<String> = row.try_get("account_id")?;
    let webhook = NewWebhook {
        event_id: row.try_get("event_id")?,
        kind: row.try_get("kind")?,
        account_id: account_id.map(AccountId::new),
        body: row.try_get::<Option<String>, _>("body")?.unwrap_or_default(),
    };
    Ok(Webhook { seq: row.try_get("seq")?, received_at: rows::required_time(row, "received_at")?, webhook })
}
