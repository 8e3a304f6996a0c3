//! Lists of stops, for people.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::domain::message::AccountId;
use crate::domain::stop::{StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;
use crate::store::transitions::hashed;
use crate::store::transitions::stop_rows::{Stop, read_stop};

/// Filter for a list of stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StopFilter {
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
    pub(crate) async fn stops(&self, filter: &StopFilter, now: Timestamp) -> Result<Vec<Stop>> {
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
