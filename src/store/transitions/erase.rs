//! Erases a person: everything that says who they are or what was written to them goes, over all accounts, in one
//! transaction. What the promises need stays: that a message existed, its times, its state and its attempts.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::blobs::drop_files;
use super::erased::{Salt, chat_key};
use super::people::of_person;
use crate::domain::message::MessageId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Erased {
    /// Messages whose words and recipients were removed.
    pub messages: u64,
    /// Those of them that were queued until now.
    pub cancelled: u64,
    /// Files that no other message carries.
    pub files: u64,
    /// What accounts knew of the person: names, profiles, chats.
    pub people: u64,
    /// Records of what the person wrote.
    pub inbound: u64,
    /// Stops and suppressions, which the hash replaces.
    pub stops: u64,
    /// Messages that are on their way, or of which it is not known whether they were sent; nothing of them was removed.
    pub unsettled: Vec<MessageId>,
}

/// The words and the recipients of messages that are over.
const WIPE: &str = "UPDATE messages SET revision = messages.revision + 1, text = '', text_hash = '', name = NULL, specifics = NULL, \
       options = NULL, meta = NULL, attachments = NULL, error = NULL, dedupe_key = NULL, quote_id = NULL, forward = NULL, route = NULL, \
       users_ids = iif(users_ids IS NULL, NULL, 'erased'), chat_id = iif(chat_id IS NULL, NULL, 'erased'), thread = 'erased:' || ?2, \
       step_key = NULL, provider_message_ids = NULL, pruned_at = coalesce(pruned_at, ?3) \
     WHERE seq IN (SELECT value FROM json_each(?1))";

/// What is removed with the messages in `?1`, before they are wiped.
const OF_MESSAGES: [&str; 4] = [
    "DELETE FROM sent_ids WHERE (account_id, message_id) IN (SELECT m.account_id, p.value FROM json_each(?1) j \
       CROSS JOIN messages m ON m.seq = j.value CROSS JOIN json_each(m.provider_message_ids) p)",
    "UPDATE attempts SET chat_id = NULL, title = NULL, detail = NULL, req_id = NULL, fingerprint = 'erased' \
       WHERE seq IN (SELECT value FROM json_each(?1))",
    "UPDATE evidence SET detail = NULL WHERE seq IN (SELECT value FROM json_each(?1))",
    "DELETE FROM message_commands WHERE done_at IS NOT NULL \
       AND message_id IN (SELECT m.id FROM json_each(?1) j CROSS JOIN messages m ON m.seq = j.value)",
];

