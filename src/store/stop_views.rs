//! Reads stops: those in force, for people, and the one that holds a message longest.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::rows::{self, Result, corrupt};
use super::{Store, hashed};
use crate::domain::message::AccountId;
use crate::domain::stop::{NewStop, StopKey, StopReason, StopScope, StoppedBy};
use crate::domain::time_text;

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

/// Filter for a list of stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopFilter {
    /// Only stops of this scope.
    pub scope: Option<StopScope>,
    /// Only stops of this person, chat or campaign.
    pub key: Option<String>,
    /// Only stops that concern this account, those of every account included.
    pub account_id: Option<AccountId>,
    /// Only stops with this reason.
    pub reason: Option<StopReason>,
    /// Only stops that were set after this one.
    pub after: i64,
    /// Maximum number of stops.
    pub limit: u32,
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
    /// Returns the stops in force at `now`, in the order in which they were set.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn stops(&self, filter: &StopFilter, now: Timestamp) -> Result<Vec<Stop>> {
        const SQL: &str = "SELECT id, scope, key, account_id, reason, until, has_length, actor, note, at FROM stops \
             WHERE id > ?1 AND (?2 IS NULL OR scope = ?2) AND (?3 IS NULL OR key IN (SELECT value FROM json_each(?3))) \
               AND (?4 IS NULL OR iif(scope = 'account', key = ?4, account_id IN ('', ?4))) AND (?5 IS NULL OR reason = ?5) \
               AND (until IS NULL OR until > ?7) ORDER BY id LIMIT ?6 + 0";
        let mut reader = self.inner.readers.acquire().await?;
        let keys = match &filter.key {
            Some(key) => Some(keys_of(&mut reader, filter.scope, key).await?),
            None => None,
        };
        let query = sqlx::query(SQL).bind(filter.after).bind(filter.scope.map(StopScope::as_str));
        let query = query.bind(keys).bind(filter.account_id.as_ref().map(AccountId::as_str));
        let query = query.bind(filter.reason.map(StopReason::as_str)).bind(filter.limit).bind(time_text(now));
        query.fetch_all(&mut *reader).await?.iter().map(read_stop).collect()
    }
}

/// Returns the keys under which the stops of a person, chat or campaign are stored, as a JSON array.
async fn keys_of(connection: &mut SqliteConnection, scope: Option<StopScope>, key: &str) -> Result<String> {
    let mut keys = Vec::new();
    for scope in StopScope::ALL.into_iter().filter(|one| scope.is_none_or(|scope| scope == *one)) {
        let key = StopKey { scope, key: key.to_owned(), account_id: None };
        let variants = hashed::variants(connection, &key).await?;
        keys.extend(serde_json::from_str::<Vec<String>>(&variants).unwrap_or_default());
    }
    Ok(serde_json::to_string(&keys).unwrap_or_default())
}

pub(super) fn read_stop(row: &SqliteRow) -> Result<Stop> {
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
