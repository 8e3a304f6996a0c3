//! Lists the stops in force, for people, and finds those that would hold messages that are not queued, for forecasts.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::rows::{self, Result, corrupt};
use super::suppressed::Recipients;
use super::{Store, hashed, stops};
use crate::domain::message::{AccountId, NewMessage};
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

impl Store {
    /// Returns the stops in force at `now`, in the order in which they were set.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn stops(&self, filter: &StopFilter, now: Timestamp) -> Result<Vec<Stop>> {
        const SQL: &str = "SELECT id, scope, key, account_id, reason, until, has_length, actor, note, at FROM stops \
             WHERE id > ?1 AND (?2 IS NULL OR scope = ?2) AND (?3 IS NULL OR key IN (SELECT value FROM json_each(?3))) \
               AND (?4 IS NULL OR account_id IN ('', ?4)) AND (?5 IS NULL OR reason = ?5) \
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

    /// Returns for each of `messages` the stop that would hold it longest if it were queued.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn stops_for(&self, messages: &[NewMessage], now: Timestamp) -> Result<Vec<Option<StoppedBy>>> {
        const WHICH: &str = "FROM json_each(?1) AS j CROSS JOIN stops AS x ON x.account_id IN ('', j.value ->> '$[0][0]') AND ( \
               (x.scope = 'campaign' AND x.key = j.value ->> 1) OR (x.scope = 'chat' AND x.key = j.value ->> '$[0][2]') \
               OR (x.scope = 'person' AND x.key IN (SELECT p.value FROM json_each(j.value, '$[0][1]') AS p \
                 UNION ALL SELECT c.user_id FROM conversations AS c \
                   WHERE c.account_id = j.value ->> '$[0][0]' AND c.chat_id = j.value ->> '$[0][2]'))) \
             WHERE x.until IS NULL OR x.until > ?2 GROUP BY j.key";
        let document: Vec<_> =
            messages.iter().map(|message| json!([Recipients::of(message).0, message.campaign])).collect();
        // Built from constants; every value is bound.
        let sql = AssertSqlSafe(format!("SELECT j.key AS place, {} AS stop {WHICH}", stops::LONGEST));
        let query = sqlx::query(sql).bind(json!(document).to_string()).bind(time_text(now));
        let mut found = vec![None; messages.len()];
        for row in query.fetch_all(&self.inner.readers).await? {
            let place: i64 = row.try_get("place")?;
            let place = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
            if let Some(stop) = place {
                *stop = stops::stopped_by(&row)?;
            }
        }
        Ok(found)
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