impl Store {
    /// Erases a person, and suppresses them for ever; `keys` is from [`Store::person_keys`]. Messages that are not
    /// settled are left for another erasure.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing was removed then.
    pub(crate) async fn erase(
        &self,
        keys: Vec<String>,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<Erased> {
        // Before the first of them is erased: an intent that comes afterwards asks.
        self.inner.any_erased.store(true, Ordering::Relaxed);
        let rejected = json!(self.all_rejected_of(&keys).await?.0).to_string();
        let events = self.events_of(&keys, &rejected).await?;
        let erased = self.exclusive(now, move |connection| {
            Box::pin(async move {
                sqlx::query("PRAGMA secure_delete = ON").fetch_all(&mut *connection).await?;
                let erased = erase(connection, &keys, (&rejected, &events), note, now).await;
                sqlx::query("PRAGMA secure_delete = FAST").fetch_all(&mut *connection).await?;
                erased
            })
        });
        erased.await
    }

    /// Returns the events that name a person, or are of one of the `rejected` rows, as a JSON array: a scan, which the writer need not wait for.
    async fn events_of(&self, keys: &[String], rejected: &str) -> Result<String> {
        let sql = AssertSqlSafe(format!(
            "SELECT e.seq FROM events e WHERE e.detail IS NOT NULL AND ( \
               e.message_id IN (SELECT m.id FROM messages m WHERE m.seq IN ({} UNION ALL SELECT value FROM json_each(?2))) \
               OR EXISTS (SELECT 1 FROM json_each(?1) k WHERE e.detail = 'person ' || k.value \
                            OR (e.kind GLOB 'stop.*' AND e.detail ->> '$.scope' = 'person' AND e.detail ->> '$.key' = k.value)))",
            of_person("?1")
        ));
        let query = sqlx::query_scalar(sql).bind(json!(keys).to_string()).bind(rejected);
        let found: Vec<i64> = query.fetch_all(&self.inner.readers).await?;
        Ok(json!(found).to_string())
    }
}

async fn erase(
    connection: &mut SqliteConnection,
    keys: &[String],
    (rejected, events): (&str, &str),
    note: Option<String>,
    now: Timestamp,
) -> Result<Erased> {
    const EVENT: &str =
        "INSERT INTO events (at, kind, reason, detail) VALUES (?1, 'person.erased', 'suppressed', ?2)";
    let (keys_json, at) = (json!(keys).to_string(), time_text(now));
    let salt = suppress(connection, keys, &keys_json, &at).await?;
    let mut erased = Erased { cancelled: cancel(connection, &keys_json, &at).await?, ..Erased::default() };
    // Built from constants; the keys are bound.
    let sql = AssertSqlSafe(format!(
        "SELECT seq, id, state FROM messages WHERE seq IN ({} UNION ALL \
           SELECT r.seq FROM json_each(?2) j CROSS JOIN messages r ON r.seq = j.value WHERE r.state = 'rejected')",
        of_person("?1")
    ));
    let mut settled = Vec::new();
    for row in sqlx::query(sql).bind(&keys_json).bind(rejected).fetch_all(&mut *connection).await? {
        match row.try_get::<&str, _>("state")? {
            "sending" | "uncertain" | "review" => erased.unsettled.push(rows::message_id(&row, "id")?),
            _ => settled.push(row.try_get::<i64, _>("seq")?),
        }
    }
    for seq in &settled {
        erased.files += drop_files(connection, *seq).await?;
    }
    let messages = json!(settled).to_string();
    for sql in OF_MESSAGES {
        sqlx::query(sql).bind(&messages).execute(&mut *connection).await?;
    }
    let pseudonym = salt.hash(keys.first().map_or("", String::as_str));
    let query = sqlx::query(WIPE).bind(&messages).bind(pseudonym).bind(&at);
    erased.messages = query.execute(&mut *connection).await?.rows_affected();
    const EVENTS: &str = "UPDATE events SET detail = NULL WHERE seq IN (SELECT value FROM json_each(?1))";
    sqlx::query(EVENTS).bind(events).execute(&mut *connection).await?;
    forget(connection, &keys_json, &mut erased).await?;
    let mut detail = format!(
        "{} messages, {} files, {} records of replies",
        erased.messages, erased.files, erased.inbound
    );
    if let Some(note) = note {
        detail = format!("{detail}: {note}");
    }
    sqlx::query(EVENT).bind(at).bind(detail).execute(connection).await?;
    Ok(erased)
}

/// Keeps the hashes of the person's ids, names and chats.
async fn suppress(
    connection: &mut SqliteConnection,
    keys: &[String],
    keys_json: &str,
    at: &str,
) -> Result<Salt> {
    const KEEP: &str =
        "INSERT INTO erased (hash, at) SELECT value, ?2 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING";
    let chats = AssertSqlSafe(
        "SELECT account_id, chat_id FROM conversations WHERE user_id IN (SELECT value FROM json_each(?1)) \
         UNION SELECT m.account_id, m.chat_id FROM messages m INDEXED BY messages_by_thread \
          WHERE m.thread IN (SELECT 'user:' || value FROM json_each(?1)) AND m.chat_id IS NOT NULL AND m.chat_id <> 'erased'",
    );
    let salt = Salt::made(connection).await?;
    let mut hashes: Vec<String> = keys.iter().map(|key| salt.hash(key)).collect();
    for row in sqlx::query(chats).bind(keys_json).fetch_all(&mut *connection).await? {
        hashes.push(salt.hash(&chat_key(row.try_get("account_id")?, row.try_get("chat_id")?)));
    }
    sqlx::query(KEEP).bind(json!(hashes).to_string()).bind(at).execute(connection).await?;
    Ok(salt)
}

async fn cancel(connection: &mut SqliteConnection, keys: &str, at: &str) -> Result<u64> {
    // Built from constants; the keys are bound.
    let sql = AssertSqlSafe(format!(
        "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'suppressed', updated_at = ?2 \
         WHERE state = 'queued' AND seq IN ({})",
        of_person("?1")
    ));
    Ok(sqlx::query(sql).bind(keys).bind(at).execute(connection).await?.rows_affected())
}

/// Removes what is known of the person, and what they wrote. Reads of their profile stay as numbers, which a cap counts.
async fn forget(connection: &mut SqliteConnection, keys: &str, erased: &mut Erased) -> Result<()> {
    const CHATS: &str =
        "SELECT account_id, chat_id FROM conversations WHERE user_id IN (SELECT value FROM json_each(?1))";
    const OTHERS: [&str; 3] = [
        "DELETE FROM replies WHERE thread IN (SELECT 'user:' || value FROM json_each(?1))",
        "UPDATE profile_reads SET person = 'erased' WHERE person IN (SELECT value FROM json_each(?1))",
        "DELETE FROM conversations WHERE user_id IN (SELECT value FROM json_each(?1))",
    ];
    let inbound = format!(
        "DELETE FROM inbound_messages WHERE sender_id IN (SELECT value FROM json_each(?1)) OR (account_id, chat_id) IN ({CHATS})"
    );
    let reads = format!("DELETE FROM chat_reads WHERE (account_id, chat_id) IN ({CHATS})");
    let observed = format!("DELETE FROM observed_messages WHERE (account_id, chat_id) IN ({CHATS})");
    let replies = format!(
        "DELETE FROM replies WHERE (account_id, thread) IN (SELECT account_id, 'chat:' || chat_id FROM ({CHATS}))"
    );
    // Without events, which would name the person.
    let unmark = format!(
        "UPDATE stops SET lifted_at = 'erased' WHERE (scope = 'person' AND key IN (SELECT value FROM json_each(?1))) \
           OR (scope = 'chat' AND key IN (SELECT chat_id FROM ({CHATS})))"
    );
    sqlx::query(AssertSqlSafe(unmark)).bind(keys).execute(&mut *connection).await?;
    let stops = "DELETE FROM stops WHERE lifted_at = 'erased' AND ?1 = ?1".to_owned();
    let people = "DELETE FROM people WHERE user_id IN (SELECT value FROM json_each(?1))";
    let mut counts = [0; 3];
    for (count, sql) in counts.iter_mut().zip([inbound, stops, people.to_owned()]) {
        // Built from constants; the keys are bound.
        *count = sqlx::query(AssertSqlSafe(sql)).bind(keys).execute(&mut *connection).await?.rows_affected();
    }
    [erased.inbound, erased.stops, erased.people] = counts;
    for sql in [observed, reads, replies].into_iter().chain(OTHERS.map(str::to_owned)) {
        sqlx::query(AssertSqlSafe(sql)).bind(keys).execute(&mut *connection).await?;
    }
    Ok(())
}
