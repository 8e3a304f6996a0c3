//! The rows of `stops`, pauses among them: reads, writes and removes one.
//!
//! `stops.rs` calls this, and makes the queued messages wait or go on; `pause.rs` calls it for pauses.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{hashed, names};
use crate::domain::ids;
use crate::domain::message::AccountId;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// A stored stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Its number, in the order in which stops were set.
    pub id: i64,
    /// The stop.
    pub stop: NewStop,
    /// When it was set.
    pub at: Timestamp,
}

pub(in crate::store) fn read_stop(row: &SqliteRow) -> Result<Stop> {
    let (scope, reason): (&str, &str) = (row.try_get("scope")?, row.try_get("reason")?);
    let account: String = row.try_get("account_id")?;
    let key = StopKey {
        scope: StopScope::parse(scope).ok_or_else(|| corrupt("scope", scope))?,
        key: row.try_get("key")?,
        account_id: (!account.is_empty()).then(|| AccountId::new(account)),
    };
    let stop = NewStop {
        key,
        reason: StopReason::parse(reason).ok_or_else(|| corrupt("reason", reason))?,
        until: rows::time(row, "until")?,
        has_length: row.try_get("has_length")?,
        actor: row.try_get("actor")?,
        note: row.try_get("note")?,
    };
    Ok(Stop { id: row.try_get("id")?, stop, at: rows::required_time(row, "at")? })
}

/// A stop that was written.
pub(super) struct Put {
    /// Its number.
    pub(super) id: i64,
    /// Its end.
    pub(super) until: Option<String>,
    /// Whether the same stop was in force; `None`: there was none.
    pub(super) was: Option<bool>,
}

/// Writes the row of a stop. One in force keeps its start, and its note unless there is a new one; an empty note removes
/// it.
pub(super) async fn put(connection: &mut SqliteConnection, stop: &NewStop, now: Timestamp) -> Result<Put> {
    const WAS: &str = "SELECT until IS NULL OR until > ?5 AS holds FROM stops WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2)) AND account_id = ?3 AND reason = ?4 \
         ORDER BY holds DESC LIMIT 1";
    // What another message says does not shorten a stop: webhooks come in any order.
    const SET: &str = "INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, nullif(?8, ''), ?9) ON CONFLICT (scope, key, account_id, reason) DO UPDATE \
         SET until = iif(?7 = 'reply' AND coalesce(until >= ?5, TRUE), until, ?5), \
           has_length = iif(?7 = 'reply' AND coalesce(until >= ?5, TRUE), has_length, ?6), \
           actor = iif(?10, ?7, actor), note = nullif(iif(?10, ?8, coalesce(?8, note)), ''), at = iif(?10, ?9, at) RETURNING id, until";
    let NewStop { key, reason, until, has_length, actor, note } = stop;
    let variants = hashed::variants(connection, key).await?;
    let StopKey { scope, key, account_id } = key;
    let account = account_id.as_ref().map_or("", AccountId::as_str);
    let at = time_text(now);
    let query = sqlx::query_scalar(WAS).bind(scope.as_str()).bind(variants).bind(account);
    let query = query.bind(reason.as_str()).bind(&at);
    let was: Option<bool> = query.fetch_optional(&mut *connection).await?;
    let query = sqlx::query_as(SET).bind(scope.as_str()).bind(key).bind(account).bind(reason.as_str());
    let query = query.bind(until.map(time_text)).bind(has_length).bind(actor).bind(note).bind(at);
    let (id, until) = query.bind(was == Some(false)).fetch_one(connection).await?;
    Ok(Put { id, until, was })
}

/// Returns the keys under which a stop is stored: of a public name, the user id behind it, if that is known. A word that
/// may be a user id or a public name is both, unless it is known as a user id.
pub(in crate::store) async fn by_id(connection: &mut SqliteConnection, key: StopKey) -> Result<Vec<StopKey>> {
    const IS_KNOWN: &str =
        "SELECT EXISTS (SELECT 1 FROM people p INDEXED BY people_user WHERE p.user_id = ?1)";
    if key.scope != StopScope::Person {
        return Ok(vec![key]);
    }
    let stored = |key: String, like: &StopKey| StopKey { key, ..like.clone() };
    if let Some(name) = ids::name_of(&key.key) {
        let known = names::user_id(connection, name).await?;
        return Ok(vec![stored(known.unwrap_or_else(|| key.key.clone()), &key)]);
    }
    let Some(name) = ids::possible_name(&key.key) else { return Ok(vec![key]) };
    if sqlx::query_scalar(IS_KNOWN).bind(&key.key).fetch_one(&mut *connection).await? {
        return Ok(vec![key]);
    }
    let known = names::user_id(connection, &name).await?;
    let other = stored(known.unwrap_or_else(|| ids::named(&name)), &key);
    Ok(vec![other, key])
}

/// A stop that changed, of which the messages that it concerns do not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedStop {
    /// It ended.
    Ended(StopKey),
    /// Another program set this suppression. The messages that wait for something else are no candidates of a step, which
    /// would notice it.
    Suppresses(i64),
}

