//! Suppressions as salted hashes (`suppression.hashed`): the list then names no person and no chat.
//!
//! A suppression is written by its name, cancels what is queued for it, and then its key becomes a hash, in the same
//! transaction unless that is more than a page of messages. Every door and each intent compares the hashes of its
//! recipients ([`find`]), under each name by which they are known.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::erased::Salt;
use crate::domain::stop::{StopKey, StopReason, StopScope};
use crate::store::sqlite::rows::Result;

/// What a hashed key begins with.
const PREFIX: &str = "sha256:";

/// Returns the stored key of a suppression: a hash, unless it is one already.
fn hashed(salt: &Salt, scope: &str, key: &str) -> String {
    if is_hashed(key) { key.to_owned() } else { format!("{PREFIX}{}", salt.hash(&format!("{scope} {key}"))) }
}

fn is_hashed(key: &str) -> bool {
    let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    key.strip_prefix(PREFIX).is_some_and(is_hex)
}

/// Returns the salt if suppressions are to be hashed; makes one if there is none.
async fn salt_to_hash(connection: &mut SqliteConnection) -> Result<Option<Salt>> {
    const HASHES: &str = "SELECT suppressions_hashed = 1 FROM daemon WHERE id = 1";
    let hashes: bool = sqlx::query_scalar(HASHES).fetch_one(&mut *connection).await?;
    if hashes { Salt::made(connection).await.map(Some) } else { Ok(None) }
}

/// Returns the key under which the events name a stop.
pub(super) async fn shown(
    connection: &mut SqliteConnection,
    key: &StopKey,
    reason: Option<StopReason>,
) -> Result<String> {
    let is_listed = reason == Some(StopReason::Suppressed) && key.scope != StopScope::Campaign;
    let salt = if is_listed { salt_to_hash(connection).await? } else { None };
    Ok(salt.map_or_else(|| key.key.clone(), |salt| hashed(&salt, key.scope.as_str(), &key.key)))
}

/// Replaces the key of a suppression by its hash, if so configured.
pub(super) async fn settle(connection: &mut SqliteConnection, id: i64) -> Result<()> {
    const STOP: &str =
        "SELECT scope, key FROM stops WHERE id = ?1 AND reason = 'suppressed' AND scope <> 'campaign'";
    const OLD: &str = "SELECT o.note, o.at FROM stops o CROSS JOIN stops n ON n.id = ?1 \
         WHERE o.scope = n.scope AND o.account_id = n.account_id AND o.key = ?2 AND o.reason = 'suppressed'";
    // 'erased': replaced, not lifted; no event.
    const REPLACED: &str = "UPDATE stops SET lifted_at = 'erased' WHERE id <> ?1 AND reason = 'suppressed' AND key = ?2 \
         AND (scope, account_id) = (SELECT o.scope, o.account_id FROM stops o WHERE o.id = ?1)";
    const SAME: &str = "DELETE FROM stops WHERE id <> ?1 AND reason = 'suppressed' AND key = ?2 \
         AND (scope, account_id) = (SELECT o.scope, o.account_id FROM stops o WHERE o.id = ?1)";
    const HASH: &str =
        "UPDATE stops SET key = ?2, note = coalesce(note, ?3), at = coalesce(?4, at) WHERE id = ?1";
    let Some(row) = sqlx::query(STOP).bind(id).fetch_optional(&mut *connection).await? else { return Ok(()) };
    let (scope, key): (String, String) = (row.try_get("scope")?, row.try_get("key")?);
    if is_hashed(&key) {
        return Ok(());
    }
    let Some(salt) = salt_to_hash(connection).await? else { return Ok(()) };
    let hash = hashed(&salt, &scope, &key);
    // The same entry may be on the list already; its note and its time stay.
    let query = sqlx::query_as(OLD).bind(id).bind(&hash);
    let old: Option<(Option<String>, String)> = query.fetch_optional(&mut *connection).await?;
    let (note, at) = old.map_or((None, None), |(note, at)| (note, Some(at)));
    sqlx::query(REPLACED).bind(id).bind(&hash).execute(&mut *connection).await?;
    sqlx::query(SAME).bind(id).bind(&hash).execute(&mut *connection).await?;
    sqlx::query(HASH).bind(id).bind(hash).bind(note).bind(at).execute(connection).await?;
    Ok(())
}

