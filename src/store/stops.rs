//! Stops: sets and lifts them, and makes them known to the queued messages that they concern (P5).
//!
//! A stop is in force from the commit of its row: every intent checks the view `stopping` in its own transaction.
//! Deferring (or, for a suppression, cancelling) the messages only keeps them out of their lanes, so it is done a page
//! at a time, and what a crash interrupts is done by the account's next step.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::Store;
use super::defer::event;
use super::hashed;
use super::rows::{self, Result, corrupt};
use super::stop_views::{Stop, read_stop};
use super::waits::{wait_goes_on, wait_is_interrupted};
use crate::domain::ids;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::stop::{FOREVER, NewStop, StopKey, StopReason, StopScope, StoppedBy};
use crate::domain::time_text;

/// Messages per transaction, so that other programs can write in between and accounts go on sending.
const PAGE: usize = 1000;

/// Stops set in one transaction.
const AT_ONCE: usize = 200;

/// Result of setting a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Number of the stop.
    pub id: i64,
    /// Whether the same stop was in force already.
    pub already: bool,
    /// Queued messages that wait for its end, or that were cancelled.
    pub messages: u64,
    /// Messages whose call is in flight; they can no longer be stopped.
    pub in_flight: Vec<MessageId>,
    /// The accounts of these messages.
    pub accounts: HashSet<AccountId>,
}

/// Result of lifting stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Stops that were lifted.
    pub stops: u64,
    /// Messages that go on.
    pub messages: u64,
    /// Their accounts.
    pub accounts: HashSet<AccountId>,
}

/// Builds the column that names the stop which holds message `m` longest, at the time of the parameter `now`.
pub(super) fn of(now: &str) -> String {
    format!("(SELECT {LONGEST} FROM stopping x WHERE x.seq = m.seq AND (x.until IS NULL OR x.until > {now}))")
}

/// The stop of several that holds a message longest, as [`stopped_by`] reads it.
pub(super) const LONGEST: &str = "max(CASE WHEN x.reason = 'suppressed' THEN 'z' ELSE coalesce(x.until, 'y') END \
     || ' ' || x.id || ' ' || x.reason || ' ' || coalesce(x.until, ''))";

/// Reads the column `stop` built by [`of`].
pub(super) fn stopped_by(row: &SqliteRow) -> Result<Option<StoppedBy>> {
    let Some(text) = row.try_get::<Option<&str>, _>("stop")? else { return Ok(None) };
    let mut parts = text.splitn(4, ' ').skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let (Ok(id), Some(reason), until) = (part().parse(), StopReason::parse(part()), part()) else {
        return Err(corrupt("stop", text));
    };
    let until = match until {
        "" => None,
        until => Some(crate::domain::parse_time(until).ok_or_else(|| corrupt("until", until))?),
    };
    Ok(Some(StoppedBy { id, reason, until }))
}

impl Store {
    /// Sets stops, or changes the end and the note of those that are in force, and defers or cancels the queued
    /// messages that they concern. Returns one result per stop, in their order.
    ///
    /// # Errors
    /// Returns an error if SQLite fails. Stops that were set until then are in force all the same.
    pub async fn stop(&self, stops: Vec<NewStop>, now: Timestamp) -> Result<Vec<Stopped>> {
        let mut all = Vec::with_capacity(stops.len());
        for part in stops.chunks(AT_ONCE) {
            let part = part.to_vec();
            let set = self
                .inner
                .writer
                .exclusive(now, move |connection| Box::pin(set_all(connection, part, now)))
                .await?;
            for (mut stopped, more) in set {
                if let Some(after) = more {
                    let (messages, accounts) = self.apply_from(stopped.id, after, now).await?;
                    stopped.messages += messages;
                    stopped.accounts.extend(accounts);
                }
                all.push(stopped);
            }
        }
        Ok(all)
    }

