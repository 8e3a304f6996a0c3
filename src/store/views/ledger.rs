//! The sends of an account as its caps count them, read from `attempts`. A running account keeps what it has read
//! (`engine/ledger.rs`) and reads only what was added since.

use jiff::Timestamp;

use crate::domain::kind::Kind;
use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{Result, corrupt};

/// Selects the sends of an account from a given time on, oldest first, as one text: an account may have thousands.
/// Refused calls and calls that were certainly not sent reached no recipient and do not count; every other call may
/// have. A `?` marks a call whose outcome is open; a settled call never changes its outcome.
pub(in crate::store) const LEDGER: &str = "SELECT coalesce(group_concat(t.started_at || t.kind || iif(t.outcome IS NULL, '?', '')), '') FROM \
     (SELECT started_at, kind, outcome FROM attempts WHERE account_id = ?1 AND started_at >= ?2 \
        AND (outcome IS NULL OR outcome IN ('accepted', 'uncertain', 'throttled')) ORDER BY started_at) AS t";

/// Sends decoded per step: a thousand take less than a millisecond.
const STEP: usize = 2_000;

/// The sends of an account from some time on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SentSince {
    /// The sends, oldest first.
    pub sends: Vec<(Timestamp, Kind)>,
    /// Start of the first send whose outcome is open: it may prove to have reached no recipient.
    pub open_from: Option<Timestamp>,
}

impl Store {
    /// Returns the sends of `account` from `since` on.
    pub(crate) async fn sent_since(&self, account: &AccountId, since: Timestamp) -> Result<SentSince> {
        let query = sqlx::query_scalar(LEDGER).bind(account.as_str()).bind(time_text(since));
        let text: String = query.fetch_one(&self.inner.engine_reader).await?;
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
