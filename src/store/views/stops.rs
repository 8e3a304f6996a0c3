//! Lists of stops, for people.

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqliteConnection;

use crate::domain::message::AccountId;
use crate::domain::stop::{StopKey, StopReason, StopScope};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;
use crate::store::transitions::hashed;
use crate::store::transitions::stop_rows::{Stop, read_stop};

/// The most remaining stops that are named.
const REMAINING: u32 = 10;

/// Filter for a list of stops.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StopFilter {
    /// Only stops of this scope.
    pub scope: Option<StopScope>,
    /// Only stops of this person, chat or campaign, by any of its keys; empty: of each.
    pub keys: Vec<String>,
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
        let mut stored: Vec<String> = Vec::new();
        for key in &filter.keys {
            stored.extend(keys_of(&mut reader, filter.scope, key).await?);
        }
        let keys = (!stored.is_empty()).then(|| json!(stored).to_string());
        let query = sqlx::query(SQL).bind(filter.after).bind(filter.scope.map(StopScope::as_str));
        let query = query.bind(keys).bind(filter.account_id.as_ref().map(AccountId::as_str));
        let query = query.bind(filter.reason.map(StopReason::as_str)).bind(filter.limit).bind(time_text(now));
        query.fetch_all(&mut *reader).await?.iter().map(read_stop).collect()
    }
}

impl Store {
    /// Returns the stops in force that still concern a person, a chat or a campaign, up to [`REMAINING`]: its own, those of
    /// the chats with the person, and those of the people who wrote in the chat. Keys are shown as they are, not hashed.
    pub(crate) async fn remaining_stops(&self, key: &StopKey, now: Timestamp) -> Result<Vec<Stop>> {
        const CHATS: &str = "SELECT c.chat_id FROM conversations c WHERE c.user_id = ?1 \
             UNION SELECT i.chat_id FROM inbound_messages i WHERE i.sender_id = ?1";
        const PEOPLE: &str = "SELECT c.user_id FROM conversations c WHERE c.chat_id = ?1 \
             UNION SELECT i.sender_id FROM inbound_messages i WHERE i.chat_id = ?1 AND i.sender_id IS NOT NULL AND i.kind <> 'owner'";
        const SQL: &str = "SELECT s.id, s.scope, j.value ->> 2 AS key, s.account_id, s.reason, s.until, s.has_length, s.actor, s.note, s.at \
             FROM json_each(?1) AS j CROSS JOIN stops s ON s.scope = j.value ->> 0 AND s.key = j.value ->> 1 \
             WHERE (?2 = '' OR s.account_id IN ('', ?2)) AND (s.until IS NULL OR s.until > ?3) GROUP BY s.id ORDER BY s.id LIMIT ?4 + 0";
        let mut reader = self.inner.readers.acquire().await?;
        let related = match key.scope {
            StopScope::Person => Some((StopScope::Chat, CHATS)),
            StopScope::Chat => Some((StopScope::Person, PEOPLE)),
            StopScope::Campaign | StopScope::Account | StopScope::All => None,
        };
        let mut keys = vec![(key.scope, key.key.clone())];
        if let Some((scope, sql)) = related {
            let found: Vec<String> = sqlx::query_scalar(sql).bind(&key.key).fetch_all(&mut *reader).await?;
            keys.extend(found.into_iter().map(|key| (scope, key)));
        }
        let mut stored = Vec::new();
        for (scope, shown) in keys {
            let key = StopKey { scope, key: shown.clone(), account_id: None };
            let variants = hashed::variants(&mut reader, &key).await?;
            let variants: Vec<String> = serde_json::from_str(&variants).unwrap_or_default();
            stored.extend(variants.into_iter().map(|key| (scope.as_str(), key, shown.clone())));
        }
        let query = sqlx::query(SQL).bind(serde_json::to_string(&stored).unwrap_or_default());
        let query = query.bind(key.account_id.as_ref().map_or("", AccountId::as_str)).bind(time_text(now));
        query.bind(REMAINING).fetch_all(&mut *reader).await?.iter().map(read_stop).collect()
    }
}

/// Returns the keys under which the stops of a person, chat or campaign are stored, as a JSON array.
async fn keys_of(
    connection: &mut SqliteConnection,
    scope: Option<StopScope>,
    key: &str,
) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for scope in StopScope::ALL.into_iter().filter(|one| scope.is_none_or(|scope| scope == *one)) {
        let key = StopKey { scope, key: key.to_owned(), account_id: None };
        let variants = hashed::variants(connection, &key).await?;
        keys.extend(serde_json::from_str::<Vec<String>>(&variants).unwrap_or_default());
    }
    Ok(keys)
}