    /// Defers or cancels the queued messages that a stop concerns. Returns how many, and their accounts.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn apply_stop(&self, id: i64, now: Timestamp) -> Result<(u64, HashSet<AccountId>)> {
        self.apply_from(id, 0, now).await
    }

    async fn apply_from(&self, id: i64, after: i64, now: Timestamp) -> Result<(u64, HashSet<AccountId>)> {
        let (mut messages, mut accounts, mut from) = (0, HashSet::new(), Some(after));
        while let Some(after) = from {
            let page = self
                .inner
                .writer
                .exclusive(now, move |connection| Box::pin(apply_and_hash(connection, id, after, now)));
            let (changed, last) = page.await?;
            messages += u64::try_from(changed.len()).unwrap_or(u64::MAX);
            accounts.extend(changed);
            from = last;
        }
        Ok((messages, accounts))
    }

    /// Lifts the stops of this person, chat or campaign: those with `reason`, or all but suppressions; without an account
    /// those of each account as well. Messages that nothing else stops go on.
    ///
    /// # Errors
    /// Returns an error if SQLite fails. Messages that were not reached go on after the next start.
    pub async fn lift(&self, key: StopKey, reason: Option<StopReason>, now: Timestamp) -> Result<Lifted> {
        let (key, removed) = self
            .inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let key = by_id(connection, key).await?;
                    let removed = remove(connection, key.clone(), reason, now).await?;
                    Ok((key, removed))
                })
            })
            .await?;
        let mut lifted = Lifted { stops: removed, ..Lifted::default() };
        let mut from = Some(0);
        while let Some(after) = from {
            let key = key.clone();
            let page = self
                .inner
                .writer
                .exclusive(now, move |connection| Box::pin(release(connection, key, after, now)));
            let (changed, last) = page.await?;
            lifted.messages += u64::try_from(changed.len()).unwrap_or(u64::MAX);
            lifted.accounts.extend(changed);
            from = last;
        }
        Ok(lifted)
    }

    /// Releases messages that wait for a stop which no longer exists, because the daemon ended while it was lifted.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn release_lifted(&self, now: Timestamp) -> Result<u64> {
        let sql = format!(
            "UPDATE messages SET revision = messages.revision + 1, {release} \
             WHERE state = 'queued' AND retry_at IS NOT NULL AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
               AND retry_at > ?1 AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq)",
            release = wait_goes_on("?1"),
        );
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    // Built from constants.
                    let query = sqlx::query(AssertSqlSafe(sql)).bind(time_text(now));
                    Ok(query.execute(connection).await?.rows_affected())
                })
            })
            .await
    }
}

/// Sets stops and changes the first page of the messages that each concerns; with each, where the next page begins.
async fn set_all(
    connection: &mut SqliteConnection,
    stops: Vec<NewStop>,
    now: Timestamp,
) -> Result<Vec<(Stopped, Option<i64>)>> {
    let mut all = Vec::with_capacity(stops.len());
    for stop in stops {
        let mut stopped = set(connection, stop, now).await?;
        let (changed, more) = apply_and_hash(connection, stopped.id, 0, now).await?;
        stopped.messages = u64::try_from(changed.len()).unwrap_or(u64::MAX);
        stopped.accounts.extend(changed);
        all.push((stopped, more));
    }
    Ok(all)
}

/// Sets a stop within a transaction. Returns the accounts of the messages of its first page, and how many they are; the
/// accounts' next steps change the rest.
pub(super) async fn set_one(
    connection: &mut SqliteConnection,
    stop: NewStop,
    now: Timestamp,
) -> Result<(HashSet<AccountId>, u64)> {
    let set = set_all(connection, vec![stop], now).await?;
    let (stopped, _) = set.into_iter().next().expect("one result per stop");
    Ok((stopped.accounts, stopped.messages))
}

/// Changes the first page of the messages that a stop concerns. Returns their accounts, whose next steps change the rest.
pub(super) async fn apply_one(
    connection: &mut SqliteConnection,
    id: i64,
    now: Timestamp,
) -> Result<HashSet<AccountId>> {
    Ok(apply_and_hash(connection, id, 0, now).await?.0.into_iter().collect())
}

/// Replaces the public name of a person by the user id, if that is known.
async fn by_id(connection: &mut SqliteConnection, key: StopKey) -> Result<StopKey> {
    const SQL: &str = "SELECT user_id FROM people WHERE public_identifier = ?1 ORDER BY at DESC LIMIT 1";
    let Some(name) = ids::name_of(&key.key).filter(|_| key.scope == StopScope::Person) else {
        return Ok(key);
    };
    let known: Option<String> = sqlx::query_scalar(SQL).bind(name).fetch_optional(connection).await?;
    Ok(StopKey { key: known.unwrap_or(key.key), ..key })
}

