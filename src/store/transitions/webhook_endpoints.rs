//! The endpoint that was registered for webhooks, with the secret that signs its deliveries.
//!
//! The secret is in the file of the queue and in its backups, like the texts of messages. Nothing shows or logs it.

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::endpoint::Endpoint;
use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// A registered endpoint. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct StoredEndpoint {
    /// The provider's id.
    pub id: String,
    /// The public address.
    pub url: String,
    /// Types of the events.
    pub events: Vec<String>,
    /// The accounts whose events it receives; none: every account.
    pub account_ids: Vec<AccountId>,
    /// What signs its deliveries.
    pub secret: SecretString,
    /// When it was first registered.
    pub registered_at: Timestamp,
}

impl Store {
    /// Keeps an endpoint with its secret, or changes the one with the same id.
    pub(crate) async fn keep_endpoint(
        &self,
        endpoint: Endpoint,
        secret: SecretString,
        now: Timestamp,
    ) -> Result<StoredEndpoint> {
        const KEEP: &str = "INSERT INTO webhook_endpoints (id, url, events, account_ids, secret, registered_at, read_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) ON CONFLICT (id) DO UPDATE SET url = excluded.url, events = excluded.events, \
               account_ids = excluded.account_ids, secret = excluded.secret, read_at = excluded.read_at \
             RETURNING id, url, events, account_ids, secret, registered_at";
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                let accounts: Vec<&str> = endpoint.account_ids.iter().map(AccountId::as_str).collect();
                let query = sqlx::query(KEEP).bind(endpoint.id).bind(endpoint.url);
                let query = query.bind(serde_json::to_string(&endpoint.events).unwrap_or_default());
                let query = query.bind(serde_json::to_string(&accounts).unwrap_or_default());
                let query = query.bind(secret.expose_secret().to_owned()).bind(time_text(now));
                read(&query.fetch_one(connection).await?)
            })
        })
        .await
    }

    /// Returns the registered endpoints, the oldest first.
    pub(crate) async fn webhook_endpoints(&self) -> Result<Vec<StoredEndpoint>> {
        const SQL: &str = "SELECT id, url, events, account_ids, secret, registered_at FROM webhook_endpoints \
             ORDER BY registered_at, id";
        let found = sqlx::query(SQL).fetch_all(&self.inner.readers).await?;
        found.iter().map(read).collect()
    }

    /// Forgets an endpoint.
    pub(crate) async fn forget_endpoint(&self, id: String, now: Timestamp) -> Result<()> {
        self.execute(now, sqlx::query("DELETE FROM webhook_endpoints WHERE id = ?1").bind(id)).await?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<StoredEndpoint> {
    let list = |column: &str| {
        let text: String = row.try_get(column)?;
        Ok::<Vec<String>, sqlx::Error>(serde_json::from_str(&text).unwrap_or_default())
    };
    let secret: String = row.try_get("secret")?;
    Ok(StoredEndpoint {
        id: row.try_get("id")?,
        url: row.try_get("url")?,
        events: list("events")?,
        account_ids: list("account_ids")?.into_iter().map(AccountId::new).collect(),
        secret: SecretString::from(secret),
        registered_at: rows::required_time(row, "registered_at")?,
    })
}
