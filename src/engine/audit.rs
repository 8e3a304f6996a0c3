//! Were the promises kept? What the database says (P2, P3) and each account's sends held against its rules (P4).

use super::EngineHandle;
use crate::policy::audit::{Sent, breaches};
use crate::policy::hours::account_seed;
use crate::store::{Audited, Breach, StoreError};

/// Most breaches that are told.
const MOST: u32 = 1000;

/// What an audit found.
#[derive(Debug, Clone)]
pub struct Audit {
    /// How much was looked at.
    pub audited: Audited,
    /// What breaks a promise, the oldest first.
    pub breaches: Vec<Breach>,
    /// Whether there are more than are told.
    pub is_cut: bool,
}

impl EngineHandle {
    /// Looks through every attempt of the queue. Asks nobody outside.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        let store = &self.shared.store;
        let policies = self.shared.policies();
        let mut found = store.breaches(MOST).await?;
        for view in store.accounts(None).await? {
            let id = view.account.id;
            let policy = policies.of(&id);
            if policy.calendar.is_none() && policy.caps.list.is_empty() {
                continue;
            }
            let sends = store.sends(&id).await?;
            let judged: Vec<Sent> = sends
                .iter()
                .map(|send| Sent { at: send.at, kind: send.kind, ignores_hours: send.ignores_hours })
                .collect();
            let broken = breaches(policy, account_seed(id.as_str()), &judged).into_iter();
            found.extend(broken.map(|(place, what)| Breach {
                promise: "P4",
                account_id: id.clone(),
                message_id: Some(sends[place].id),
                at: sends[place].at,
                what,
            }));
        }
        found.sort_by_key(|breach| breach.at);
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let is_cut = found.len() > most;
        found.truncate(most);
        Ok(Audit { audited: store.audited().await?, breaches: found, is_cut })
    }
}
