//! Wakes accounts that become free at one moment, apart from each other.

use std::collections::HashSet;
use std::sync::Mutex;

use super::{AT_ONCE, EngineHandle, Shared};
use crate::clock;
use crate::domain::message::AccountId;
use crate::policy::hours::account_seed;
use crate::policy::pace::draw_start;
use crate::store::StoreError;

/// Accounts that became free together and whose next step has not begun. Only a step delays its account: one that is
/// on its way to a call would not see the delay.
#[derive(Default)]
pub(super) struct FreedTogether(Mutex<HashSet<AccountId>>);

impl FreedTogether {
    fn add<'a>(&self, accounts: impl IntoIterator<Item = &'a AccountId>) {
        self.0.lock().expect("nothing panics while holding it").extend(accounts.into_iter().cloned());
    }

    fn take(&self, account: &AccountId) -> bool {
        let mut accounts = self.0.lock().expect("nothing panics while holding it");
        let taken = accounts.remove(account);
        if taken && accounts.is_empty() {
            accounts.shrink_to_fit();
        }
        taken
    }
}

impl EngineHandle {
    /// Wakes every account with waiting messages. Those that become free at this moment do not all send at once.
    pub async fn wake_everything(&self) -> Result<(), StoreError> {
        self.wake_all().await
    }

    /// Wakes accounts that something held together, such as the stop of a campaign.
    pub fn wake_freed(&self, accounts: impl IntoIterator<Item = AccountId>) {
        let (now, accounts) = (self.now(), accounts.into_iter().collect::<HashSet<_>>());
        if accounts.len() > 1 {
            self.shared.freed_together.add(&accounts);
        }
        self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
    }

    /// Wakes every account with queued messages, a page at a time.
    pub(super) async fn wake_all(&self) -> Result<(), StoreError> {
        let (now, mut after) = (self.now(), None);
        loop {
            let accounts = self.shared.store.account_ids(after.as_ref(), true, AT_ONCE).await?;
            if accounts.len() > 1 || after.is_some() {
                self.shared.freed_together.add(&accounts);
            }
            let Some(last) = accounts.last().cloned() else { return Ok(()) };
            after = Some(last);
            self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        }
    }
}

/// Delays the first call of an account that became free with others, by a time of its own within its gap, so that they
/// do not all send at once. A pause or a delay that is left keeps it apart already, and typing that is shown ends with
/// its message.
pub(super) fn delay_first_call(shared: &Shared, account: &AccountId) {
    let now = shared.clock.monotonic();
    if !shared.freed_together.take(account)
        || !shared.pace.is_free(account, now)
        || shared.live.claim_of(account).is_some()
    {
        return;
    }
    let mut dice = clock::dice(shared.seed ^ account_seed(account.as_str()).rotate_left(16));
    let delay = draw_start(&mut dice, shared.policy(account).gap);
    shared.pace.delay(account, now + delay, now);
}
