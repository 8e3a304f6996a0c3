//! People who were erased: only salted hashes of their ids, names and chats are kept, so that they are never written to
//! again (P5). Every door asks [`find`], and so does each intent (`suppressed.rs`).

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{SqliteConnection, SqliteExecutor};

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// The salt of the hashes; a queue has none until a person is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Salt(pub(in crate::store) String);

impl Salt {
    /// Returns the salt, if any person was erased.
    pub(in crate::store) async fn of(connection: impl SqliteExecutor<'_>) -> Result<Option<Self>> {
        const SQL: &str = "SELECT erase_salt FROM daemon WHERE id = 1";
        let salt: Option<String> = sqlx::query_scalar(SQL).fetch_one(connection).await?;
        Ok(salt.map(Self))
    }

    /// Returns the salt, which is drawn the first time.
    pub(super) async fn made(connection: &mut SqliteConnection) -> Result<Self> {
        const SQL: &str = "UPDATE daemon SET erase_salt = coalesce(erase_salt, lower(hex(randomblob(32)))) WHERE id = 1 RETURNING erase_salt";
        Ok(Self(sqlx::query_scalar(SQL).fetch_one(connection).await?))
    }

    /// Returns the hash of a user id, of `in/NAME`, or of a [`chat_key`].
    pub(in crate::store) fn hash(&self, key: &str) -> String {
        let hash = Sha256::new().chain_update(&self.0).chain_update([0]).chain_update(key).finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the text whose hash identifies a chat.
pub(in crate::store) fn chat_key(account: &str, chat_id: &str) -> String {
    format!("chat:{account}:{chat_id}")
}

/// Returns the places of those lists that hold a key of an erased person.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    salt: &Salt,
    lists: impl Iterator<Item = Vec<String>>,
) -> Result<HashSet<usize>> {
    const SQL: &str = "SELECT j.value ->> 1 AS place FROM json_each(?1) AS j CROSS JOIN erased AS e ON e.hash = j.value ->> 0";
    let hashes = lists
        .enumerate()
        .flat_map(|(place, keys)| keys.into_iter().map(move |key| (place, key)))
        .map(|(place, key)| json!([salt.hash(&key), place]));
    let hashes = serde_json::Value::Array(hashes.collect()).to_string();
    let places: Vec<i64> = sqlx::query_scalar(SQL).bind(hashes).fetch_all(connection).await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
}

/// Returns whether one of the keys is of an erased person.
pub(super) async fn is_erased(connection: &mut SqliteConnection, keys: Vec<String>) -> Result<bool> {
    let Some(salt) = Salt::of(&mut *connection).await? else { return Ok(false) };
    Ok(!find(connection, &salt, std::iter::once(keys)).await?.is_empty())
}

impl Store {
    /// Returns when a person was erased; `keys` is from [`Store::person_keys`].
    pub(crate) async fn erased_at(&self, keys: &[String]) -> Result<Option<Timestamp>> {
        const SQL: &str = "SELECT max(at) AS at FROM erased WHERE hash IN (SELECT value FROM json_each(?1))";
        let Some(salt) = Salt::of(&self.inner.readers).await? else { return Ok(None) };
        let hashes: Vec<String> = keys.iter().map(|key| salt.hash(key)).collect();
        let row = sqlx::query(SQL).bind(json!(hashes).to_string()).fetch_one(&self.inner.readers).await?;
        rows::time(&row, "at")
    }
}

/// Cancels what is queued for a person who turned out to be erased, on every account.
pub(super) async fn cancel_for(
    connection: &mut SqliteConnection,
    user_id: &str,
    now: Timestamp,
) -> Result<()> {
    const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'suppressed', updated_at = ?2 \
         WHERE thread = 'user:' || ?1 AND state = 'queued'";
    if is_erased(connection, vec![user_id.to_owned()]).await? {
        sqlx::query(SQL).bind(user_id).bind(time_text(now)).execute(connection).await?;
    }
    Ok(())
}
