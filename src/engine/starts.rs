//! Wakes accounts that become free at one moment, apart from each other.

use super::{AT_ONCE, EngineHandle, Shared};
use crate::clock;
use crate::domain::message::AccountId;
use crate::policy::hours::account_seed;
use crate::policy::pace::draw_start;
use crate::store::StoreError;

impl EngineHandle {
    /// Wakes every account with waiting messages. Those that become free at this moment do not all send at once.
    pub async fn wake_everything(&self) -> Result<(), StoreError> {
        self.wake_all().await
    }

    /// Wakes accounts that something held together, such as the stop of a campaign.
    pub fn wake_freed(&self, accounts: impl IntoIterator<Item = AccountId>) {
        let (now, accounts) = (self.now(), accounts.into_iter().collect::<Vec<_>>());
        if accounts.len() > 1 {
            spread_starts(&self.shared, &accounts);
        }
        self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
    }

    /// Wakes every account with queued messages, a page at a time, and delays each by a time of its own, unless there is
    /// only one.
    pub(super) async fn wake_all(&self) -> Result<(), StoreError> {
        let (now, mut after) = (self.now(), None);
        loop {
            let accounts = self.shared.store.account_ids(after.as_ref(), true, AT_ONCE).await?;
            if accounts.len() > 1 || after.is_some() {
                spread_starts(&self.shared, &accounts);
            }
            let Some(last) = accounts.last().cloned() else { return Ok(()) };
            after = Some(last);
            self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        }
    }
}

/// Delays accounts that become free at one moment, each by a time of its own within its gap, so that they do not all send
/// at once. A pause or a delay that is left keeps them apart already.
fn spread_starts(shared: &Shared, accounts: &[AccountId]) {
    let now = shared.clock.monotonic();
    for account in accounts.iter().filter(|account| shared.pace.is_free(account, now)) {
        let mut dice = clock::dice(shared.seed ^ account_seed(account.as_str()).rotate_left(16));
        let delay = draw_start(&mut dice, shared.policy(account).gap);
        shared.pace.delay(account, now + delay, now);
    }
}