async fn set(connection: &mut SqliteConnection, stop: NewStop, now: Timestamp) -> Result<Stopped> {
    const WAS: &str = "SELECT until IS NULL OR until > ?5 AS holds FROM stops WHERE scope = ?1 AND key IN (SELECT value FROM json_each(?2)) AND account_id = ?3 AND reason = ?4 \
         ORDER BY holds DESC LIMIT 1";
    // What another message says does not shorten a stop: webhooks come in any order.
    const SET: &str = "INSERT INTO stops (scope, key, account_id, reason, until, has_length, actor, note, at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (scope, key, account_id, reason) DO UPDATE \
         SET until = iif(?7 = 'reply' AND coalesce(until >= ?5, TRUE), until, ?5), \
           has_length = iif(?7 = 'reply' AND coalesce(until >= ?5, TRUE), has_length, ?6), \
           actor = iif(?10, ?7, actor), note = iif(?10, ?8, coalesce(?8, note)), at = iif(?10, ?9, at) RETURNING id, until";
    let NewStop { key, reason, until, has_length, actor, note } = stop;
    let key = by_id(connection, key).await?;
    let (variants, shown) =
        (hashed::variants(connection, &key).await?, hashed::shown(connection, &key, Some(reason)).await?);
    let StopKey { scope, key, account_id } = key;
    let account = account_id.as_ref().map_or("", AccountId::as_str);
    let query =
        sqlx::query_scalar(WAS).bind(scope.as_str()).bind(variants).bind(account).bind(reason.as_str());
    let was: Option<bool> = query.bind(time_text(now)).fetch_optional(&mut *connection).await?;
    let already = was == Some(true);
    let query = sqlx::query_as(SET).bind(scope.as_str()).bind(&key).bind(account).bind(reason.as_str());
    let query =
        query.bind(until.map(time_text)).bind(has_length).bind(&actor).bind(&note).bind(time_text(now));
    let query = query.bind(was == Some(false));
    let (id, until): (i64, Option<String>) = query.fetch_one(&mut *connection).await?;
    // The trigger `stops_set` writes the event of a new row.
    if was.is_some() {
        let kind = if already { "stop.changed" } else { "stop.set" };
        let detail =
            json!({ "scope": scope.as_str(), "key": shown, "until": until, "by": actor, "note": note });
        let account = account_id.as_ref().map(AccountId::as_str);
        let at = time_text(now);
        event(connection, &at, kind, account, reason.as_str(), &detail.to_string()).await?;
    }
    let in_flight = in_flight(connection, id).await?;
    Ok(Stopped { id, already, messages: 0, in_flight, accounts: HashSet::new() })
}

async fn in_flight(connection: &mut SqliteConnection, stop: i64) -> Result<Vec<MessageId>> {
    const SQL: &str = "SELECT m.id FROM messages m INDEXED BY messages_in_flight \
         WHERE m.state = 'sending' AND EXISTS (SELECT 1 FROM stopping x WHERE x.seq = m.seq AND x.id = ?1)";
    let found = sqlx::query(SQL).bind(stop).fetch_all(connection).await?;
    found.iter().map(|row| rows::message_id(row, "id")).collect()
}

/// Selects the queued messages that a stop of `scope` concerns: `?1` is its key, `?2` its account or '', `?3` the
/// message after which the page begins.
fn concerned(scope: StopScope) -> &'static str {
    match scope {
        StopScope::Person => {
            "SELECT m.seq FROM messages m WHERE m.seq IN ( \
               SELECT p.seq FROM messages p INDEXED BY messages_by_thread WHERE p.thread = 'user:' || ?1 \
               UNION ALL SELECT g.seq FROM messages g INDEXED BY messages_by_thread \
                WHERE g.thread >= 'group:' AND g.thread < 'group;' \
                  AND EXISTS (SELECT 1 FROM json_each(g.users_ids) u WHERE u.value = ?1)) \
             AND m.state = 'queued' AND m.seq > ?3 AND (?2 = '' OR m.account_id = ?2) ORDER BY m.seq LIMIT 1000"
        }
        StopScope::Chat => {
            "SELECT m.seq FROM messages m INDEXED BY messages_by_chat WHERE m.chat_id = ?1 AND m.state = 'queued' \
             AND m.seq > ?3 AND (?2 = '' OR m.account_id = ?2) ORDER BY m.seq LIMIT 1000"
        }
        StopScope::Campaign => {
            "SELECT m.seq FROM messages m INDEXED BY messages_by_campaign WHERE m.campaign = ?1 \
             AND m.state || '' = 'queued' AND m.seq > ?3 AND (?2 = '' OR m.account_id = ?2) ORDER BY m.seq LIMIT 1000"
        }
    }
}

