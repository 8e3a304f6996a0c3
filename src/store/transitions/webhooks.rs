//! Webhooks on disk: kept as they came, before they are answered, and each only once.
//!
//! `inbound/` keeps and interprets them. What a webhook changes and that it was interpreted is one transaction
//! (`heard.rs`), so that a crash neither loses nor repeats it.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

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

/// A webhook, and when it was received.
pub(in crate::store) struct ReceivedWebhook {
    pub(super) webhook: NewWebhook,
    pub(in crate::store) at: Timestamp,
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
pub(crate) struct WebhookKind {
    /// Type of the events.
    pub kind: String,
    /// How many were received.
    pub count: u64,
    /// When the last one was received.
    pub last_at: Timestamp,
}

impl Store {
    /// Keeps a webhook, in a transaction with what else waits for the writer. Returns `false` if the same event was kept
    /// before.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the webhook must not be acknowledged then.
    pub async fn keep_webhook(&self, webhook: NewWebhook, now: Timestamp) -> Result<bool> {
        self.inner.writer.keep(ReceivedWebhook { webhook, at: now }).await
    }

    /// Returns webhooks that can be interpreted now, in the order of arrival, at most `limit`; and when the next of
    /// the others can be.
    pub async fn waiting_webhooks(
        &self,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<Webhook>, Option<Timestamp>)> {
        const SQL: &str = "SELECT seq, event_id, kind, account_id, received_at, body FROM webhooks INDEXED BY webhooks_waiting \
             WHERE result IS NULL AND (look_at IS NULL OR look_at <= ?1) ORDER BY seq LIMIT ?2 + 0";
        const NEXT: &str = "SELECT min(look_at) AS look_at FROM webhooks INDEXED BY webhooks_waiting \
             WHERE result IS NULL AND look_at > ?1";
        let query = sqlx::query(SQL).bind(time_text(now)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = query.fetch_all(&self.inner.readers).await?;
        let webhooks = found.iter().map(read).collect::<Result<Vec<_>>>()?;
        let next = sqlx::query(NEXT).bind(time_text(now)).fetch_one(&self.inner.readers).await?;
        Ok((webhooks, rows::time(&next, "look_at")?))
    }

    /// Returns whether a webhook with this id was kept.
    pub(crate) async fn has_webhook(&self, event_id: &str) -> Result<bool> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM webhooks WHERE event_id = ?1)";
        Ok(sqlx::query_scalar(SQL).bind(event_id).fetch_one(&self.inner.readers).await?)
    }

    /// Returns what was received of each type.
    pub(crate) async fn webhook_kinds(&self) -> Result<Vec<WebhookKind>> {
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

/// Keeps webhooks, in one statement. Returns for each whether it is new.
pub(in crate::store) async fn keep(
    connection: &mut SqliteConnection,
    received: &[&ReceivedWebhook],
) -> Result<Vec<bool>> {
    const KEEP: &str = "INSERT INTO webhooks (event_id, kind, account_id, received_at, body) \
         SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?1) WHERE true \
         ON CONFLICT (event_id) DO NOTHING RETURNING event_id";
    if received.is_empty() {
        return Ok(Vec::new());
    }
    let row = |one: &&ReceivedWebhook| {
        let NewWebhook { event_id, kind, account_id, body } = &one.webhook;
        json!([event_id, kind, account_id.as_ref().map(AccountId::as_str), time_text(one.at), body])
    };
    let rows: Vec<Value> = received.iter().map(row).collect();
    let kept: Vec<String> =
        sqlx::query_scalar(KEEP).bind(json!(rows).to_string()).fetch_all(connection).await?;
    let mut kept: HashSet<String> = kept.into_iter().collect();
    // Of two with the same id, the first is new.
    Ok(received.iter().map(|one| kept.remove(&one.webhook.event_id)).collect())
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