/// Returns the suppressions of other programs that were set after the event with the number `after`.
pub(in crate::store) async fn suppressed_since(
    connection: &mut SqliteConnection,
    after: i64,
) -> Result<Vec<i64>> {
    // The event of one whose key becomes a hash does not name it.
    const SET: &str = "SELECT DISTINCT s.id FROM events e CROSS JOIN stops s \
           ON s.scope = e.detail ->> 'scope' AND s.key = e.detail ->> 'key' AND s.reason = 'suppressed' \
         WHERE e.seq > ?1 AND e.kind = 'stop.set' AND e.reason = 'suppressed' AND e.detail ->> 'by' NOT IN ('operator', 'reply') \
         UNION SELECT s.id FROM stops s INDEXED BY stops_plain \
         WHERE s.reason = 'suppressed' AND s.scope <> 'campaign' AND substr(s.key, 1, 7) <> 'sha256:' \
           AND (SELECT d.suppressions_hashed = 1 FROM daemon d WHERE d.id = 1)";
    Ok(sqlx::query_scalar(SET).bind(after).fetch_all(connection).await?)
}

/// Returns the suppressions of messages that wait for something else: set while no daemon ran.
pub(in crate::store) async fn suppress_what_waits(connection: &mut SqliteConnection) -> Result<Vec<i64>> {
    const WAIT: &str = "SELECT DISTINCT s.id FROM messages m CROSS JOIN stopping x ON x.seq = m.seq \
           CROSS JOIN stops s ON s.id = x.id AND s.reason = 'suppressed' \
         WHERE m.state = 'queued' AND m.retry_at IS NOT NULL";
    Ok(sqlx::query_scalar(WAIT).fetch_all(connection).await?)
}

/// Returns the keys of the pauses and stops that ended after the event with the number `after`, and the number of the
/// newest event.
pub(in crate::store) async fn ended_since(
    connection: &mut SqliteConnection,
    after: i64,
) -> Result<(Vec<StopKey>, i64)> {
    const NEWEST: &str = "SELECT coalesce(max(seq), 0) FROM events";
    const ENDED: &str = "SELECT CASE kind WHEN 'daemon.resumed' THEN 'all' WHEN 'account.resumed' THEN 'account' ELSE detail ->> 'scope' END AS scope, \
           CASE kind WHEN 'stop.lifted' THEN detail ->> 'key' WHEN 'account.resumed' THEN account_id ELSE '' END AS key, \
           CASE kind WHEN 'stop.lifted' THEN account_id END AS account_id \
         FROM events WHERE seq > ?1 AND seq <= ?2 AND kind IN ('daemon.resumed', 'account.resumed', 'stop.lifted') ORDER BY seq";
    let newest: i64 = sqlx::query_scalar(NEWEST).fetch_one(&mut *connection).await?;
    if newest <= after {
        return Ok((Vec::new(), newest));
    }
    let found = sqlx::query(ENDED).bind(after).bind(newest).fetch_all(connection).await?;
    let read = |row: &SqliteRow| -> Result<Option<StopKey>> {
        let scope: Option<&str> = row.try_get("scope")?;
        // The key of an event may have been erased.
        let Some((scope, key)) = scope.and_then(StopScope::parse).zip(row.try_get("key")?) else {
            return Ok(None);
        };
        let account_id = row.try_get::<Option<String>, _>("account_id")?.map(AccountId::new);
        Ok(Some(StopKey { scope, key, account_id }))
    };
    let ended = found.iter().filter_map(|row| read(row).transpose()).collect::<Result<Vec<_>>>()?;
    Ok((ended, newest))
}

/// Removes the row of a pause. Its event is the caller's.
pub(super) async fn end_pause(
    connection: &mut SqliteConnection,
    key: &StopKey,
    now: Timestamp,
) -> Result<()> {
    const DATE: &str = "UPDATE stops SET lifted_at = ?3 WHERE scope = ?1 AND key = ?2 AND account_id = ''";
    const DELETE: &str =
        "DELETE FROM stops WHERE scope = ?1 AND key = ?2 AND account_id = '' AND lifted_at = ?3";
    for sql in [DATE, DELETE] {
        let query = sqlx::query(sql).bind(key.scope.as_str()).bind(&key.key).bind(time_text(now));
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Removes the stops of a key: those with `reason`, or all but suppressions. Returns how many were in force.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    key: StopKey,
    reason: Option<StopReason>,
    now: Timestamp,
) -> Result<u64> {
    // The trigger `stops_lifted` writes the events.
    const DATE: &str = "UPDATE stops SET lifted_at = ?5 WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2)) \
         AND (until IS NULL OR until > ?5) \
         AND (account_id = ?3 OR (?3 = '' AND reason <> 'suppressed')) AND (reason = ?4 OR (?4 IS NULL AND reason <> 'suppressed'))";
    const DELETE: &str = "DELETE FROM stops WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2)) \
         AND lifted_at IS NOT NULL";
    let account = key.account_id.as_ref().map_or("", AccountId::as_str);
    let variants = hashed::variants(connection, &key).await?;
    let query = sqlx::query(DATE).bind(key.scope.as_str()).bind(&variants).bind(account);
    let query = query.bind(reason.map(StopReason::as_str)).bind(time_text(now));
    query.execute(&mut *connection).await?;
    let query = sqlx::query(DELETE).bind(key.scope.as_str()).bind(variants);
    Ok(query.execute(connection).await?.rows_affected())
}