/// Changes a page of the messages that `key` concerns. Returns the accounts of the changed messages, one for each, and
/// where the next page begins.
async fn change(
    connection: &mut SqliteConnection,
    key: &StopKey,
    after: i64,
    change: &str,
    values: &[&str],
) -> Result<(Vec<AccountId>, Option<i64>)> {
    let account = key.account_id.as_ref().map_or("", AccountId::as_str);
    let sql = AssertSqlSafe(concerned(key.scope));
    let page: Vec<i64> =
        sqlx::query_scalar(sql).bind(&key.key).bind(account).bind(after).fetch_all(&mut *connection).await?;
    let Some(last) = page.last().copied() else { return Ok((Vec::new(), None)) };
    let is_full = page.len() >= PAGE;
    let rows = serde_json::to_string(&page).unwrap_or_default();
    // Built from constants; every value is bound.
    let sql = AssertSqlSafe(format!(
        "UPDATE messages SET revision = messages.revision + 1, {change} \
           AND seq IN (SELECT value FROM json_each(?1)) AND state = 'queued' RETURNING account_id"
    ));
    let query = values.iter().fold(sqlx::query_scalar(sql).bind(rows), |query, value| query.bind(*value));
    let changed: Vec<String> = query.fetch_all(connection).await?;
    Ok((changed.into_iter().map(AccountId::new).collect(), is_full.then_some(last)))
}

/// Defers or cancels a page of the messages that a stop concerns. After the last page of a suppression, its key becomes a
/// hash, if so configured.
pub(super) async fn apply_and_hash(
    connection: &mut SqliteConnection,
    id: i64,
    after: i64,
    now: Timestamp,
) -> Result<(Vec<AccountId>, Option<i64>)> {
    let (changed, more) = apply(connection, id, after, now).await?;
    if more.is_none() {
        hashed::settle(connection, id).await?;
    }
    Ok((changed, more))
}

/// Defers or cancels a page of the messages that a stop concerns.
async fn apply(
    connection: &mut SqliteConnection,
    id: i64,
    after: i64,
    now: Timestamp,
) -> Result<(Vec<AccountId>, Option<i64>)> {
    const STOP: &str = "SELECT id, scope, key, account_id, reason, until, has_length, actor, note, at FROM stops WHERE id = ?1";
    const CANCEL: &str = "state = 'cancelled', reason = 'suppressed', updated_at = ?2 WHERE true";
    let found = sqlx::query(STOP).bind(id).fetch_optional(&mut *connection).await?;
    let Some(Stop { stop, .. }) = found.as_ref().map(read_stop).transpose()? else {
        return Ok((Vec::new(), None));
    };
    let at = time_text(now);
    if stop.reason == StopReason::Suppressed {
        return change(connection, &stop.key, after, CANCEL, &[&at]).await;
    }
    if stop.until.is_some_and(|until| until <= now) {
        return Ok((Vec::new(), None));
    }
    let until = time_text(stop.until.unwrap_or(FOREVER));
    let values = [at.as_str(), &until, stop.reason.as_str(), &id.to_string()];
    change(connection, &stop.key, after, &wait_is_interrupted(), &values).await
}

/// Releases a page of the messages that a lifted stop concerned, unless another stop holds them.
async fn release(
    connection: &mut SqliteConnection,
    key: StopKey,
    after: i64,
    now: Timestamp,
) -> Result<(Vec<AccountId>, Option<i64>)> {
    let release = format!(
        "{} WHERE retry_at IS NOT NULL AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
           AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND (x.until IS NULL OR x.until > ?2))",
        wait_goes_on("?2")
    );
    change(connection, &key, after, &release, &[&time_text(now)]).await
}

async fn remove(
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
