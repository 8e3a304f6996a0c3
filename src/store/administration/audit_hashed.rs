//! The part of the audit that SQL cannot do alone: which sent messages are for people and chats of which the queue keeps
//! only hashes (`transitions/hashed.rs`, `transitions/erased.rs`).
//!
//! It reads all sent messages, a page at a time, and hashes their recipients.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::erased::{Salt, chat_key};
use crate::store::transitions::hashed;

/// Messages of one page: a few milliseconds of work.
const PAGE: usize = 1000;

/// What the sent messages have to do with hashed people and chats, as two JSON arrays.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    /// `[message, stop, key]`: the message is for a key that the stop suppresses.
    pub(super) suppressed: Vec<Value>,
    /// `[message, at]`: the message is for a person who was erased then.
    pub(super) erased: Vec<Value>,
}

impl Store {
    /// Finds the sent messages for hashed people and chats. A person's other names are not compared: when they became
    /// known is not recorded.
    pub(super) async fn sent_to_hashed(&self) -> Result<Hashed> {
        const SENT: &str = "SELECT seq, account_id, coalesce(thread, '') AS thread, users_ids, chat_id \
             FROM messages INDEXED BY messages_by_state WHERE state || '' = 'sent' AND state <> 'new' AND seq > ?1 \
             ORDER BY seq LIMIT 1000";
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM erased) \
             OR EXISTS (SELECT 1 FROM stops INDEXED BY stops_hashed WHERE substr(key, 1, 7) = 'sha256:')";
        let mut found = Hashed::default();
        let any: bool = sqlx::query_scalar(ANY).fetch_one(&self.inner.readers).await?;
        let Some(salt) = Salt::of(&self.inner.readers).await?.filter(|_| any) else { return Ok(found) };
        let mut after = 0;
        loop {
            let mut reader = self.inner.readers.acquire().await?;
            let page = sqlx::query(SENT).bind(after).fetch_all(&mut *reader).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = last.try_get("seq")?;
            add(&mut reader, &salt, &page, &mut found).await?;
            if page.len() < PAGE {
                return Ok(found);
            }
        }
    }
}

async fn add(
    connection: &mut SqliteConnection,
    salt: &Salt,
    page: &[SqliteRow],
    found: &mut Hashed,
) -> Result<()> {
    const ERASED: &str = "SELECT json_array(j.value ->> 1, e.at) FROM json_each(?1) AS j CROSS JOIN erased AS e ON e.hash = j.value ->> 0";
    let (mut keys, mut hashes) = (Vec::new(), Vec::new());
    for row in page {
        let (seq, account): (i64, String) = (row.try_get("seq")?, row.try_get("account_id")?);
        let users: Option<&str> = row.try_get("users_ids")?;
        let mut people = users.and_then(rows::parse_users_ids).unwrap_or_default();
        people.extend(row.try_get::<&str, _>("thread")?.strip_prefix("user:").map(str::to_owned));
        people.dedup();
        let chat = row.try_get::<Option<String>, _>("chat_id")?;
        hashes.extend(people.iter().map(|person| json!([salt.hash(person), seq])));
        hashes.extend(chat.iter().map(|chat| json!([salt.hash(&chat_key(&account, chat)), seq])));
        keys.extend(people.into_iter().map(|person| (seq, account.clone(), "person", person)));
        // A first message was not sent into the chat that it started.
        keys.extend(chat.filter(|_| users.is_none()).map(|chat| (seq, account, "chat", chat)));
    }
    found.suppressed.extend(hashed::stops_of(connection, salt, keys).await?);
    let query = sqlx::query_scalar(ERASED).bind(Value::Array(hashes).to_string());
    let erased: Vec<String> = query.fetch_all(connection).await?;
    found.erased.extend(erased.iter().filter_map(|row| serde_json::from_str(row).ok()));
    Ok(())
}
