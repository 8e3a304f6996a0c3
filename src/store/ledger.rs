//! What an account has sent, as its caps count it: recounted from `attempts`, so that nothing about it is remembered.

use jiff::Timestamp;

use super::Store;
use super::rows::{Result, corrupt};
use crate::domain::caps::{Kind, LEDGER_REACH, Ledger};
use crate::domain::message::AccountId;
use crate::domain::time_text;

/// The sends of an account later than a time, oldest first, as one text: an account may have a thousand of them. Refused
/// calls and those that certainly were not sent reached nobody; every other may have reached somebody.
pub(super) const LEDGER: &str = "SELECT coalesce(group_concat(t.started_at || t.kind), '') FROM \
     (SELECT started_at, kind FROM attempts WHERE account_id = ?1 AND started_at > ?2 \
        AND (outcome IS NULL OR outcome IN ('accepted', 'uncertain', 'throttled')) ORDER BY started_at) AS t";

impl Store {
    /// What `account` has sent, as far back as a cap can count.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn ledger(&self, account: &AccountId, now: Timestamp) -> Result<Ledger> {
        let since = now.checked_sub(LEDGER_REACH).unwrap_or(Timestamp::MIN);
        let query = sqlx::query_scalar(LEDGER).bind(account.as_str().to_owned()).bind(time_text(since));
        let text =
            self.inner.reader.read(|connection| Box::pin(async { Ok(query.fetch_one(connection).await?) }));
        let text: String = text.await?;
        let send = |entry: &str| {
            let (at, kind) = entry.split_at_checked(time_text(now).len())?;
            Some((at.parse().ok()?, Kind::parse(kind)?))
        };
        let entries = text.split(',').filter(|entry| !entry.is_empty());
        let sends: Result<Vec<_>> =
            entries.map(|entry| send(entry).ok_or_else(|| corrupt("attempts", entry))).collect();
        Ok(Ledger::new(sends?))
    }
}
