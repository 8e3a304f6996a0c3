//! Finds messages that must not be stored or sent, because their person or chat is suppressed (P5): by name, by a hash, or
//! because the person was erased.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::attempts::Intent;
use super::erased::{self, Salt, chat_key};
use super::hashed;
use super::stops::apply_and_hash;
use crate::domain::message::{AccountId, NewMessage, Target, UserId};
use crate::domain::stop::StoppedBy;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, LONGEST_STOP, Result};

/// Stops that are hashed in one transaction.
const AT_ONCE: u32 = 200;

/// Whom a message is for: the people, or the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipients(pub(super) Value);

impl Recipients {
    pub(super) fn of(message: &NewMessage) -> Self {
        let account: &AccountId = &message.account_id;
        let (people, chat_id): (Vec<&str>, _) = match &message.target {
            Target::Chat(chat_id) | Target::Forward { chat_id, .. } => (Vec::new(), Some(chat_id.as_str())),
            Target::User { user_id, .. } => (vec![user_id.as_str()], None),
            Target::Group { users_ids, .. } => (users_ids.iter().map(UserId::as_str).collect(), None),
        };
        Self::new(account.as_str(), &people, chat_id)
    }

    pub(super) fn new(account: &str, people: &[&str], chat_id: Option<&str>) -> Self {
        Self(json!([account, people, chat_id]))
    }

    /// Returns the document of a list that holds only these.
    pub(super) fn alone(&self) -> Value {
        json!([self.0])
    }

    /// Returns the keys under which an erased person is known.
    pub(super) fn keys(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut keys: Vec<String> = self.0[1].as_array().into_iter().flatten().filter_map(text).collect();
        let chat = text(&self.0[0]).zip(text(&self.0[2]));
        keys.extend(chat.map(|(account, chat)| chat_key(&account, &chat)));
        keys
    }
}

/// Whether anything is suppressed by its name.
macro_rules! any_plain {
    () => {
        "EXISTS (SELECT 1 FROM stops INDEXED BY stops_suppressed WHERE reason = 'suppressed')"
    };
}

pub(super) const ANY_PLAIN: &str = any_plain!();

/// Whether anything is suppressed at all, the salt if any person was erased or hashed, and whether a suppression is
/// hashed; nearly always there is none of these.
const ANY: &str = concat!(
    "SELECT ",
    any_plain!(),
    ", (SELECT erase_salt FROM daemon WHERE id = 1), \
       EXISTS (SELECT 1 FROM stops INDEXED BY stops_hashed WHERE substr(key, 1, 7) = 'sha256:')"
);

/// A message into a chat is for the person on its other side as well, if that is known.
pub(in crate::store) const SUPPRESSED: &str = "SELECT j.key FROM jsonb_each(?1) AS j WHERE EXISTS ( \
       SELECT 1 FROM jsonb_each(j.value, '$[1]') AS p CROSS JOIN stops AS s \
          ON s.scope = 'person' AND s.key = p.value AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed') \
     OR EXISTS (SELECT 1 FROM jsonb_each(j.value, '$[1]') AS p CROSS JOIN people AS k ON k.public_identifier = substr(p.value, 4) \
         CROSS JOIN stops AS s ON s.scope = 'person' AND s.key = k.user_id AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed' \
         WHERE substr(p.value, 1, 3) = 'in/') \
     OR EXISTS (SELECT 1 FROM stops AS s \
         WHERE s.scope = 'chat' AND s.key = j.value ->> 2 AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed') \
     OR EXISTS (SELECT 1 FROM conversations AS c CROSS JOIN stops AS s \
          ON s.scope = 'person' AND s.key = c.user_id AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed' \
         WHERE c.account_id = j.value ->> 0 AND c.chat_id = j.value ->> 2)";

/// Returns the places of those of `rows` that are for a suppressed person or chat.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    rows: impl Iterator<Item = Recipients>,
) -> Result<HashSet<usize>> {
    let (any, salt, any_hashed): (bool, Option<String>, bool) =
        sqlx::query_as(ANY).fetch_one(&mut *connection).await?;
    if !any && salt.is_none() {
        return Ok(HashSet::new());
    }
    let rows: Vec<Recipients> = rows.collect();
    let salt = salt.map(Salt);
    let mut found = match &salt {
        Some(salt) => erased::find(connection, salt, rows.iter().map(Recipients::keys)).await?,
        None => HashSet::new(),
    };
    let document = Value::Array(rows.into_iter().map(|recipients| recipients.0).collect());
    if let Some(salt) = salt.filter(|_| any_hashed) {
        found.extend(hashed::find(connection, &salt, &document).await?);
    }
    let query = sqlx::query_scalar(SUPPRESSED).bind(document.to_string());
    let places: Vec<i64> = query.fetch_all(connection).await?;
    found.extend(places.into_iter().filter_map(|place| usize::try_from(place).ok()));
    Ok(found)
}

