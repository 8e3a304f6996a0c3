//! Policy overrides of accounts that were set while a daemon ran.
//!
//! They are stored as they were given, with an event for each change.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::Row;

use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{Result, corrupt};

impl Store {
    /// Returns the overrides of `account`, by their path below `policy.default`.
    pub(crate) async fn rules(&self, account: &AccountId) -> Result<Map<String, Value>> {
        const SQL: &str = "SELECT coalesce(rules, '{}') FROM accounts WHERE id = ?1";
        let text: Option<String> =
            sqlx::query_scalar(SQL).bind(account.as_str()).fetch_optional(&self.inner.readers).await?;
        text.map_or_else(|| Ok(Map::new()), |text| parse(&text))
    }

    /// Returns the overrides of every account that has any.
    pub(crate) async fn all_rules(&self) -> Result<Vec<(AccountId, Map<String, Value>)>> {
        const SQL: &str = "SELECT id, rules FROM accounts WHERE rules IS NOT NULL";
        let found = sqlx::query(SQL).fetch_all(&self.inner.readers).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            Ok((AccountId::new(row.try_get::<String, _>("id")?), parse(row.try_get("rules")?)?))
        };
        found.iter().map(read).collect()
    }

    /// Stores `rules` as the overrides of `account`; `change` is the request, for the record.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing is changed then.
    pub(crate) async fn set_rules(
        &self,
        account: AccountId,
        rules: Map<String, Value>,
        change: Value,
        now: Timestamp,
    ) -> Result<()> {
        const SET: &str = "UPDATE accounts SET rules = ?2 WHERE id = ?1";
        const EVENT: &str =
            "INSERT INTO events (at, kind, account_id, detail) VALUES (?1, 'account.policy', ?2, ?3)";
        let text = (!rules.is_empty()).then(|| Value::Object(rules).to_string());
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                sqlx::query(SET).bind(account.as_str()).bind(text).execute(&mut *connection).await?;
                let query = sqlx::query(EVENT).bind(time_text(now)).bind(account.as_str());
                query.bind(change.to_string()).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }
}

fn parse(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|error| corrupt("rules", error.to_string()))
}