/// Returns the keys under which a stop may be stored, as a JSON array: its own, and the hashes of each name of the person.
pub(in crate::store) async fn variants(connection: &mut SqliteConnection, key: &StopKey) -> Result<String> {
    const NAMES: &str = "SELECT 'in/' || k.public_identifier FROM people k WHERE k.user_id = ?1 AND k.public_identifier IS NOT NULL \
         UNION SELECT k.user_id FROM people k WHERE substr(?1, 1, 3) = 'in/' AND k.public_identifier = substr(?1, 4)";
    let mut keys = vec![key.key.clone()];
    if let Some(salt) = Salt::of(&mut *connection).await? {
        let mut names: Vec<String> = vec![key.key.clone()];
        if key.scope == StopScope::Person {
            let known: Vec<String> =
                sqlx::query_scalar(NAMES).bind(&key.key).fetch_all(&mut *connection).await?;
            names.extend(known);
        }
        keys.extend(names.iter().map(|name| hashed(&salt, key.scope.as_str(), name)));
    }
    Ok(json!(keys).to_string())
}

/// Returns the hashed suppressions of these keys, each `(message, account, scope, key)`, as `[message, stop, key]`.
pub(in crate::store) async fn stops_of(
    connection: &mut SqliteConnection,
    salt: &Salt,
    keys: Vec<(i64, String, &'static str, String)>,
) -> Result<Vec<Value>> {
    const FIND: &str = "SELECT json_array(j.value ->> 0, s.id, j.value ->> 4) FROM json_each(?1) AS j CROSS JOIN stops AS s \
          ON s.scope = j.value ->> 2 AND s.key = j.value ->> 3 AND s.account_id IN ('', j.value ->> 1) AND s.reason = 'suppressed'";
    let row = |(message, account, scope, key): (i64, String, &str, String)| {
        json!([message, account, scope, hashed(salt, scope, &key), key])
    };
    let keys: Vec<Value> = keys.into_iter().map(row).collect();
    let query = sqlx::query_scalar(FIND).bind(Value::Array(keys).to_string());
    let found: Vec<String> = query.fetch_all(connection).await?;
    Ok(found.iter().filter_map(|row| serde_json::from_str(row).ok()).collect())
}

/// Returns the places of those recipients that a hashed suppression concerns. Each is a JSON array of the account, the
/// people and the chat.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    salt: &Salt,
    recipients: &Value,
) -> Result<HashSet<usize>> {
    const NAMES: &str = "WITH person (place, account_id, key) AS ( \
           SELECT j.key, j.value ->> 0, p.value FROM json_each(?1) AS j CROSS JOIN json_each(j.value, '$[1]') AS p \
           UNION SELECT j.key, j.value ->> 0, c.user_id FROM json_each(?1) AS j \
             CROSS JOIN conversations AS c ON c.account_id = j.value ->> 0 AND c.chat_id = j.value ->> 2) \
         SELECT place, account_id, 'person' AS scope, key FROM person \
         UNION SELECT p.place, p.account_id, 'person', 'in/' || k.public_identifier FROM person AS p \
           CROSS JOIN people AS k ON k.user_id = p.key WHERE k.public_identifier IS NOT NULL \
         UNION SELECT p.place, p.account_id, 'person', k.user_id FROM person AS p \
           CROSS JOIN people AS k ON k.public_identifier = substr(p.key, 4) WHERE substr(p.key, 1, 3) = 'in/' \
         UNION SELECT j.key, j.value ->> 0, 'chat', j.value ->> 2 FROM json_each(?1) AS j WHERE j.value ->> 2 IS NOT NULL";
    const FIND: &str = "SELECT DISTINCT j.value ->> 0 AS place FROM json_each(?1) AS j CROSS JOIN stops AS s \
          ON s.scope = j.value ->> 2 AND s.key = j.value ->> 3 AND s.account_id IN ('', j.value ->> 1) AND s.reason = 'suppressed'";
    let mut keys = Vec::new();
    for row in sqlx::query(NAMES).bind(recipients.to_string()).fetch_all(&mut *connection).await? {
        let (place, account): (i64, String) = (row.try_get("place")?, row.try_get("account_id")?);
        let (scope, key): (String, String) = (row.try_get("scope")?, row.try_get("key")?);
        keys.push(json!([place, account, scope, hashed(salt, &scope, &key)]));
    }
    let query = sqlx::query_scalar(FIND).bind(Value::Array(keys).to_string());
    let places: Vec<i64> = query.fetch_all(connection).await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
}
