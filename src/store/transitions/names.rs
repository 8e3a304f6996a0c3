//! Public names: the user id behind one, and what is queued for one. The user id is the same for every account, so what
//! one account has learned serves all of them.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::repeats::{self, Sought};
use crate::domain::ids;
use crate::domain::message::{AccountId, NewMessage, RepeatScope, Target, UserId};
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Finds the user ids of public names (`?1`, a JSON array); of several people who had a name, the one heard of last.
const IDS_OF: &str = "SELECT j.value AS name, (SELECT p.user_id FROM people p INDEXED BY people_name \
       WHERE p.public_identifier = j.value ORDER BY p.at DESC LIMIT 1) AS user_id FROM json_each(?1) AS j";

impl Store {
    /// Returns the user id behind `person`, which may be a public name; unchanged if it is not known.
    pub(crate) async fn user_id_of(&self, person: &str) -> Result<String> {
        let Some(name) = ids::name_of(person) else { return Ok(person.to_owned()) };
        let known = user_id(&self.inner.readers, name).await?;
        Ok(known.unwrap_or_else(|| person.to_owned()))
    }

    /// Addresses messages for public names to the user ids behind them, as far as those are known.
    pub(crate) async fn address(&self, messages: &mut [&mut NewMessage]) -> Result<()> {
        let names: HashSet<&str> = messages.iter().filter_map(|message| name(&message.target)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = json!(names).to_string();
        let rows = sqlx::query(IDS_OF).bind(names).fetch_all(&self.inner.readers).await?;
        let mut known = HashMap::new();
        for row in rows {
            if let Some(user_id) = row.try_get::<Option<String>, _>("user_id")? {
                known.insert(row.try_get::<String, _>("name")?, UserId::new(user_id));
            }
        }
        for message in messages {
            let found = name(&message.target).and_then(|name| known.get(name)).cloned();
            if let (Target::User { user_id, .. }, Some(found)) = (&mut message.target, found) {
                *user_id = found;
            }
        }
        Ok(())
    }
}

/// Returns the public name for which a message is.
fn name(target: &Target) -> Option<&str> {
    match target {
        Target::User { user_id, .. } => ids::name_of(user_id.as_str()),
        Target::Chat(_) | Target::Group { .. } | Target::Forward { .. } => None,
    }
}

/// Returns the user id behind a public name, if it is known.
pub(super) async fn user_id(connection: impl SqliteExecutor<'_>, name: &str) -> Result<Option<String>> {
    let row = sqlx::query(IDS_OF).bind(json!([name]).to_string()).fetch_one(connection).await?;
    Ok(row.try_get("user_id")?)
}

/// Replaces a public name by the user id in what is queued for it, on every account. A message that says what the person
/// was sent before fails, as it would have been refused. Returns the accounts of the messages.
pub(super) async fn replace(
    connection: &mut SqliteConnection,
    name: &UserId,
    user_id: &UserId,
    repeats: RepeatScope,
    now: Timestamp,
) -> Result<HashSet<AccountId>> {
    const FOUND: &str = "SELECT seq, account_id FROM messages INDEXED BY messages_by_thread \
         WHERE thread = 'user:' || ?1 AND state IN ('queued', 'review')";
    const REPLACE: &str = "UPDATE messages SET revision = messages.revision + 1, users_ids = json_array(?2), thread = 'user:' || ?2, error = NULL, \
           step_key = CASE WHEN step_key IS NOT NULL THEN 'user:' || ?2 END, \
           retry_at = CASE WHEN reason = 'resolving' THEN NULL ELSE retry_at END, \
           reason = CASE WHEN reason = 'resolving' THEN 'turn' ELSE reason END, updated_at = ?3 \
         WHERE seq IN (SELECT value FROM json_each(?1)) AND state IN ('queued', 'review')";
    // The person has the step already, under the user id.
    const STEPS: &str = "SELECT m.seq, o.id FROM messages m JOIN messages o INDEXED BY messages_steps ON o.campaign = m.campaign \
           AND o.step_key = 'user:' || ?2 AND o.step = m.step AND o.state <> 'rejected' AND o.seq <> m.seq \
         WHERE m.seq IN (SELECT value FROM json_each(?1)) AND m.step_key IS NOT NULL ORDER BY m.step DESC";
    const CANCEL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'cancelled', reason = 'step_stopped', error = ?2, updated_at = ?3 \
         WHERE seq = ?1 AND state IN ('queued', 'review')";
    const ORDER: &str = "UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq) \
         WHERE account_id IN (SELECT value FROM json_each(?1)) AND thread = 'user:' || ?2 AND state = 'queued' \
           AND blocked_by IS NOT (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)";
    let (mut found, mut accounts) = (Vec::new(), HashSet::new());
    for row in sqlx::query(FOUND).bind(name.as_str()).fetch_all(&mut *connection).await? {
        found.push(row.try_get::<i64, _>("seq")?);
        accounts.insert(rows::account_id(&row)?);
    }
    if found.is_empty() {
        return Ok(accounts);
    }
    let (seqs, at) = (json!(found).to_string(), time_text(now));
    let query = sqlx::query(STEPS).bind(&seqs).bind(user_id.as_str());
    for row in query.fetch_all(&mut *connection).await? {
        let (seq, id): (i64, &str) = (row.try_get("seq")?, row.try_get("id")?);
        let error = format!("`step` is in the queue for this person already, as message {id}");
        let query = sqlx::query(CANCEL).bind(seq).bind(error).bind(&at);
        query.execute(&mut *connection).await?;
    }
    let query = sqlx::query(REPLACE).bind(&seqs).bind(user_id.as_str()).bind(&at);
    query.execute(&mut *connection).await?;
    fail_repeats(connection, &seqs, repeats, &at).await?;
    let list: Vec<&str> = accounts.iter().map(AccountId::as_str).collect();
    let query = sqlx::query(ORDER).bind(json!(list).to_string()).bind(user_id.as_str());
    query.execute(connection).await?;
    Ok(accounts)
}

/// Fails those of `seqs`, a JSON array, that say what another message says to the person, except a later one of them.
async fn fail_repeats(
    connection: &mut SqliteConnection,
    seqs: &str,
    repeats: RepeatScope,
    at: &str,
) -> Result<()> {
    const COMPARED: &str = "SELECT seq, account_id, thread, text, state = 'queued' AND coalesce(allow_repeat, 0) = 0 AS is_compared \
         FROM messages WHERE seq IN (SELECT value FROM json_each(?1)) ORDER BY seq DESC";
    const FAIL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'failed', reason = ?2, error = ?3, updated_at = ?4 \
         WHERE seq = ?1 AND state = 'queued'";
    let mut but = Vec::new();
    for row in sqlx::query(COMPARED).bind(seqs).fetch_all(&mut *connection).await? {
        let seq: i64 = row.try_get("seq")?;
        but.push(seq);
        if !row.try_get::<bool, _>("is_compared")? {
            continue;
        }
        let (account, thread) = (rows::account_id(&row)?, row.try_get("thread")?);
        let sought = Sought::stored(account, repeats, thread, row.try_get("text")?);
        let Some(repeat) = repeats::other(connection, sought, but.clone()).await? else { continue };
        let error = format!("`text` {repeat}; write something else, or set `allow_repeat`");
        let query = sqlx::query(FAIL).bind(seq).bind(Reason::RepeatedText.as_str()).bind(error).bind(at);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}
