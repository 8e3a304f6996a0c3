//! Audits whether the promises were kept: the database itself (P2, P3, P5), and each account's sends against its rules
//! (P4).
//!
//! Accounts and their sends are read in parts and checked on a thread of their own (`work.rs`), so that scanning
//! everything that was ever sent blocks nothing.

use super::EngineHandle;
use crate::domain::message::AccountId;
use crate::policy::audit::{Sent, breaches};
use crate::policy::hours::account_seed;
use crate::store::{Audited, Breach, PastSend, StoreError};

/// The most breaches that are reported.
const MOST: u32 = 1000;
/// How many accounts, or sends of one account, are read at a time.
const PART: u32 = 500;

/// The result of an audit.
#[derive(Debug, Clone)]
pub struct Audit {
    /// How much was audited.
    pub audited: Audited,
    /// What breaks a promise, oldest first.
    pub breaches: Vec<Breach>,
    /// Whether there are more breaches than are reported.
    pub is_cut: bool,
}

impl EngineHandle {
    /// Audits every attempt of the queue. Makes no call to the API.
    ///
    /// # Errors
    /// When the queue cannot be read, or the daemon stops.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        let store = &self.shared.store;
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let mut found = store.breaches(MOST).await?;
        found.sort_by_key(|breach| breach.at);
        let mut after = None;
        loop {
            let ids = store.account_ids(after.as_ref(), false, PART).await?;
            for id in &ids {
                found.extend(self.audit_of(id).await?);
                // Keep one more than is reported, so that a cut is noticed.
                found.sort_by_key(|breach| breach.at);
                found.truncate(most + 1);
            }
            let Some(last) = ids.into_iter().next_back() else { break };
            after = Some(last);
        }
        let is_cut = found.len() > most;
        found.truncate(most);
        Ok(Audit { audited: store.audited().await?, breaches: found, is_cut })
    }

    /// Returns the sends of `account` that broke its hours or caps.
    async fn audit_of(&self, account: &AccountId) -> Result<Vec<Breach>, StoreError> {
        let policy = self.policy(account);
        if policy.calendar.is_none() && policy.caps.list.is_empty() {
            return Ok(Vec::new());
        }
        let mut sends: Vec<PastSend> = Vec::new();
        loop {
            let part = self.shared.store.sends(account, &sends, PART).await?;
            if part.is_empty() {
                break;
            }
            sends.extend(part);
        }
        if sends.is_empty() {
            return Ok(Vec::new());
        }
        let id = account.clone();
        self.work(move |_goes_on| {
            let judged: Vec<Sent> = sends
                .iter()
                .map(|send| Sent { at: send.at, kind: send.kind, ignores_hours: send.ignores_hours })
                .collect();
            let broken = breaches(&policy, account_seed(id.as_str()), &judged).into_iter();
            let breach = |(place, what): (usize, String)| Breach {
                promise: "P4",
                account_id: id.clone(),
                message_id: Some(sends[place].id),
                at: sends[place].at,
                what,
            };
            broken.map(breach).collect()
        })
        .await
    }
}
