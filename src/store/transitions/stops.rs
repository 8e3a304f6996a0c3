//! Stops: sets and lifts them, and makes them known to the queued messages that they concern (P5). Pauses are rows of
//! the same table (`pause.rs`).
//!
//! A stop is in force from the commit of its row: every intent checks the view `stopping` in its own transaction.
//! Deferring (or, for a suppression, cancelling) the messages only keeps them out of their lanes, so it is done a page
//! at a time, and what a crash interrupts is done by the account's next step.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::defer::event;
use super::hashed;
use super::stop_rows::{Put, Stop, by_id, put, read_stop, remove};
use super::waits::{wait_goes_on, wait_is_interrupted, waits_for_other_stops};
use crate::domain::ids;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::stop::{FOREVER, NewStop, StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

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
    /// The public name, if the user id behind it is not known: messages to that id go on until it is.
    pub unresolved: Option<String>,
}

/// Result of lifting stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lifted {
    /// Stops that were lifted.
    pub stops: u64,
    /// Messages that go on.
    pub messages: u64,
    /// Their accounts, and those of messages that wait for another stop now.
    pub accounts: HashSet<AccountId>,
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
            let set = self.exclusive(now, move |connection| Box::pin(set_all(connection, part, now))).await?;
            for (mut stopped, more) in set {
                for (id, after) in more {
                    let (messages, accounts) = self.apply_from(id, after, now).await?;
                    stopped.messages += messages;
                    stopped.accounts.extend(accounts);
                }
                all.push(stopped);
            }
        }
        Ok(all)
    }

    /// Defers or cancels the queued messages that a stop concerns. Returns how many, and their accounts.
    pub(crate) async fn apply_stop(&self, id: i64, now: Timestamp) -> Result<(u64, HashSet<AccountId>)> {
        self.apply_from(id, 0, now).await
    }

    async fn apply_from(&self, id: i64, after: i64, now: Timestamp) -> Result<(u64, HashSet<AccountId>)> {
        let (mut messages, mut accounts, mut from) = (0, HashSet::new(), Some(after));
        while let Some(after) = from {
            let page =
                self.exclusive(now, move |connection| Box::pin(apply_and_hash(connection, id, after, now)));
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
        let (keys, removed) = self
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let (keys, mut removed) = (by_id(connection, key).await?, 0);
                    for key in &keys {
                        removed += remove(connection, key.clone(), reason, now).await?;
                    }
                    Ok((keys, removed))
                })
            })
            .await?;
        let mut lifted = Lifted { stops: removed, ..Lifted::default() };
        for key in &keys {
            let released = self.release_from(key, now).await?;
            lifted.messages += released.messages;
            lifted.accounts.extend(released.accounts);
        }
        Ok(lifted)
    }

    /// Returns the keys under which the stops of `key` are stored.
    pub(crate) async fn stop_keys(&self, key: StopKey) -> Result<Vec<StopKey>> {
        let mut reader = self.inner.readers.acquire().await?;
        by_id(&mut reader, key).await
    }

    /// Releases the messages that wait for a stop of this key, unless another stop holds them.
    ///
    /// # Errors
    /// Returns an error if SQLite fails. Messages that were not reached go on after the next start.
    pub(crate) async fn release_from(&self, key: &StopKey, now: Timestamp) -> Result<Lifted> {
        let (mut lifted, mut from) = (Lifted::default(), Some(0));
        while let Some(after) = from {
            let key = key.clone();
            let page = self.exclusive(now, move |connection| Box::pin(release(connection, key, after, now)));
            let (released, still_stopped, last) = page.await?;
            lifted.messages += u64::try_from(released.len()).unwrap_or(u64::MAX);
            lifted.accounts.extend(released.into_iter().chain(still_stopped));
            from = last;
        }
        Ok(lifted)
    }

    /// Releases messages that wait for a stop which no longer exists, because the daemon ended while it was lifted; those
    /// that another stop holds wait for the end of that one.
    pub(crate) async fn release_lifted(&self, now: Timestamp) -> Result<u64> {
        let sql = format!(
            "UPDATE messages SET revision = messages.revision + 1, {release} \
             WHERE state = 'queued' AND retry_at IS NOT NULL AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
               AND retry_at > ?1 AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND (x.until IS NULL OR x.until > ?1))",
            release = wait_goes_on("?1"),
        );
        let follow = format!(
            "UPDATE messages SET revision = messages.revision + 1, {} AND state = 'queued'",
            waits_for_other_stops("?1", "?2")
        );
        // Built from constants.
        let query = sqlx::query(AssertSqlSafe(follow)).bind(time_text(now)).bind(time_text(FOREVER));
        self.execute(now, query).await?;
        self.execute(now, sqlx::query(AssertSqlSafe(sql)).bind(time_text(now))).await
    }
}