impl Store {
    /// Cancels the message of an intent if it is for an erased person, or one whose suppression is a hash, whatever was
    /// learned of its chat since it was queued. Returns whether it did.
    pub(super) async fn cancel_suppressed(&self, intent: &Intent) -> Result<bool> {
        const CANCEL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'suppressed', updated_at = ?2 \
             WHERE seq = ?1 AND state = 'queued'";
        if !self.inner.any_erased.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (seq, now) = (intent.seq.0, intent.at);
        let mut reader = self.inner.readers.acquire().await?;
        let Some(salt) = Salt::of(&mut *reader).await? else { return Ok(false) };
        let recipients = recipients_of(&mut reader, seq).await?;
        let is_erased =
            !erased::find(&mut reader, &salt, std::iter::once(recipients.keys())).await?.is_empty();
        if !is_erased && hashed::find(&mut reader, &salt, &recipients.alone()).await?.is_empty() {
            return Ok(false);
        }
        drop(reader);
        self.execute(now, sqlx::query(CANCEL).bind(seq).bind(time_text(now))).await?;
        Ok(true)
    }

    /// Sets whether suppressions are kept as hashes. If so, those in plain text are hashed, which cannot be undone;
    /// those that are hashed stay so. Returns how many were hashed.
    pub(crate) async fn hash_suppressions(&self, hashes: bool, now: Timestamp) -> Result<usize> {
        const SET: &str =
            "UPDATE daemon SET suppressions_hashed = ?1 WHERE id = 1 AND suppressions_hashed <> ?1";
        const PLAIN: &str = "SELECT id FROM stops INDEXED BY stops_plain \
             WHERE reason = 'suppressed' AND scope <> 'campaign' AND substr(key, 1, 7) <> 'sha256:' AND id > ?1 ORDER BY id LIMIT ?2 + 0";
        if hashes {
            // An intent that comes afterwards compares hashes.
            self.inner.any_erased.store(true, Ordering::Relaxed);
        }
        let (mut changed, mut after) = (0, 0);
        loop {
            let page = self.exclusive(now, move |connection| {
                Box::pin(async move {
                    sqlx::query(SET).bind(hashes).execute(&mut *connection).await?;
                    if !hashes {
                        return Ok(Vec::new());
                    }
                    let query = sqlx::query_scalar(PLAIN).bind(after).bind(AT_ONCE);
                    let ids: Vec<i64> = query.fetch_all(&mut *connection).await?;
                    for id in &ids {
                        apply_and_hash(connection, *id, 0, now).await?;
                    }
                    Ok(ids)
                })
            });
            let ids = page.await?;
            changed += ids.len();
            let Some(last) = ids.last() else { return Ok(changed) };
            after = *last;
        }
    }
}

impl Store {
    /// Returns for each of `messages` the stop that would hold it longest if it were queued.
    pub(crate) async fn stops_for(
        &self,
        messages: &[NewMessage],
        now: Timestamp,
    ) -> Result<Vec<Option<StoppedBy>>> {
        const WHICH: &str = "FROM json_each(?1) AS j CROSS JOIN stops AS x ON x.account_id IN ('', j.value ->> '$[0][0]') AND ( \
               (x.scope = 'campaign' AND x.key = j.value ->> 1) OR (x.scope = 'chat' AND x.key = j.value ->> '$[0][2]') \
               OR (x.scope = 'person' AND x.key IN (SELECT p.value FROM json_each(j.value, '$[0][1]') AS p \
                 UNION ALL SELECT c.user_id FROM conversations AS c \
                   WHERE c.account_id = j.value ->> '$[0][0]' AND c.chat_id = j.value ->> '$[0][2]'))) \
             WHERE x.until IS NULL OR x.until > ?2 GROUP BY j.key";
        let document: Vec<_> =
            messages.iter().map(|message| json!([Recipients::of(message).0, message.campaign])).collect();
        // Built from constants; every value is bound.
        let sql = AssertSqlSafe(format!("SELECT j.key AS place, {LONGEST_STOP} AS stop {WHICH}"));
        let query = sqlx::query(sql).bind(json!(document).to_string()).bind(time_text(now));
        let mut found = vec![None; messages.len()];
        for row in query.fetch_all(&self.inner.readers).await? {
            let place: i64 = row.try_get("place")?;
            let place = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
            if let Some(stop) = place {
                *stop = rows::stopped_by(&row)?;
            }
        }
        Ok(found)
    }
}

/// Returns whom a stored message is for.
async fn recipients_of(connection: &mut SqliteConnection, seq: i64) -> Result<Recipients> {
    const SQL: &str =
        "SELECT account_id, coalesce(thread, '') AS thread, chat_id, users_ids FROM messages WHERE seq = ?1";
    let row = sqlx::query(SQL).bind(seq).fetch_one(connection).await?;
    let users: Option<String> = row.try_get("users_ids")?;
    let mut people = users.as_deref().and_then(rows::parse_users_ids).unwrap_or_default();
    people.extend(row.try_get::<&str, _>("thread")?.strip_prefix("user:").map(str::to_owned));
    let people: Vec<&str> = people.iter().map(String::as_str).collect();
    Ok(Recipients::new(row.try_get("account_id")?, &people, row.try_get("chat_id")?))
}
