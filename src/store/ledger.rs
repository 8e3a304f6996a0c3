//! What an account has sent, as its caps count it: read from `attempts`. A running account keeps what it read
//! (`engine/ledger.rs`) and asks only for what came since.

use jiff::Timestamp;

use super::Store;
use super::rows::{Result, corrupt};
use crate::domain::kind::Kind;
use crate::domain::message::AccountId;
use crate::domain::time_text;

/// The sends of an account from a time on, oldest first, as one text: an account may have thousands of them. Refused
/// calls and those that certainly were not sent reached nobody; every other may have reached somebody. A `?` marks a call
/// whose outcome is open; a settled one never changes its outcome.
pub(super) const LEDGER: &str = "SELECT coalesce(group_concat(t.started_at || t.kind || iif(t.outcome IS NULL, '?', '')), '') FROM \
     (SELECT started_at, kind, outcome FROM attempts WHERE account_id = ?1 AND started_at >= ?2 \
        AND (outcome IS NULL OR outcome IN ('accepted', 'uncertain', 'throttled')) ORDER BY started_at) AS t";

/// Sends that are decoded at a time: a thousand take less than a millisecond.
const STEP: usize = 2_000;

/// What an account sent from some time on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentSince {
    /// Its sends, oldest first.
    pub sends: Vec<(Timestamp, Kind)>,
    /// When the first of them began whose outcome is open, so that it may turn out to have reached nobody.
    pub open_from: Option<Timestamp>,
}

impl Store {
    /// What `account` has sent from `since` on.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn sent_since(&self, account: &AccountId, since: Timestamp) -> Result<SentSince> {
        let query = sqlx::query_scalar(LEDGER).bind(account.as_str().to_owned()).bind(time_text(since));
        let text =
            self.inner.reader.read(|connection| Box::pin(async { Ok(query.fetch_one(connection).await?) }));
        let text: String = text.await?;
        let length = time_text(since).len();
        let mut found = SentSince::default();
        for (place, entry) in text.split(',').filter(|entry| !entry.is_empty()).enumerate() {
            if place % STEP == STEP - 1 {
                tokio::task::yield_now().await;
            }
            let (at, kind) = read(entry, length).ok_or_else(|| corrupt("attempts", entry))?;
            if entry.ends_with('?') {
                found.open_from = found.open_from.or(Some(at));
            }
            found.sends.push((at, kind));
        }
        Ok(found)
    }
}

fn read(entry: &str, length: usize) -> Option<(Timestamp, Kind)> {
    let (at, kind) = entry.split_at_checked(length)?;
    Some((at.parse().ok()?, Kind::parse(kind.trim_end_matches('?'))?))
}