/// Sets stops and changes the first page of the messages that each concerns; with each, where the next page begins.
/// The stops of which more messages are left, and the last one that was changed.
type More = Vec<(i64, i64)>;

async fn set_all(
    connection: &mut SqliteConnection,
    stops: Vec<NewStop>,
    now: Timestamp,
) -> Result<Vec<(Stopped, More)>> {
    let mut all = Vec::with_capacity(stops.len());
    for stop in stops {
        let mut set_as: Option<(Stopped, More)> = None;
        for key in by_id(connection, stop.key.clone()).await? {
            let one = set_with_messages(connection, NewStop { key, ..stop.clone() }, now).await?;
            match &mut set_as {
                Some(all) => add(all, one),
                None => set_as = Some(one),
            }
        }
        all.extend(set_as);
    }
    Ok(all)
}

async fn set_with_messages(
    connection: &mut SqliteConnection,
    stop: NewStop,
    now: Timestamp,
) -> Result<(Stopped, More)> {
    let unresolved = Some(&stop.key).filter(|key| key.scope == StopScope::Person);
    let unresolved = unresolved.and_then(|key| ids::name_of(&key.key)).map(str::to_owned);
    let mut stopped = set(connection, stop, now).await?;
    let (changed, more) = apply_and_hash(connection, stopped.id, 0, now).await?;
    stopped.messages = u64::try_from(changed.len()).unwrap_or(u64::MAX);
    stopped.accounts.extend(changed);
    let more = more.map(|after| (stopped.id, after)).into_iter().collect();
    Ok((Stopped { unresolved, ..stopped }, more))
}

/// Adds the result of a stop that is stored under a second key.
fn add((stopped, more): &mut (Stopped, More), (other, others_more): (Stopped, More)) {
    stopped.already &= other.already;
    stopped.messages += other.messages;
    stopped.in_flight.extend(other.in_flight);
    stopped.accounts.extend(other.accounts);
    more.extend(others_more);
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

async fn set(connection: &mut SqliteConnection, stop: NewStop, now: Timestamp) -> Result<Stopped> {
    let Put { id, until, was } = put(connection, &stop, now).await?;
    let already = was == Some(true);
    // The trigger `stops_set` writes the event of a new row.
    if was.is_some() {
        let NewStop { key, reason, actor, note, .. } = stop;
        let shown = hashed::shown(connection, &key, Some(reason)).await?;
        let kind = if already { "stop.changed" } else { "stop.set" };
        let detail =
            json!({ "scope": key.scope.as_str(), "key": shown, "until": until, "by": actor, "note": note });
        let account = key.account_id.as_ref().map(AccountId::as_str);
        let at = time_text(now);
        event(connection, &at, kind, account, reason.as_str(), &detail.to_string()).await?;
    }
    let in_flight = in_flight(connection, id).await?;
    Ok(Stopped { id, already, messages: 0, in_flight, accounts: HashSet::new(), unresolved: None })
}

async fn in_flight(connection: &mut SqliteConnection, stop: i64) -> Result<Vec<MessageId>> {
    const SQL: &str = "SELECT m.id FROM messages m INDEXED BY messages_in_flight \
         WHERE m.state = 'sending' AND EXISTS (SELECT 1 FROM stopping x WHERE x.seq = m.seq AND x.id = ?1)";
    let found = sqlx::query(SQL).bind(stop).fetch_all(connection).await?;
    found.iter().map(|row| rows::message_id(row, "id")).collect()
}

/// Selects the queued messages that a stop of `scope` concerns: `?1` is its key, `?2` its account or '', `?3` the
/// message after which the page begins. A pause changes no message.
fn concerned(scope: StopScope) -> Option<&'static str> {
    let sql = match scope {
        StopScope::All | StopScope::Account => return None,
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
    };
    Some(sql)
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
    let Some(sql) = concerned(key.scope) else { return Ok((Vec::new(), None)) };
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

/// Releases a page of the messages that a lifted stop concerned. Those that another stop holds wait for its end. Returns the
/// accounts of both, and where the next page begins.
async fn release(
    connection: &mut SqliteConnection,
    key: StopKey,
    after: i64,
    now: Timestamp,
) -> Result<(Vec<AccountId>, Vec<AccountId>, Option<i64>)> {
    let release = format!(
        "{} WHERE retry_at IS NOT NULL AND reason IN ('stopped', 'owner_wrote', 'out_of_office') \
           AND NOT EXISTS (SELECT 1 FROM stopping x WHERE x.seq = messages.seq AND (x.until IS NULL OR x.until > ?2))",
        wait_goes_on("?2")
    );
    let (at, forever) = (time_text(now), time_text(FOREVER));
    let follow = waits_for_other_stops("?2", "?3");
    let (still_stopped, _) = change(connection, &key, after, &follow, &[&at, &forever]).await?;
    let (released, more) = change(connection, &key, after, &release, &[&at]).await?;
    Ok((released, still_stopped, more))
}
